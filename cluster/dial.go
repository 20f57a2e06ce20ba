package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// dialer opens connections on which both ends have proven to be nodes of the
// same cluster.
type dialer struct {
	clusterName string
	tls         func() *tls.Config
	dial        dialFunc // nil: TCP
	now         func() time.Time
	timeout     time.Duration // for all of it

	lineage func() [lineageSize]byte // this node's
	foreign func([lineageSize]byte)  // raft dialled a member, who is of that other one
}

// open dials a peer. When it returns, the peer has verified us, too: its hello
// has arrived. If want is not empty, it is who must live at the address. Every
// error is certainly without effect.
func (d *dialer) open(ctx context.Context, address, protocol string, want raft.ServerID) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(ctx, address, protocol, want)
	if refused, ok := errors.AsType[*net.OpError](err); ok && refused.Op == "dial" && refused.Addr != nil && refused.Addr.String() == address {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err) // which says itself whom it was to reach
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w: %w", address, ErrNotSent, err)
	}
	return conn, nil
}

func (d *dialer) connect(ctx context.Context, address, protocol string, want raft.ServerID) (_ *tls.Conn, err error) {
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
		return nil, fmt.Errorf("handshake: %w", explainDialled(err))
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
		return nil, fmt.Errorf("handshake: the peer does not speak %s", protocol)
	}
	found, lineage, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	if want != "" && found != want {
		return nil, fmt.Errorf("%w: server %s lives there, not %s", errWrongServer, found, want)
	}
	if protocol == protocolRaft {
		if err = d.related(lineage); err != nil {
			return nil, err
		}
	}
	if err = raw.SetDeadline(time.Time{}); err != nil {
		return nil, err //nolint:wrapcheck // open wraps it
	}
	return conn, nil
}

// explainDialled says what is most likely wrong where somebody answers who is no node.
func explainDialled(err error) error {
	const noProtocol = tls.AlertError(120) // RFC 7301, 3.2: the two share no protocol
	remote := new(net.OpError)
	unknown := errors.As(err, &remote) && remote.Err != nil && remote.Err.Error() == noProtocol.Error()
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || unknown {
		return fmt.Errorf("this is not the port between nodes (transport.port, as a rule 9300), but perhaps that for clients (http.port, as a rule 9200): %w", err)
	}
	return err
}

// errWrongServer is why raft does not talk to whom it finds at a member's address.
// A server whose data folder was emptied is another server: were it taken for the
// old one, its votes and appends would count twice, and acknowledged writes be lost.
var errWrongServer = errors.New("another server")

// readHello waits until the peer has accepted us, and returns who it is, and of which
// lineage. It reads not one byte more: what follows is for another reader.
func readHello(conn net.Conn) (id raft.ServerID, lineage [lineageSize]byte, err error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return "", lineage, fmt.Errorf("not welcomed by the peer: %w", err)
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return "", lineage, err
	}
	if h.kind != kindHello {
		return "", lineage, fmt.Errorf("%w: kind %d instead of a hello", errFrame, h.kind)
	}
	body := make([]byte, h.size)
	if _, err := io.ReadFull(conn, body); err != nil {
		return "", lineage, fmt.Errorf("not welcomed by the peer: %w", err)
	}
	lineage, body, err = cutLineage(body)
	return raft.ServerID(body), lineage, err
}

// unheard is how long a connection lasts when nothing that is sent on it arrives, as when a
// firewall has forgotten it: two requests of raft's after each other had kept writes waiting for
// 10 s. The kernel counts a peer that takes nothing, too, once its buffers are full. So it is longer than
// a disk may hang before its node ends (5 s): or a follower that pauses would never get a snapshot.
const unheard = 6 * time.Second

// keepAlive makes the kernel find a dead peer: within about 8 s on a connection on which
// nothing is sent.
func keepAlive(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		// An error means that the connection is gone already; its reader will tell.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3,
		})
		_ = giveUpUnheard(tcp, unheard)
	}
}
