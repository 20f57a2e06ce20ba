package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer is raft's half of a Service. It knows every connection of raft's in
// both directions, because raft closes neither those it accepted nor those in its
// pool when it shuts down.
type streamLayer struct {
	dialer   *dialer
	address  streamAddr
	accepted chan net.Conn
	ended    func()          // an accepted connection has
	ctx      context.Context //nolint:containedctx // the life of the layer; its cancel is beside it
	cancel   context.CancelFunc

	mu    sync.Mutex
	conns map[*streamConn]struct{}
	names map[raft.ServerID]string // of members, by their certificates
}

var _ raft.StreamLayer = (*streamLayer)(nil)

// streamAddr is the advertised address as a net.Addr.
type streamAddr string

func (streamAddr) Network() string  { return "tcp" }
func (a streamAddr) String() string { return string(a) }

// streamConn is a connection of raft's.
type streamConn struct {
	net.Conn
	layer *streamLayer
	done  chan struct{}
	once  sync.Once
}

func newStreamLayer(ctx context.Context, d *dialer, address string, ended func()) *streamLayer {
	ctx, cancel := context.WithCancel(ctx)
	return &streamLayer{
		dialer:   d,
		address:  streamAddr(address),
		accepted: make(chan net.Conn),
		ended:    ended,
		ctx:      ctx,
		cancel:   cancel,
		conns:    make(map[*streamConn]struct{}),
		names:    make(map[raft.ServerID]string),
	}
}

// Accept implements net.Listener.
func (l *streamLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener with the address that peers know.
func (l *streamLayer) Addr() net.Addr { return l.address }

// Dial implements raft.StreamLayer, for addresses made by [memberAt].
func (l *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx := l.ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	id, address := cutMember(address)
	conn, err := l.dialer.open(ctx, string(address), protocolRaft, id)
	if err != nil {
		return nil, err
	}
	l.meet(id, conn)
	tracked := l.track(conn)
	if tracked == nil {
		return nil, ErrClosed
	}
	return tracked, nil
}

// meet notes the node name of a member, by its certificate. Who else shows that name at
// another address is not meant: a member is dialled where the configuration says.
func (l *streamLayer) meet(id raft.ServerID, conn *tls.Conn) {
	state := conn.ConnectionState()
	if name, err := checkPeer(&state, l.dialer.clusterName); err == nil { // it was checked in the handshake
		l.mu.Lock()
		l.names[id] = name
		l.mu.Unlock()
	}
}

// nameOf returns the node name of a member, empty if it was not dialled yet.
func (l *streamLayer) nameOf(id raft.ServerID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[id]
}

// serve hands a connection to raft and waits until raft has closed it.
func (l *streamLayer) serve(conn net.Conn, patience time.Duration) {
	tracked := l.track(conn)
	if tracked == nil {
		return
	}
	timer := time.NewTimer(patience) // raft may not have started yet, or not run any more
	defer timer.Stop()
	select {
	case l.accepted <- tracked:
		<-tracked.done
		l.ended()
	case <-timer.C:
		_ = tracked.Close()
	case <-tracked.done:
	}
}

// track returns nil, and closes the connection, if the layer is closed.
func (l *streamLayer) track(conn net.Conn) *streamConn {
	c := &streamConn{Conn: conn, layer: l, done: make(chan struct{})}
	l.mu.Lock()
	closed := l.ctx.Err() != nil
	if !closed {
		l.conns[c] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		_ = conn.Close() // not under mu: TLS says goodbye, which may take seconds
		return nil
	}
	return c
}

// Close implements net.Listener: it closes raft's connections in both directions.
func (l *streamLayer) Close() error {
	l.mu.Lock()
	l.cancel() // under mu, so that nothing is tracked any more
	l.mu.Unlock()
	l.closeConns()
	return nil
}

func (l *streamLayer) closeConns() {
	l.mu.Lock()
	all := make([]*streamConn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range all {
		// TLS says goodbye, so that the peer's raft does not log an error; a peer that
		// does not read delays that by seconds.
		wg.Go(func() { _ = c.Close() })
	}
	wg.Wait()
}

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.once.Do(func() {
		c.layer.mu.Lock()
		delete(c.layer.conns, c)
		c.layer.mu.Unlock()
		close(c.done)
	})
	return c.Conn.Close() //nolint:wrapcheck // a net.Conn's own error
}
