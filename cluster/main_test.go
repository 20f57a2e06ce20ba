package cluster_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"jeton/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster = "test"

// authority is a CA made for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes a CA whose certificates are valid in a synctest bubble, too,
// where it is the year 2000.
func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a certificate with the given URIs and nothing else to know its holder by.
func (a *authority) issue(tb testing.TB, uris ...string) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature,
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func nodeURI(name string) string { return "jeton://" + testCluster + "/node/" + name }

// node makes a TLS configuration for both ends of a node of the test cluster.
func (a *authority) node(tb testing.TB, name string) *tls.Config {
	tb.Helper()
	return a.config(a.issue(tb, nodeURI(name)))
}

func (a *authority) config(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		RootCAs: a.pool(), ClientCAs: a.pool(), Time: time.Now,
	}
}

// fakeHandler answers with what a test sets.
type fakeHandler struct {
	propose func(ctx context.Context, commands [][]byte) ([][]byte, error)
	confirm func() cluster.Confirmation
	join    func(ctx context.Context, request cluster.JoinRequest) error
	leave   func(ctx context.Context, id raft.ServerID) error
	status  func(ctx context.Context) (cluster.Status, error)

	peer     atomic.Pointer[string] // who proposed last
	exchange func(ctx, conn context.Context, question []byte) ([]byte, error)
	transfer func(ctx context.Context, id raft.ServerID) (raft.ServerID, error)
}

func (h *fakeHandler) Propose(ctx context.Context, peer string, commands [][]byte) ([][]byte, error) {
	h.peer.Store(&peer)
	if h.propose == nil {
		return commands, nil // an echo
	}
	return h.propose(ctx, commands)
}

func (h *fakeHandler) Confirm() cluster.Confirmation {
	if h.confirm == nil {
		return cluster.Confirmation{ServerID: "server-1", Term: 7, Voter: true, Leader: true, Applied: 42, AppliedTerm: 6, Voters: 99, NowUnixMilli: 1234567890123}
	}
	return h.confirm()
}

func (h *fakeHandler) Join(ctx context.Context, request cluster.JoinRequest) error {
	return h.join(ctx, request)
}

func (h *fakeHandler) Leave(ctx context.Context, id raft.ServerID) error { return h.leave(ctx, id) }

func (h *fakeHandler) Transfer(ctx context.Context, id raft.ServerID) (raft.ServerID, error) {
	return h.transfer(ctx, id)
}

func (h *fakeHandler) Exchange(ctx, conn context.Context, question []byte) ([]byte, error) {
	return h.exchange(ctx, conn, question)
}

func (h *fakeHandler) Status(ctx context.Context) (cluster.Status, error) { return h.status(ctx) }

// logBuffer collects a log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Debug})
}

// startService serves until the test ends. Fields that are set in cfg are kept.
func startService(tb testing.TB, material *tls.Config, cfg cluster.ServiceConfig) (*cluster.Service, raft.ServerAddress) {
	tb.Helper()
	if cfg.Listener == nil {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Listener = listener
	}
	address := raft.ServerAddress(cfg.Listener.Addr().String())
	if cfg.Handler == nil {
		cfg.Handler = &fakeHandler{}
	}
	if cfg.ServerTLS == nil {
		cfg.ServerTLS = material
	}
	if cfg.ClientTLS == nil {
		cfg.ClientTLS = func() *tls.Config { return material }
	}
	cfg.ClusterName, cfg.Now = testCluster, time.Now
	if cfg.ServerID == "" {
		cfg.ServerID = "server-1"
	}
	service, err := cluster.NewService(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- service.Serve() }()
	tb.Cleanup(func() {
		if err := service.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
		if err := <-ended; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return service, address
}

func startClient(tb testing.TB, material *tls.Config, cfg cluster.ClientConfig) *cluster.Client {
	tb.Helper()
	if cfg.TLS == nil {
		cfg.TLS = func() *tls.Config { return material }
	}
	cfg.ClusterName, cfg.Now = testCluster, time.Now
	client, err := cluster.NewClient(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return client
}

// pair is a service and a client of one cluster.
func pair(tb testing.TB, handler cluster.Handler) (*cluster.Client, raft.ServerAddress) {
	tb.Helper()
	ca := newAuthority(tb)
	_, address := startService(tb, ca.node(tb, "one"), cluster.ServiceConfig{Handler: handler})
	return startClient(tb, ca.node(tb, "two"), cluster.ClientConfig{}), address
}

// pipeListener is a network of one listener in memory. Bytes wait in it as they do
// in a kernel, but time may be a bubble's.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	dials  atomic.Int64
	// wrap, if set, stands between the dialling end and the network.
	wrap func(net.Conn) net.Conn
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.dials.Add(1)
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.wrap != nil {
		return l.wrap(ours), nil
	}
	return ours, nil
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
