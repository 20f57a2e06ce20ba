package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// dialer opens connections on which both ends have proven to be nodes of the
// same cluster.
type dialer struct {
	clusterName string
	tls         func() *tls.Config
	dial        dialFunc // nil: TCP
	now         func() time.Time
	timeout     time.Duration // for all of it
}

// open dials a peer. When it returns, the peer has verified us, too: its hello
// has arrived. Every error is certainly without effect.
func (d *dialer) open(ctx context.Context, address, protocol string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(ctx, address, protocol)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w: %w", address, ErrNotSent, err)
	}
	return conn, nil
}

func (d *dialer) connect(ctx context.Context, address, protocol string) (_ *tls.Conn, err error) {
	cfg, err := clientTLS(d.tls(), d.clusterName, protocol)
	if err != nil {
		return nil, err
	}
	dial := d.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = raw.Close()
		}
	}()
	keepAlive(raw)
	if err = raw.SetDeadline(d.now().Add(d.timeout)); err != nil {
		return nil, err //nolint:wrapcheck // open wraps it
	}
	// Closing the node must not wait for a peer that stalls in the middle of this.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	conn := tls.Client(raw, cfg)
	if err = conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
		return nil, fmt.Errorf("handshake: the peer does not speak %s", protocol)
	}
	if err = readHello(conn); err != nil {
		return nil, err
	}
	if err = raw.SetDeadline(time.Time{}); err != nil {
		return nil, err //nolint:wrapcheck // open wraps it
	}
	return conn, nil
}

// readHello waits until the peer has accepted us. It reads not one byte more: what
// follows is for another reader.
func readHello(conn net.Conn) error {
	var b [headerSize]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return fmt.Errorf("not welcomed by the peer: %w", err)
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return err
	}
	if h.kind != kindHello {
		return fmt.Errorf("%w: kind %d instead of a hello", errFrame, h.kind)
	}
	return nil
}

// keepAlive makes the kernel find a dead peer within about 15 s on a connection
// on which nothing is sent.
func keepAlive(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		// An error means that the connection is gone already; its reader will tell.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3,
		})
	}
}
