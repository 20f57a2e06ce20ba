package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jeton/node/realm"
)

// Limits of a connection, before anything is known about who opened it.
const (
	readHeaderTimeout = 5 * time.Second  // slow headers are the cheapest attack
	readBodyTimeout   = 15 * time.Second // 64 KiB pass any line that is worth having in this time
	idleTimeout       = 3 * time.Minute  // longer than load balancers', so that they close, not we
	maxHeaderBytes    = 16 << 10         // tokens are 52 bytes; cookies are of no use here
	maxStreams        = 64               // of one HTTP/2 connection at a time; clients open another one then
	maxUnreadBytes    = 64 << 10         // of bodies on one HTTP/2 connection: the least there is, and the largest body
	writeTimeout      = 30 * time.Second // to send the answer

	defaultConnectionsPerIP = 8192  // a load balancer is one address, too
	maxConnections          = 16384 // of all addresses; one alone leaves half to the others
	prefixBitsIPv6          = 64    // what one customer of a provider gets
)

// HTTPServer returns a server for the handler with limits on everything a stranger
// can make it hold. RequestTimeout is [Config]'s. ErrorLog gets what net/http
// complains about; nil: standard error. The caller sets TLS and closes it.
func HTTPServer(handler http.Handler, requestTimeout time.Duration, errorLog *log.Logger) *http.Server {
	if requestTimeout == 0 {
		requestTimeout = defaultRequestTimeout
	}
	// net/http goes on reading while the request is served, to notice a client that
	// leaves, and takes the end of ReadTimeout for that.
	//
	// A deadline for requests with a body alone would be no cheaper: net/http then takes
	// the deadline back for every other request, which is a call as well (measured: the
	// same CPU, and one call more with a body). WriteTimeout is for small answers, too:
	// whoever sends requests and reads no answers fills the buffers with them.
	readTimeout := readBodyTimeout + requestTimeout
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          errorLog,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, realm.Source{}, realm.Source(networkOf(conn.RemoteAddr())))
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			// What net/http holds while the caller is being authenticated; 1 MiB unless set.
			MaxReceiveBufferPerConnection: maxUnreadBytes,
			MaxReceiveBufferPerStream:     maxUnreadBytes,
		},
	}
}

// LimitConnections returns a listener that closes, at once, what one address opens
// beyond the limit (CVE-2020-7218), and what all together open beyond 16,384, or half
// of the files that the process may have open if that is less: raft and the disk need
// the others. Addresses of one IPv6 network of 64 bits count as one. PerAddress 0
// stands for 8,192, but at most half of what all may open, so that no address can keep
// the others out; a negative one for no limit of its own.
func LimitConnections(listener net.Listener, perAddress int) net.Listener {
	total := mostConnections()
	switch {
	case perAddress < 0:
		perAddress = total
	case perAddress == 0:
		perAddress = min(defaultConnectionsPerIP, total/2) //nolint:mnd // half
	}
	return &limitedListener{Listener: listener, limit: perAddress, total: total, open: make(map[netip.Prefix]int)}
}

// mostConnections is maxConnections, or less where the process may open few files.
func mostConnections() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return maxConnections
	}
	return int(min(maxConnections, files.Cur/2)) //nolint:mnd // half
}

type limitedListener struct {
	net.Listener
	limit, total int

	mu   sync.Mutex
	open map[netip.Prefix]int
	all  int
}

// Accept returns the next connection that is within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // net/http asks the error itself whether it is temporary
		}
		from := networkOf(connection.RemoteAddr())
		if l.enter(from) {
			return &limitedConn{Conn: connection, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = connection.Close()
	}
}

func (l *limitedListener) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || l.open[from] >= l.limit {
		return false
	}
	l.all++
	l.open[from]++
	return true
}

func (l *limitedListener) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// networkOf is what is counted; an address of another kind counts as the zero one.
func networkOf(address net.Addr) netip.Prefix {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = prefixBitsIPv6
	}
	network, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close gives the place back, once.
func (c *limitedConn) Close() error {
	c.leave()
	if err := c.Conn.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// SyscallConn implements syscall.Conn, as far as the connection does.
func (c *limitedConn) SyscallConn() (syscall.RawConn, error) {
	system, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return system.SyscallConn() //nolint:wrapcheck // the caller's own question
}

// CloseWrite lets net/http end an answer before it closes the connection.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return fmt.Errorf("close write: %w", err)
		}
	}
	return nil
}
