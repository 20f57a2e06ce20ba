package cluster

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// Pauses between attempts to reach a peer grow from the first to the second.
	minRedial = 25 * time.Millisecond
	maxRedial = 500 * time.Millisecond
	// maxWaiting bounds the calls that wait for a connection to be made.
	maxWaiting = 4096
)

// peer is an address that the client asks: a connection, or the making of one.
type peer struct {
	client  *Client
	address raft.ServerAddress

	mu       sync.Mutex // taken before a connection's
	closed   bool
	conn     *clientConn // nil: none
	dialling bool
	waiting  []*call   // for the dial
	failures int       // dials and connections without any answer since the last answer
	retryAt  time.Time // no dial before
	lastErr  error     // of the last failure
}

// start begins a call. The call ends through its finish, perhaps at once.
func (p *peer) start(q *call) {
	// A connection may die between being looked up and being used.
	for range 3 {
		conn, err := p.ready(q)
		if err != nil {
			q.finish(err)
			return
		}
		if conn == nil || conn.send(q) {
			return
		}
	}
	q.finish(fmt.Errorf("%w: the connection was lost again and again", ErrNotSent))
}

// ready returns the connection, or none if the call waits for one now.
func (p *peer) ready(q *call) (*clientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.conn != nil:
		q.conn = p.conn
		return p.conn, nil
	case len(p.waiting) >= maxWaiting:
		return nil, fmt.Errorf("%w: too many calls wait for a connection", ErrNotSent)
	case !p.dialling:
		if p.client.cfg.Now().Before(p.retryAt) {
			return nil, p.lastErr
		}
		p.dialling = true
		p.client.wg.Go(p.dial)
	}
	q.conn = nil
	p.waiting = append(p.waiting, q)
	return nil, nil //nolint:nilnil // nothing to do for now
}

// dial makes a connection and sends what waits for it, or fails that.
func (p *peer) dial() {
	raw, err := p.client.dialer.open(p.client.ctx, string(p.address), protocolRPC, "")
	p.mu.Lock()
	p.dialling = false
	waiting := p.waiting
	p.waiting = nil
	if err == nil && p.closed {
		_ = raw.NetConn().Close()
		err = ErrClosed
	}
	if err != nil {
		p.failed(err)
		p.mu.Unlock()
		for _, q := range waiting {
			q.finish(err)
		}
		return
	}
	conn := newClientConn(p, raw)
	p.conn = conn
	conn.begin(waiting) // under p.mu, so that abandon finds each call either waiting or on the connection
	p.mu.Unlock()
	conn.mu.Lock()
	conn.flushLocked()
}

// failed notes, with p.mu held, that the peer could not be reached.
func (p *peer) failed(err error) {
	pause := min(minRedial<<min(p.failures, 10), maxRedial)
	if p.failures == 0 && !errors.Is(err, ErrClosed) {
		p.client.cfg.Logger.Warn("cannot reach a peer", "address", p.address, "error", err)
	}
	p.failures++
	p.retryAt = p.client.cfg.Now().Add(pause)
	p.lastErr = err
}

// lost takes a dead connection out of use.
func (p *peer) lost(conn *clientConn, err error, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == conn {
		p.conn = nil
	}
	if errors.Is(err, errRetired) {
		return
	}
	if answered {
		p.failures = 0
		p.client.cfg.Logger.Debug("lost the connection to a peer", "address", p.address, "error", err)
		return
	}
	p.failed(fmt.Errorf("%w: %w", ErrNotSent, err))
}

// abandon gives a call up. Open says that it had not ended, and then nobody else
// will end it; sent says that the peer may have received it.
func (p *peer) abandon(q *call) (sent, open bool) {
	p.mu.Lock()
	if i := slices.Index(p.waiting, q); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.mu.Unlock()
		return false, true
	}
	conn := q.conn
	p.mu.Unlock()
	if conn == nil {
		return false, false
	}
	return conn.abandon(q)
}

// retire leaves the connection to the calls that are on it.
func (p *peer) retire() {
	p.mu.Lock()
	conn := p.conn
	p.conn = nil
	p.mu.Unlock()
	if conn != nil {
		conn.retire()
	}
}

func (p *peer) close() {
	p.mu.Lock()
	p.closed = true
	conn := p.conn
	p.conn = nil
	p.mu.Unlock()
	if conn != nil {
		conn.fail(ErrClosed)
	}
}
