package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jeton/httpapi"
)

const (
	// leastRetirement is how long connections that are kept alive may still bring a
	// request, whose answer then ends them, before they are closed although idle.
	leastRetirement = time.Second
	// lastLook is how long an idle connection that is about to be closed may still
	// deliver what has arrived.
	lastLook = 10 * time.Millisecond
	// lastAccept is how long handshakes that had begun when new ones were no longer
	// let in may take to end.
	lastAccept = 100 * time.Millisecond
	// emptyCheck is how often it is looked whether all connections are closed.
	emptyCheck = 10 * time.Millisecond
)

// front serves clients and ends without cutting a request off, as far as HTTP
// allows. http.Server.Shutdown is not enough for that: requests that have arrived but
// are not read yet, on idle connections and on new ones, go without an answer, HTTP/2
// connections are closed before they have been told, and what the kernel has accepted
// for the listener is reset.
//
// What remains is HTTP/1.1's own (RFC 9112, 9.5): a request that a client sends on a
// connection that was idle for leastRetirement, while the news that it was closed is
// on its way to the client.
type front struct {
	server   *http.Server
	http2    *http.Server // serves nobody; its Shutdown sends GOAWAY to server's HTTP/2 connections
	accepted *net.TCPListener
	limited  net.Listener
	retires  atomic.Bool
	stopped  chan struct{} // closed when serve returns

	mu       sync.Mutex
	open     map[*clientConn]struct{}
	retireAt time.Time // of idle connections; zero: serving
}

func newFront(server *http.Server, listener *net.TCPListener) *front {
	f := &front{
		server:   server,
		http2:    &http.Server{IdleTimeout: server.IdleTimeout, ReadHeaderTimeout: server.ReadHeaderTimeout},
		accepted: listener,
		limited:  httpapi.LimitConnections(listener, 0),
		open:     make(map[*clientConn]struct{}),
		stopped:  make(chan struct{}),
	}
	server.ConnState = noteState
	server.Handler = f.retiring(server.Handler)
	_ = f.http2.Serve(nobody{}) // which configures HTTP/2 before it accepts anybody
	serveHTTP2 := f.http2.TLSNextProto["h2"]
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(s *http.Server, conn *tls.Conn, handler http.Handler) {
			if c, ok := conn.NetConn().(*clientConn); ok {
				c.http2 = true
			}
			serveHTTP2(s, conn, handler)
		},
	}
	return f
}

// listenForClients opens the port that a front serves.
func listenForClients(ctx context.Context, address string) (*net.TCPListener, error) {
	// The kernel's own pace keeps connections that were forgotten on the way for two minutes and a half.
	listening := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	listening.SetMultipathTCP(false) // such sockets take no filter; see letNobodyIn
	listener, err := listening.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, listenError("clients", "http", address, err)
	}
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		panic(fmt.Sprintf("node: %T for tcp", listener))
	}
	return tcp, nil
}

// retiring has every answer end its connection once retire was called; net/http
// answers on HTTP/2 with GOAWAY then.
func (f *front) retiring(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.retires.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// nobody is a listener to which nobody connects.
type nobody struct{}

func (nobody) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (nobody) Close() error              { return nil }
func (nobody) Addr() net.Addr            { return &net.TCPAddr{} }

// serve returns when the listener was closed, with nil if that was asked for.
func (f *front) serve() error {
	serve := f.server.Serve
	if f.server.TLSConfig != nil {
		serve = func(l net.Listener) error { return f.server.ServeTLS(l, "", "") }
	}
	err := serve(f)
	close(f.stopped)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve clients: %w", err)
}

// Accept implements net.Listener. When nobody new is let in any more, it returns
// whom the kernel let in before, and closes the listener then.
func (f *front) Accept() (net.Conn, error) {
	for {
		conn, err := f.limited.Accept()
		if err == nil {
			return f.enter(conn), nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err //nolint:wrapcheck // net/http asks it whether it is temporary
		}
		// The time that stopAccepting gave is over. On a busy machine it may have been over
		// before anybody looked.
		if !somethingWaits(f.accepted) {
			return nil, errors.Join(net.ErrClosed, f.Close())
		}
		_ = f.accepted.SetDeadline(time.Now().Add(lastAccept)) // it fails for one that is closed, as Accept will
	}
}

func (f *front) enter(conn net.Conn) net.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &clientConn{Conn: conn, front: f, retireAt: f.retireAt}
	f.open[c] = struct{}{}
	return c
}

// somethingWaits tells whether the kernel has connections of a listener that were not accepted
// yet, or bytes of a connection that were not read.
func somethingWaits(socket any) bool {
	system, ok := socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return false // it is closed
	}
	waits := false
	err = raw.Control(func(fd uintptr) {
		asked := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		_, err := unix.Poll(asked, 0)
		waits = err == nil && asked[0].Revents&unix.POLLIN != 0
	})
	return err == nil && waits
}

// Close implements net.Listener.
func (f *front) Close() error {
	if err := f.limited.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the port for clients: %w", err)
	}
	return nil
}

// Addr implements net.Listener.
func (f *front) Addr() net.Addr { return f.limited.Addr() }

// retire has every connection closed by its next answer from now on, and those that
// are idle until then at the given time.
func (f *front) retire(at time.Time) {
	f.retires.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retireAt = at
	for c := range f.open {
		c.retire(at)
	}
}

// end waits for the time that retire was given, or until nobody is connected, lets
// nobody new in, and returns when the last connection is closed. What lasts longer than
// drain after that is cut off, and when ctx ends, everything is.
func (f *front) end(ctx context.Context, drain time.Duration) error {
	for !f.empty() && ctx.Err() == nil && time.Now().Before(f.retirement()) {
		pause(ctx, emptyCheck)
	}
	f.stopAccepting()
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	for !f.empty() && ctx.Err() == nil {
		// RFC 9113, 6.8: GOAWAY first. Again and again, for those whose TLS handshake was
		// not over.
		_ = f.http2.Shutdown(ctx)
		pause(ctx, emptyCheck)
	}
	left := !f.empty()
	err := f.server.Close()
	if left {
		return fmt.Errorf("finish requests in progress (shutdown.drain): %w", errors.Join(context.Cause(ctx), err))
	}
	return err //nolint:wrapcheck // nothing is left that could fail to close
}

func (f *front) retirement() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.retireAt
}

// cut closes the listener and every connection at once.
func (f *front) cut() {
	_ = f.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		_ = c.Conn.Close() // not by TLS, which would say goodbye first and could wait for that
	}
}

func (f *front) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open) == 0
}

// stopAccepting closes the listener, after everybody that the kernel has let in.
func (f *front) stopAccepting() {
	_ = letNobodyIn(f.accepted) // without it, who connects just now may be reset
	if err := f.accepted.SetDeadline(time.Now().Add(lastAccept)); err == nil {
		<-f.stopped
	} // else it is closed
}

// noteState is told by net/http what happens on a connection.
func noteState(conn net.Conn, state http.ConnState) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if c, ok := conn.(*clientConn); ok && state == http.StateIdle {
		c.rest()
	}
}

// clientConn knows whether it is idle: between an answer and the first byte that
// comes after it. HTTP/2 connections never are; they end by GOAWAY.
type clientConn struct {
	net.Conn
	front *front
	http2 bool

	mu       sync.Mutex
	idle     bool
	retireAt time.Time // when it is closed if it is idle then; zero: serving
	deadline time.Time // what net/http has set for reading
}

// rest makes the connection idle. net/http sets the deadline for it next.
func (c *clientConn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = !c.http2
}

// retire has the connection closed if it is idle at that time.
func (c *clientConn) retire(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retireAt = at
	if c.idle {
		_ = c.Conn.SetReadDeadline(at) // it fails for a connection that is closed, which is as well
	}
}

// SetReadDeadline implements net.Conn. A connection that has become idle although it
// is to retire has time for one more request.
func (c *clientConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = at
	if c.idle && !c.retireAt.IsZero() {
		at = c.retireAt
		if least := time.Now().Add(leastRetirement); at.Before(least) {
			at = least
		}
	}
	return c.Conn.SetReadDeadline(at) //nolint:wrapcheck // net/http looks at what it is
}

// Read implements net.Conn. It returns io.EOF when an idle connection retires.
func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.retires() {
		// What arrived before the connection is closed is a request, even now.
		_ = c.Conn.SetReadDeadline(time.Now().Add(lastLook))
		if n, err = c.Conn.Read(b); n == 0 && somethingWaits(c.Conn) {
			// On a busy machine that time, too, was over before anybody looked.
			_ = c.Conn.SetReadDeadline(time.Time{})
			n, err = c.Conn.Read(b)
		}
		if n == 0 {
			err = io.EOF
		}
	}
	if n > 0 {
		c.wake()
	}
	return n, err // as it is: net/http looks at it
}

func (c *clientConn) retires() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle && !c.retireAt.IsZero()
}

// wake ends idleness.
func (c *clientConn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle && !c.retireAt.IsZero() {
		_ = c.Conn.SetReadDeadline(c.deadline)
	}
	c.idle = false
}

// Close implements net.Conn.
func (c *clientConn) Close() error {
	c.front.mu.Lock()
	delete(c.front.open, c)
	c.front.mu.Unlock()
	return c.Conn.Close() //nolint:wrapcheck // net/http looks at what it is
}

// CloseWrite lets net/http end an answer before it closes the connection.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
