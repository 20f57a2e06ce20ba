package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// call is one request and its answer.
type call struct {
	kind     kind
	deadline time.Time // of the caller; zero: none
	commands [][]byte  // of a proposal
	body     []byte    // of anything else
	conn     *clientConn
	id       uint64 // on conn
	at       uint64 // where its frame begins in conn's stream

	// The answer, complete once done has a value or then is called.
	confirmation Confirmation
	answer       []byte
	err          error
	done         chan struct{} // room for one
	then         func(Confirmation, error)
}

// unanswered is the error of a call that may have reached the peer.
func (q *call) unanswered(why string, err error) error {
	if slices.Contains([]kind{kindPropose, kindJoin, kindLeave, kindTransfer}, q.kind) { // else nothing is to change
		why += ", the outcome is unknown"
	}
	return fmt.Errorf("%s: %w", why, err)
}

// finish ends the call. It is called once.
func (q *call) finish(err error) {
	q.err = err
	if q.then != nil {
		q.then(q.confirmation, err)
		return
	}
	q.done <- struct{}{}
}

// clientConn is one connection that a client asks on.
type clientConn struct {
	outbox
	peer     *peer
	conn     *tls.Conn
	received receiveCounter
	watch    *time.Timer

	// Guarded by outbox.mu.
	calls   map[uint64]*call
	lastID  uint64
	retired bool

	// Of the watch alone.
	seen   uint64 // reads at its last look
	probed bool

	lastServer raft.ServerID // of the reader alone
}

// receiveCounter counts the reads from a connection that brought something.
type receiveCounter struct {
	io.Reader
	count atomic.Uint64
}

// Read implements io.Reader.
func (r *receiveCounter) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.count.Add(1)
	}
	return n, err //nolint:wrapcheck // it is a reader, io.EOF included
}

func newClientConn(p *peer, conn *tls.Conn) *clientConn {
	c := &clientConn{peer: p, conn: conn, calls: make(map[uint64]*call)}
	c.received.Reader = conn
	c.init(c.put, c.fail)
	return c
}

// begin queues the first calls, before anybody else has the connection, and starts
// to read.
func (c *clientConn) begin(waiting []*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range waiting {
		q.conn = c
		c.queueLocked(q)
	}
	c.watch = time.AfterFunc(c.peer.client.cfg.Silence, c.look)
	c.peer.client.wg.Go(c.run)
}

func (c *clientConn) put(b []byte) error {
	_, err := c.conn.Write(b)
	return err //nolint:wrapcheck // fail wraps it
}

// send queues a call and writes. It returns false if the connection is dead or
// retired, and the call is the caller's still.
func (c *clientConn) send(q *call) bool {
	c.mu.Lock()
	if c.closed || c.retired {
		c.mu.Unlock()
		return false
	}
	if len(c.out) > maxQueued {
		c.mu.Unlock()
		q.finish(fmt.Errorf("%w: the peer does not read", ErrNotSent))
		return true
	}
	c.queueLocked(q)
	c.flushLocked()
	return true
}

func (c *clientConn) queueLocked(q *call) {
	c.lastID++
	q.id, q.at = c.lastID, c.offset()
	c.calls[q.id] = q
	start := len(c.out)
	c.out = beginFrame(c.out, q.kind, q.id)
	if q.kind != kindConfirm {
		left := maxPatience
		if !q.deadline.IsZero() {
			left = q.deadline.Sub(c.peer.client.cfg.Now())
		}
		c.out = appendPatience(c.out, left)
		if q.kind == kindPropose {
			lineage := c.peer.client.cfg.Lineage()
			c.out = appendList(append(c.out, lineage[:]...), q.commands)
		} else {
			c.out = append(c.out, q.body...)
		}
	}
	c.out = endFrame(c.out, start)
}

// run reads answers until the connection ends.
func (c *clientConn) run() {
	in := newFrameReader(&c.received)
	for {
		if err := c.readAnswer(in); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *clientConn) readAnswer(in *frameReader) error {
	h, err := in.next()
	if err != nil {
		return err
	}
	q, last := c.take(h.id)
	if q == nil { // abandoned, or a probe
		return in.skip(h)
	}
	err = c.accept(in, h, q)
	if err != nil && q.err == nil {
		q.err = q.lost(err)
	}
	q.finish(q.err)
	if err == nil && last {
		err = errRetired
	}
	return err
}

// accept reads the answer into the call. Its error is the connection's; the peer's
// own refusal is the call's.
func (c *clientConn) accept(in *frameReader, h header, q *call) error {
	switch {
	case h.kind == kindFailure:
		body, err := in.inPlace(h)
		if err != nil {
			return err
		}
		q.err = decodeFailure(body)
		return nil
	case h.kind != q.kind|kindAnswer:
		return fmt.Errorf("%w: an answer of kind %d to a request of kind %d", errFrame, h.kind, q.kind)
	case q.kind == kindConfirm:
		body, err := in.inPlace(h)
		if err != nil {
			return err
		}
		q.confirmation, err = decodeConfirmation(body, c.lastServer)
		c.lastServer = q.confirmation.ServerID
		return err
	default:
		var err error
		q.answer, err = in.copied(h)
		return err
	}
}

// take removes an open call; who removes it ends it. Last says that a retired
// connection has no other.
func (c *clientConn) take(id uint64) (q *call, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q = c.calls[id]
	delete(c.calls, id)
	return q, c.retired && len(c.calls) == 0
}

// abandon removes a call whose caller has gone; see [peer.abandon].
func (c *clientConn) abandon(q *call) (sent, open bool) {
	c.mu.Lock()
	open = c.calls[q.id] == q
	if open {
		delete(c.calls, q.id)
	}
	last := c.retired && len(c.calls) == 0
	c.mu.Unlock()
	if last {
		c.fail(errRetired)
	}
	return true, open
}

// retire closes the connection once no call is on it.
func (c *clientConn) retire() {
	c.mu.Lock()
	c.retired = true
	idle := len(c.calls) == 0
	c.mu.Unlock()
	if idle {
		c.fail(errRetired)
	}
}

// errRetired ends a connection that nobody needs any more.
var errRetired = errors.New("retired")

// look is the watch: it runs every Silence while the connection lives. It counts
// its own runs, not time, so that a pause of the whole process is no silence of the
// peer.
func (c *clientConn) look() {
	seen := c.received.count.Load()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	quiet := seen == c.seen && len(c.calls) > 0
	c.seen = seen
	if quiet && c.probed {
		c.mu.Unlock()
		c.fail(fmt.Errorf("the peer has not answered for %s", 2*c.peer.client.cfg.Silence))
		return
	}
	c.probed = quiet
	c.watch.Reset(c.peer.client.cfg.Silence)
	if !quiet {
		c.mu.Unlock()
		return
	}
	c.lastID++
	c.out = appendFrame(c.out, kindPing, c.lastID)
	c.flushLocked()
}

// fail ends the connection and every call on it.
func (c *clientConn) fail(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	handed := c.handed
	calls := c.calls
	c.calls = nil
	c.closeLocked()
	c.watch.Stop()
	c.mu.Unlock()
	_ = c.conn.NetConn().Close() // not tls.Conn.Close, which may wait for the peer to read
	c.peer.lost(c, err, c.received.count.Load() > 0)
	for _, q := range calls {
		if q.at >= handed {
			q.finish(fmt.Errorf("%w: %w", ErrNotSent, err))
		} else {
			q.finish(q.lost(err))
		}
	}
}

// lost says that a request was on its way when the connection ended.
func (q *call) lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		err = errors.New("the peer closed the connection")
	}
	if errors.Is(err, ErrNotProposed) { // our own Close
		err = errors.New("closed")
	}
	return q.unanswered("connection lost", err)
}
