package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxRunning bounds the requests of one connection that run at once. A peer
	// proposes two batches at a time.
	maxRunning = 64
	// frameTimeout is how long the rest of a frame may take once it has begun, and
	// how long a peer may take to read what we write.
	frameTimeout = 5 * time.Second
)

// rpcConn is a connection on which a peer asks and we answer.
type rpcConn struct {
	outbox
	service *Service
	conn    *tls.Conn
	peer    string             // the node name in its certificate
	ctx     context.Context    //nolint:containedctx // the life of the connection; its cancel is beside it
	cancel  context.CancelFunc // ends what runs for the peer
	running sync.WaitGroup
	slots   chan struct{} // one value for each running request
	retired bool          // guarded by outbox.mu: close when nothing runs
}

// serveRPC answers a peer until either end closes the connection.
func (s *Service) serveRPC(conn *tls.Conn, peer string) {
	ctx, cancel := context.WithCancel(s.ctx)
	c := &rpcConn{service: s, conn: conn, peer: peer, ctx: ctx, cancel: cancel, slots: make(chan struct{}, maxRunning)}
	c.init(c.put, func(error) { c.shut() })
	s.mu.Lock()
	closed := s.closed
	s.rpc[c] = struct{}{}
	s.mu.Unlock()
	if closed {
		c.shut()
	}
	err := c.read()
	c.shut()
	c.running.Wait()
	s.mu.Lock()
	delete(s.rpc, c)
	s.mu.Unlock()
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.cfg.Logger.Debug("connection lost", "peer", peer, "error", err)
	}
}

// admit counts a peer's connection, if it may have one more.
func (s *Service) admit(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.conns >= maxConns || s.peers[name] >= s.cfg.MaxPeerConns {
		return false
	}
	s.conns++
	s.peers[name]++
	return true
}

func (s *Service) dismiss(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	if s.peers[name]--; s.peers[name] == 0 {
		delete(s.peers, name)
	}
}

// rest waits; it returns false when the Service is closed meanwhile.
func (s *Service) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// put writes answers.
func (c *rpcConn) put(b []byte) error {
	if err := c.conn.SetWriteDeadline(c.service.cfg.Now().Add(frameTimeout)); err != nil {
		return fmt.Errorf("answer %s: %w", c.peer, err)
	}
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("answer %s: %w", c.peer, err)
	}
	return nil
}

// shut ends the connection; its reader then ends what runs.
func (c *rpcConn) shut() {
	c.cancel()
	c.mu.Lock()
	c.closeLocked()
	c.mu.Unlock()
	_ = c.conn.NetConn().Close() // not tls.Conn.Close, which may wait for the peer to read
}

// retire closes the connection as soon as no request runs.
func (c *rpcConn) retire() {
	c.mu.Lock()
	c.retired = true
	idle := len(c.slots) == 0
	for idle && c.writing && !c.closed {
		c.flushed.Wait()
	}
	c.mu.Unlock()
	if idle {
		c.shut()
	}
}

// read handles requests in the order they come. What can be answered without
// waiting is answered here. Its error is never nil.
func (c *rpcConn) read() error {
	in := newFrameReader(c.conn)
	in.hurry = c.hurry
	for {
		if !in.whole() { // answers to requests that came together leave together
			c.mu.Lock()
			c.drainLocked()
			c.flushLocked()
		}
		h, err := in.next()
		if err != nil {
			return err
		}
		switch {
		case h.kind == kindConfirm, h.kind == kindPing:
			if err := in.skip(h); err != nil {
				return err
			}
			c.answerInline(h)
		case h.kind >= kindPropose && h.kind <= kindStatus, h.kind == kindTransfer, h.kind == kindExchange:
			body, err := in.copied(h)
			if err != nil {
				return err
			}
			c.start(h, body)
		default:
			// A later release may ask what we do not know.
			if err := in.skip(h); err != nil {
				return err
			}
			c.answer(h, nil, fmt.Errorf("%w: unknown kind of request %d", ErrRefused, h.kind), nil)
		}
	}
}

func (c *rpcConn) hurry(on bool) {
	var deadline time.Time
	if on {
		deadline = c.service.cfg.Now().Add(frameTimeout)
	}
	_ = c.conn.SetReadDeadline(deadline) // fails only on a closed connection, which the reader notices
}

// answerInline answers on the reader's goroutine, which flushes before it waits
// for the next request.
func (c *rpcConn) answerInline(h header) {
	var confirmation Confirmation
	if h.kind == kindConfirm {
		confirmation = c.service.cfg.Handler.Confirm()
	}
	c.mu.Lock()
	start := len(c.out)
	c.out = beginFrame(c.out, h.kind|kindAnswer, h.id)
	if h.kind == kindConfirm {
		c.out = appendConfirmation(c.out, confirmation)
	}
	c.out = endFrame(c.out, start)
	c.mu.Unlock()
}

// start runs a request on its own goroutine, if the peer does not have too many.
func (c *rpcConn) start(h header, body []byte) {
	patience, body, err := cutPatience(body)
	if err != nil {
		c.answer(h, nil, fmt.Errorf("%w: %w", ErrRefused, err), nil)
		return
	}
	select {
	case c.slots <- struct{}{}:
	default:
		c.answer(h, nil, ErrOverloaded, nil)
		return
	}
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, patience)
		defer cancel()
		result, err := c.handle(ctx, h.kind, body)
		c.answer(h, result, err, c.slots)
	})
}

// handle calls the handler and returns the body of the answer.
func (c *rpcConn) handle(ctx context.Context, k kind, body []byte) ([]byte, error) {
	handler := c.service.cfg.Handler
	switch k {
	case kindPropose:
		return c.service.propose(ctx, c.peer, body)
	case kindJoin:
		var request JoinRequest
		if err := decodeSmall(body, &request); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		request.Name = c.peer
		return nil, handler.Join(ctx, request)
	case kindLeave:
		var request leaveRequest
		if err := decodeSmall(body, &request); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, handler.Leave(ctx, request.ID)
	case kindTransfer:
		return transfer(ctx, handler, body)
	case kindExchange:
		return handler.Exchange(ctx, c.ctx, body)
	case kindStatus:
		status, err := handler.Status(ctx)
		if err != nil {
			return nil, err
		}
		return encode(status, maxStatusAnswer)
	case kindConfirm, kindPing, kindHello, kindFailure:
	}
	return nil, fmt.Errorf("%w: unknown kind of request %d", ErrRefused, k)
}

func transfer(ctx context.Context, handler Handler, body []byte) ([]byte, error) {
	var request leadership
	if err := decodeSmall(body, &request); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	leader, err := handler.Transfer(ctx, request.ID)
	if err != nil {
		return nil, err
	}
	return encodeSmall(leadership{ID: leader})
}

func (s *Service) propose(ctx context.Context, peer string, body []byte) ([]byte, error) {
	lineage, body, err := cutLineage(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := s.akin(lineage); err != nil {
		return nil, err
	}
	commands, err := decodeList(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	outcomes, err := s.cfg.Handler.Propose(ctx, peer, commands)
	if err != nil {
		return nil, err
	}
	if len(outcomes) != len(commands) {
		return nil, fmt.Errorf("%d outcomes for %d commands", len(outcomes), len(commands))
	}
	return appendProposed(outcomes, s.cfg.Handler.Confirm()), nil
}

// answer sends a result or an error, and frees the slot of the request that ran.
func (c *rpcConn) answer(h header, result []byte, err error, slot <-chan struct{}) {
	if err == nil && len(result) > maxBody(h.kind|kindAnswer) {
		err = fmt.Errorf("an answer of %d bytes is too large", len(result))
	}
	c.mu.Lock()
	start := len(c.out)
	if err != nil {
		c.out = appendFailure(beginFrame(c.out, kindFailure, h.id), err)
	} else {
		c.out = append(beginFrame(c.out, h.kind|kindAnswer, h.id), result...)
	}
	c.out = endFrame(c.out, start)
	if slot != nil {
		<-slot // before the peer has its answer, and not before it is queued
	}
	last := c.retired && len(c.slots) == 0
	c.flushLocked()
	if last {
		c.retire()
	}
}
