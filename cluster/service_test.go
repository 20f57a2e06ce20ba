package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// CVE-2021-37219: any certificate of the CA could speak raft.
func TestOnlyNodesOfTheClusterAreServed(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	for name, cfg := range map[string]*tls.Config{
		"wrong role":     ca.config(ca.issue(t, "jeton://test/client/two")),
		"no name":        ca.config(ca.issue(t)),
		"wrong cluster":  ca.config(ca.issue(t, "jeton://other/node/two")),
		"wrong CA":       {RootCAs: ca.pool(), Certificates: otherCA.node(t, "two").Certificates},
		"no certificate": {RootCAs: ca.pool()},
	} {
		for _, protocol := range []string{cluster.ProtocolRPC, cluster.ProtocolRaft} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				// The node behind this client trusts the server, so the refusal is the server's.
				service, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{Handler: &fakeHandler{
					propose: func(context.Context, [][]byte) ([][]byte, error) { t.Error("served"); return nil, nil },
				}})
				if protocol == cluster.ProtocolRPC {
					client := startClient(t, cfg, cluster.ClientConfig{})
					if _, _, err := client.Propose(t.Context(), address, [][]byte{{1}}); !errors.Is(err, cluster.ErrNotSent) {
						t.Errorf("got %v, want a dial that fails", err)
					}
					return
				}
				accepted := acceptAll(service.StreamLayer())
				dialling, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{ClientTLS: func() *tls.Config { return cfg }})
				if conn, err := dialling.StreamLayer().Dial(address, time.Minute); err == nil {
					t.Error("dialled")
					_ = conn.Close()
				}
				_ = service.Close()
				if n := <-accepted; n != 0 {
					t.Errorf("%d connections reached raft", n)
				}
			})
		}
	}
}

// acceptAll counts what reaches raft until the layer closes.
func acceptAll(layer raft.StreamLayer) <-chan int {
	count := make(chan int, 1)
	go func() {
		n := 0
		for {
			conn, err := layer.Accept()
			if err != nil {
				count <- n
				return
			}
			n++
			_ = conn.Close()
		}
	}()
	return count
}

func TestANodeTalksOnlyToNodesOfItsCluster(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	for name, cert := range map[string]tls.Certificate{
		"wrong role":    ca.issue(t, "jeton://test/client/one"),
		"wrong cluster": ca.issue(t, "jeton://other/node/one"),
		"wrong CA":      otherCA.issue(t, nodeURI("one")),
	} {
		t.Run(name, func(t *testing.T) {
			address := impostor(t, ca.config(cert))
			client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
			if _, err := client.Confirm(t.Context(), address); !errors.Is(err, cluster.ErrNotSent) {
				t.Errorf("got %v", err)
			}
			service, _ := startService(t, ca.node(t, "two"), cluster.ServiceConfig{})
			if _, err := service.StreamLayer().Dial(address, time.Minute); !errors.Is(err, cluster.ErrNotSent) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// impostor is a server that accepts everybody and says hello.
func impostor(t *testing.T, cfg *tls.Config) raft.ServerAddress {
	t.Helper()
	cfg.NextProtos = []string{cluster.ProtocolRPC, cluster.ProtocolRaft}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(cluster.AppendFrame(nil, 0x80, 0, make([]byte, 16)))
			_ = conn.Close()
		}
	}()
	return raft.ServerAddress(listener.Addr().String())
}

func TestAPeerThatSpeaksNothingWeKnowIsRefused(t *testing.T) {
	ca := newAuthority(t)
	_, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{})
	for name, protocols := range map[string][]string{"no ALPN": nil, "HTTP": {"h2", "http/1.1"}, "another version": {"rpc/2"}} {
		cfg := ca.node(t, "two")
		cfg.NextProtos, cfg.InsecureSkipVerify = protocols, true
		conn, err := tls.Dial("tcp", string(address), cfg)
		if err != nil {
			continue // refused in the handshake
		}
		// In TLS 1.3 a good dial is no proof; the connection ends instead.
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: welcomed", name)
		}
		_ = conn.Close()
	}
}

func TestARefusedPeerIsNamedInTheLog(t *testing.T) {
	ca := newAuthority(t)
	var log logBuffer
	service, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{Logger: log.logger()})
	client := startClient(t, ca.config(ca.issue(t, "jeton://other/node/two")), cluster.ClientConfig{})
	_, _ = client.Confirm(t.Context(), address)
	// The service says it after it has closed the connection, and not while it ends.
	named := func() bool {
		got := log.String()
		return strings.Contains(got, "[WARN]") && strings.Contains(got, `cluster \"other\"`)
	}
	for deadline := time.Now().Add(10 * time.Second); !named() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if !named() {
		t.Errorf("log: %s", log.String())
	}
	_ = service.Close()
}

// CVE-2020-7218: who connects and says nothing must not keep others out.
func TestStrangersWhoStallAreDrivenOutByWhoComesAfterThem(t *testing.T) {
	ca := newAuthority(t)
	_, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{MaxHandshakes: 8, HandshakeTimeout: time.Hour})
	var stalled []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", string(address))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte{22}) // the first byte of a handshake
		stalled = append(stalled, conn)
	}
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Errorf("kept out: %v", err)
	}
	for _, conn := range stalled[:90] {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a stalled connection was answered")
		}
	}
}

func TestAHandshakeHasADeadline(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener, HandshakeTimeout: 3 * time.Second})
		conn, err := listener.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(start) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestAFrameThatHasBegunMustEnd(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
		conn := dialRPC(t, listener, ca.node(t, "two"))
		time.Sleep(time.Hour) // between frames a peer may take its time
		frame := cluster.AppendFrame(nil, cluster.KindPropose, 1, make([]byte, 100))
		if _, err := conn.Write(frame[:50]); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(start) != cluster.FrameTimeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestAPeerThatDoesNotReadItsAnswersIsCutOff(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
		conn := dialRPC(t, listener, ca.node(t, "two"))
		start := time.Now()
		question := cluster.AppendFrame(nil, cluster.KindConfirm, 1, nil)
		for {
			if _, err := conn.Write(question); err != nil {
				break
			}
		}
		if waited := time.Since(start); waited != cluster.FrameTimeout {
			t.Errorf("cut off after %s", waited)
		}
	})
}

// dialRPC opens a connection by hand.
func dialRPC(t *testing.T, listener *pipeListener, cfg *tls.Config) *tls.Conn {
	t.Helper()
	raw, err := listener.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	cfg.InsecureSkipVerify, cfg.NextProtos = true, []string{cluster.ProtocolRPC}
	conn := tls.Client(raw, cfg)
	if _, err := io.ReadFull(conn, make([]byte, 13+16+len("server-1"))); err != nil {
		t.Fatalf("no hello: %v", err)
	}
	return conn
}

func TestAPeerMayNotHaveAnyNumberOfConnections(t *testing.T) {
	ca := newAuthority(t)
	listener := newPipeListener()
	startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener, MaxPeerConns: 3})
	for range 3 {
		conn := dialRPC(t, listener, ca.node(t, "greedy"))
		go func() { _, _ = conn.Write(cluster.AppendFrame(nil, 77, 5, nil)) }()
		// It is counted once it is served, which is after its hello.
		if _, _, _, err := cluster.NextFrame(cluster.NewFrameReader(conn)); err != nil {
			t.Fatalf("one of the three: %v", err)
		}
	}
	extra := dialRPC(t, listener, ca.node(t, "greedy"))
	if _, err := extra.Read(make([]byte, 1)); err == nil {
		t.Error("a fourth connection was served")
	}
	client := startClient(t, ca.node(t, "modest"), cluster.ClientConfig{Dial: listener.dial})
	if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
		t.Errorf("another peer: %v", err)
	}
}

func TestAMalformedFrameEndsTheConnectionAndAnUnknownKindDoesNot(t *testing.T) {
	ca := newAuthority(t)
	listener := newPipeListener()
	startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
	conn := dialRPC(t, listener, ca.node(t, "two"))
	go func() { _, _ = conn.Write(cluster.AppendFrame(nil, 77, 5, []byte("from the future"))) }()
	k, id, body, err := cluster.NextFrame(cluster.NewFrameReader(conn))
	if err != nil || k != cluster.KindFailure || id != 5 || !errors.Is(cluster.DecodeFailure(body), cluster.ErrRefused) {
		t.Errorf("kind %d, id %d, %q, %v", k, id, body, err)
	}
	go func() { _, _ = conn.Write(cluster.AppendFrame(nil, cluster.KindConfirm, 5, []byte("no body allowed"))) }()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives on")
	}
}

func TestRequestsThatCannotBeReadAreRefused(t *testing.T) {
	ca := newAuthority(t)
	listener := newPipeListener()
	startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
	conn := dialRPC(t, listener, ca.node(t, "two"))
	in := cluster.NewFrameReader(conn)
	patience := []byte{0, 0, 1, 0}
	for name, frame := range map[string][]byte{
		"no patience":  cluster.AppendFrame(nil, cluster.KindPropose, 1, []byte{1}),
		"no lineage":   cluster.AppendFrame(nil, cluster.KindPropose, 4, append(patience, 1, 2)),
		"no list":      cluster.AppendFrame(nil, cluster.KindPropose, 2, append(patience, make([]byte, 16)...)),
		"join, broken": cluster.AppendFrame(nil, 3, 3, append(patience, "{"...)),
		"leave, array": cluster.AppendFrame(nil, 4, 4, append(patience, "[]"...)),
	} {
		go func() { _, _ = conn.Write(frame) }()
		k, _, body, err := cluster.NextFrame(in)
		if err != nil || k != cluster.KindFailure || !errors.Is(cluster.DecodeFailure(body), cluster.ErrRefused) {
			t.Errorf("%s: kind %d, %q, %v", name, k, body, err)
		}
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	ca := newAuthority(t)
	service, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{HandshakeTimeout: time.Hour})
	stranger, err := net.Dial("tcp", string(address))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	other, _ := startService(t, ca.node(t, "three"), cluster.ServiceConfig{})
	conn, err := other.StreamLayer().Dial(address, time.Minute) // nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	_ = service.Close() // waits; goleak looks for what is left
	for name, c := range map[string]net.Conn{"stranger": stranger, "raft": conn} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: open still", name)
		}
	}
	if _, err := service.StreamLayer().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := service.StreamLayer().Dial(address, time.Minute); err == nil {
		t.Error("a closed service dialled")
	}
}
