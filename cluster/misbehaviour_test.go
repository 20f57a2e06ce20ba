package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// scriptedPeer is a node of the cluster that answers every request with the frame
// that a test makes up.
func scriptedPeer(t *testing.T, ca *authority, answer func(k byte, id uint64) []byte) *pipeListener {
	t.Helper()
	listener := newPipeListener()
	cfg := ca.node(t, "one")
	cfg.NextProtos, cfg.ClientAuth = []string{cluster.ProtocolRPC}, tls.RequireAndVerifyClientCert
	serve := func(raw net.Conn) {
		defer raw.Close()
		conn := tls.Server(raw, cfg)
		_, _ = conn.Write(cluster.AppendFrame(nil, 0x80, 0, make([]byte, 16)))
		in := cluster.NewFrameReader(conn)
		for {
			k, id, _, err := cluster.NextFrame(in)
			if err != nil {
				return
			}
			_, _ = conn.Write(answer(k, id))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			serve(raw)
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener
}

func TestAnAnswerThatMakesNoSenseEndsTheConnectionWithAnUnknownOutcome(t *testing.T) {
	ca := newAuthority(t)
	for name, answer := range map[string]func(k byte, id uint64) []byte{
		"wrong kind":      func(_ byte, id uint64) []byte { return cluster.AppendFrame(nil, 0x85, id, []byte("{}")) },
		"hello":           func(_ byte, id uint64) []byte { return cluster.AppendFrame(nil, 0x80, id, nil) },
		"too large":       func(byte, uint64) []byte { return []byte{0xff, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0, 1} },
		"no list":         func(k byte, id uint64) []byte { return cluster.AppendFrame(nil, k|0x80, id, []byte{1}) },
		"too few answers": func(k byte, id uint64) []byte { return cluster.AppendFrame(nil, k|0x80, id, make([]byte, 4)) },
		"empty failure":   func(_ byte, id uint64) []byte { return cluster.AppendFrame(nil, cluster.KindFailure, id, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			listener := scriptedPeer(t, ca, answer)
			client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: listener.dial})
			if _, _, err := client.Propose(t.Context(), "pipe", [][]byte{{1}}); err == nil || errors.Is(err, cluster.ErrNotProposed) {
				t.Errorf("propose: %v", err)
			}
		})
	}
	bad := func(k byte, id uint64) []byte { return cluster.AppendFrame(nil, k|0x80, id, []byte("short")) }
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: scriptedPeer(t, ca, bad).dial})
	if _, err := client.Confirm(t.Context(), "pipe"); err == nil {
		t.Error("a confirmation of five bytes was accepted")
	}
}

// The nonce of a confirmed read: only an answer to this very question counts.
func TestAnAnswerToAnotherQuestionIsIgnored(t *testing.T) {
	ca := newAuthority(t)
	listener := scriptedPeer(t, ca, func(k byte, id uint64) []byte {
		stale := cluster.AppendFrame(nil, k|0x80, id-1, cluster.AppendConfirmation(nil, cluster.Confirmation{Term: 1}))
		stale = cluster.AppendFrame(stale, k|0x80, id+1, cluster.AppendConfirmation(nil, cluster.Confirmation{Term: 2}))
		return cluster.AppendFrame(stale, k|0x80, id, cluster.AppendConfirmation(nil, cluster.Confirmation{Term: 3}))
	})
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: listener.dial})
	for range 3 {
		if c, err := client.Confirm(t.Context(), "pipe"); err != nil || c.Term != 3 {
			t.Errorf("got term %d, %v", c.Term, err)
		}
	}
}

func TestARequestThatThePeerDoesNotAnswerInTheEndFails(t *testing.T) {
	refuse := errors.Join(cluster.ErrRefused, errors.New("no"))
	client, address := pair(t, &fakeHandler{
		join:   func(context.Context, cluster.JoinRequest) error { return refuse },
		leave:  func(context.Context, raft.ServerID) error { return &cluster.NotLeaderError{} },
		status: func(context.Context) (cluster.Status, error) { return cluster.Status{}, errors.New("starting") },
	})
	if err := client.Join(t.Context(), address, cluster.JoinRequest{}); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("join: %v", err)
	}
	if err := client.Leave(t.Context(), address, "x"); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("leave: %v", err)
	}
	if _, err := client.Status(t.Context(), address); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("status: %v", err)
	}
	if err := client.Join(t.Context(), address, cluster.JoinRequest{ID: raft.ServerID(make([]byte, 9000))}); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a join of nine kilobytes: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Confirm(ended, address); !errors.Is(err, cluster.ErrNotSent) {
		t.Errorf("a caller who has gone already: %v", err)
	}
}

// flakyListener fails a few times before it accepts.
type flakyListener struct {
	*pipeListener
	failures int
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures--; l.failures >= 0 {
		return nil, errors.New("too many open files")
	}
	return l.pipeListener.Accept()
}

func TestAcceptingGoesOnAfterFailures(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		listener := &flakyListener{newPipeListener(), 20}
		startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
		client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: listener.dial, DialTimeout: time.Minute})
		start := time.Now()
		if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < 10*time.Second || waited > 20*time.Second {
			t.Errorf("served after %s: the pauses should grow to a second", waited)
		}
	})
}

func TestAListenerThatIsClosedByOthersEndsServe(t *testing.T) {
	ca := newAuthority(t)
	material := ca.node(t, "one")
	listener := newPipeListener()
	service, err := cluster.NewService(cluster.ServiceConfig{
		Listener: listener, ClusterName: testCluster, ServerTLS: material, ClientTLS: func() *tls.Config { return material },
		Handler: &fakeHandler{}, Now: time.Now, ServerID: "server-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := service.Serve(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := service.Close(); err != nil {
		t.Error(err)
	}
	if err := service.Serve(); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// A peer that floods with requests of every kind, reads slowly and goes away leaves
// nothing behind.
func TestAFloodEndsWithItsConnection(t *testing.T) {
	ca := newAuthority(t)
	listener := newPipeListener()
	_, _ = startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener, Handler: &fakeHandler{
		propose: func(_ context.Context, commands [][]byte) ([][]byte, error) { return commands, nil },
		status:  func(context.Context) (cluster.Status, error) { return cluster.Status{}, nil },
	}})
	conn := dialRPC(t, listener, ca.node(t, "two"))
	var flood []byte
	for id := range uint64(2000) {
		batch := append([]byte{0, 0, 1, 0}, cluster.AppendList(nil, [][]byte{make([]byte, 1000)})...)
		flood = cluster.AppendFrame(flood, cluster.KindPropose, id, batch)
		flood = cluster.AppendFrame(flood, cluster.KindConfirm, id, nil)
		flood = cluster.AppendFrame(flood, 5, id, []byte{0, 0, 1, 0})
	}
	sent := make(chan struct{})
	go func() { defer close(sent); _, _ = conn.Write(flood) }()
	in := cluster.NewFrameReader(conn)
	for range 3000 { // half of the answers, each to one request
		if _, _, _, err := cluster.NextFrame(in); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.NetConn().Close()
	<-sent
}
