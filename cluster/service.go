package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// defaultHandshakeTimeout bounds everything between accepting or dialling a
	// connection and both ends knowing each other.
	defaultHandshakeTimeout = 3 * time.Second
	// defaultMaxHandshakes bounds the connections of strangers.
	defaultMaxHandshakes = 64
	// defaultMaxPeerConns bounds the connections of one node: raft keeps a handful.
	defaultMaxPeerConns = 64
	// maxConns bounds the connections of all nodes together.
	maxConns = 1024
	// refusalLogEvery is how often a failed handshake is worth a warning.
	refusalLogEvery = 10 * time.Second
)

// dialFunc opens a plain connection, as net.Dialer.DialContext does.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// ServiceConfig configures a [Service].
type ServiceConfig struct {
	// Listener is where peers connect. Required. The Service closes it.
	Listener net.Listener

	// ClusterName is what a peer's certificate must say. Required.
	ClusterName string

	// ServerID is told to everyone who connects, so that raft talks only to the
	// member it means. Required; 255 bytes at most.
	ServerID raft.ServerID

	// Advertise is the address by which peers reach this node. Default: the
	// listener's.
	Advertise string

	// ServerTLS is what this node shows to those who dial it, and ClientCAs it
	// verifies them with. It is required, and may have a GetConfigForClient, so that
	// both can be replaced while connections are made. Protocol versions, ALPN,
	// verification and session tickets are forced by the Service.
	ServerTLS *tls.Config

	// ClientTLS returns what this node shows to a raft peer that it dials, and the
	// RootCAs it verifies it with. Required. Called for every connection, concurrently.
	ClientTLS func() *tls.Config

	// Handler answers requests. Required.
	Handler Handler

	// Lineage returns this node's, and with all bits set as long as raft must not speak to
	// it: raft speaks only to members of the same, and proposals are taken only from them.
	// Called concurrently. Nil: all are of one.
	Lineage func() [16]byte

	// Heard is called, concurrently, before raft is handed a connection whose other end was told
	// that lineage, and from then on it must not change. False: it has, and the connection is
	// closed. Nil: it never does.
	Heard func(lineage [16]byte) bool

	// Foreign is called, concurrently, when a member that raft dialled turns out to be of
	// that other lineage. It must not block. Nil: nobody asks.
	Foreign func(lineage [16]byte)

	// Ended is called, concurrently, when a connection has ended on which a peer's raft
	// spoke to this node's: perhaps the peer has, too. It must not block. Nil: nobody asks.
	Ended func()

	// Now is the clock, for I/O deadlines. Required.
	Now func() time.Time

	// Logger gets a line for what an operator should know. Nil: nothing is logged.
	Logger hclog.Logger

	// Dial opens connections to raft peers. Nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// HandshakeTimeout bounds how long a stranger is listened to. Default 3 s.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds the strangers that are listened to at once. One more
	// drives out the oldest: who stalls cannot keep others out. Default 64.
	MaxHandshakes int

	// MaxPeerConns bounds the connections of one peer. Default 64.
	MaxPeerConns int
}

func (c *ServiceConfig) complete() error {
	var problems []error
	if c.Listener == nil {
		problems = append(problems, errors.New("no listener"))
	}
	if c.ClusterName == "" {
		problems = append(problems, errors.New("no cluster name"))
	}
	if c.ServerID == "" || len(c.ServerID) > maxServerID {
		problems = append(problems, errors.New("no server id, or one of more than 255 bytes"))
	}
	if c.ClientTLS == nil {
		problems = append(problems, errors.New("no TLS configuration for dialling"))
	}
	if c.Handler == nil {
		problems = append(problems, errors.New("no handler"))
	}
	if c.Now == nil {
		problems = append(problems, errors.New("no clock"))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if c.Advertise == "" {
		c.Advertise = c.Listener.Addr().String()
	}
	if c.Lineage == nil {
		c.Lineage = func() (one [lineageSize]byte) { return one }
	}
	if c.Heard == nil {
		c.Heard = func([lineageSize]byte) bool { return true }
	}
	if c.Foreign == nil {
		c.Foreign = func([lineageSize]byte) {}
	}
	if c.Ended == nil {
		c.Ended = func() {}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	if c.MaxHandshakes <= 0 {
		c.MaxHandshakes = defaultMaxHandshakes
	}
	if c.MaxPeerConns <= 0 {
		c.MaxPeerConns = defaultMaxPeerConns
	}
	return nil
}

// Service serves peers on one port: raft's own traffic and the requests of
// [Client]. Its methods are safe for concurrent use.
type Service struct {
	cfg    ServiceConfig
	tls    *tls.Config
	dialer dialer
	stream *streamLayer
	ctx    context.Context //nolint:containedctx // the life of the Service; its cancel is beside it
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine the Service started

	mu         sync.Mutex
	closed     bool
	strangers  []net.Conn     // handshakes under way, oldest first
	peers      map[string]int // connections by node name
	conns      int            // their sum
	rpc        map[*rpcConn]struct{}
	lastRefuse time.Time // when a failed handshake was logged as a warning
}

// NewService checks a configuration. The Service does nothing until Serve is called, but its
// StreamLayer can dial at once. The caller calls Close, also if Serve was never called.
func NewService(cfg ServiceConfig) (*Service, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("cluster service: %w", err)
	}
	tlsConfig, err := serverTLS(cfg.ServerTLS, cfg.ClusterName)
	if err != nil {
		return nil, fmt.Errorf("cluster service: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		cfg: cfg,
		tls: tlsConfig,
		dialer: dialer{
			clusterName: cfg.ClusterName, tls: cfg.ClientTLS, dial: cfg.Dial, now: cfg.Now, timeout: cfg.HandshakeTimeout,
			lineage: cfg.Lineage, foreign: cfg.Foreign,
		},
		ctx:    ctx,
		cancel: cancel,
		peers:  make(map[string]int),
		rpc:    make(map[*rpcConn]struct{}),
	}
	s.stream = newStreamLayer(ctx, &s.dialer, cfg.Advertise, cfg.Ended)
	return s, nil
}

// StreamLayer carries raft's connections; see [NewTransport]. There is one for
// the life of the Service. Closing it closes raft's connections and leaves the
// requests of clients alone.
func (s *Service) StreamLayer() raft.StreamLayer { return s.stream }

// NameOf returns the node name in the certificate of who answered as that member, at the
// address where raft last dialled it; empty if it did not yet. A leader has dialled
// everybody who has its log.
func (s *Service) NameOf(id raft.ServerID) string { return s.stream.nameOf(id) }

// Serve accepts connections until Close is called, and then returns nil.
func (s *Service) Serve() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.wg.Add(1) // under mu, so that Close either sees it or prevents it
	s.mu.Unlock()
	defer s.wg.Done()
	var pause time.Duration
	for {
		conn, err := s.cfg.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			s.welcome(conn)
		case s.ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept peers: %w", err)
		default:
			// Out of file descriptors, most likely: it may pass.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("cannot accept peers", "error", err, "retry_in", pause)
			if !s.rest(pause) {
				return nil
			}
		}
	}
}

// Close ends every connection and goroutine of the Service and waits for them. It
// does not end raft: shut that down first, or its requests fail.
func (s *Service) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for _, conn := range s.strangers {
		_ = conn.Close()
	}
	s.mu.Unlock()
	var err error
	if first {
		s.cancel()
		if err = s.cfg.Listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
		_ = s.stream.Close()
		s.eachRPC(func(c *rpcConn) { c.shut() })
	}
	s.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the transport port: %w", err)
	}
	return nil
}

// CloseStreams drops the connections that were made with earlier certificates:
// raft's in both directions at once (raft dials again), those of clients as soon as
// no request of theirs is under way. Use it with [Client.CloseIdle] after
// certificates were replaced.
func (s *Service) CloseStreams() {
	s.stream.closeConns()
	s.eachRPC(func(c *rpcConn) { c.retire() })
}

func (s *Service) eachRPC(do func(*rpcConn)) {
	s.mu.Lock()
	all := make([]*rpcConn, 0, len(s.rpc))
	for c := range s.rpc {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		do(c)
	}
}

// welcome starts to get to know a stranger.
func (s *Service) welcome(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return
	}
	if len(s.strangers) >= s.cfg.MaxHandshakes {
		_ = s.strangers[0].Close()
		s.strangers = slices.Delete(s.strangers, 0, 1)
	}
	s.strangers = append(s.strangers, conn)
	s.wg.Go(func() { s.meet(conn) })
}

// meet learns who a stranger is and serves it if it is a peer.
func (s *Service) meet(raw net.Conn) {
	keepAlive(raw)
	conn, name, told, err := s.handshake(raw)
	s.mu.Lock()
	if i := slices.Index(s.strangers, raw); i >= 0 {
		s.strangers = slices.Delete(s.strangers, i, i+1)
	}
	s.mu.Unlock()
	if err != nil {
		_ = raw.Close()
		s.logRefusal(raw, err)
		return
	}
	if !s.admit(name) {
		_ = conn.Close()
		s.cfg.Logger.Warn("refused a connection: the peer has too many", "peer", name, "limit", s.cfg.MaxPeerConns)
		return
	}
	defer s.dismiss(name)
	switch {
	case conn.ConnectionState().NegotiatedProtocol != protocolRaft:
		s.serveRPC(conn, name)
	case s.cfg.Heard(told):
		s.stream.serve(conn, s.cfg.HandshakeTimeout)
	default:
		_ = conn.Close()
	}
}

// handshake proves both ends to each other. In TLS 1.3 the dialling end is done
// before we have seen its certificate, so it waits for our hello.
func (s *Service) handshake(raw net.Conn) (_ *tls.Conn, name string, told [lineageSize]byte, err error) {
	deadline := s.cfg.Now().Add(s.cfg.HandshakeTimeout)
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, "", told, fmt.Errorf("handshake: %w", err)
	}
	conn := tls.Server(raw, s.tls)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return nil, "", told, fmt.Errorf("handshake: %w", explainAccepted(err))
	}
	state := conn.ConnectionState()
	if p := state.NegotiatedProtocol; p != protocolRaft && p != protocolRPC {
		return nil, "", told, fmt.Errorf("handshake: the peer speaks neither %s nor %s", protocolRaft, protocolRPC)
	}
	name, err = checkPeer(&state, s.cfg.ClusterName)
	if err != nil {
		return nil, "", told, err
	}
	told = s.cfg.Lineage()
	hello := endFrame(append(append(beginFrame(nil, kindHello, 0), told[:]...), s.cfg.ServerID...), 0)
	if _, err := conn.Write(hello); err != nil {
		return nil, "", told, fmt.Errorf("greet %s: %w", name, err)
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, "", told, fmt.Errorf("handshake: %w", err)
	}
	return conn, name, told, nil
}

// explainAccepted says who it most likely is that speaks another protocol.
func explainAccepted(err error) error {
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	if plain || strings.Contains(err.Error(), "unsupported application protocols") { // the error has no type
		return fmt.Errorf("perhaps a client that wants the other port (http.port, as a rule 9200; this is transport.port): %w", err)
	}
	return err
}

// logRefusal says why a stranger was sent away, without letting strangers fill the log.
func (s *Service) logRefusal(conn net.Conn, err error) {
	now := s.cfg.Now()
	s.mu.Lock()
	closed := s.closed
	looked := errors.Is(err, io.EOF) // somebody wanted to know whether the port is open
	loud := errors.Is(err, errIdentity) || !looked && now.Sub(s.lastRefuse) >= refusalLogEvery
	if loud {
		s.lastRefuse = now
	}
	s.mu.Unlock()
	if closed {
		return
	}
	level := hclog.Debug
	if loud {
		level = hclog.Warn
	}
	s.cfg.Logger.Log(level, "refused a connection", "remote_address", conn.RemoteAddr().String(), "error", err)
}
