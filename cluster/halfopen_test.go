package cluster_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jeton/cluster"
)

// cuttable is a connection whose network can be cut so that neither end is told.
type cuttable struct {
	net.Conn
	cut    *atomic.Bool
	closed chan struct{}
}

func (c *cuttable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.cut.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cuttable) Write(p []byte) (int, error) {
	if c.cut.Load() {
		return len(p), nil // the kernel takes it
	}
	return c.Conn.Write(p)
}

func (c *cuttable) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.Conn.Close()
}

// cuttablePair is a client and a service in a bubble with a network between them.
func cuttablePair(t *testing.T, ca *authority, handler cluster.Handler) (client *cluster.Client, listener *pipeListener, cut *atomic.Bool) {
	t.Helper()
	listener, cut = newPipeListener(), new(atomic.Bool)
	listener.wrap = func(conn net.Conn) net.Conn {
		return &cuttable{Conn: conn, cut: cut, closed: make(chan struct{})}
	}
	startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener, Handler: handler})
	return startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: listener.dial, Silence: time.Second}), listener, cut
}

func TestAHalfOpenConnectionIsReplaced(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		client, listener, cut := cuttablePair(t, ca, &fakeHandler{})
		if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
			t.Fatal(err)
		}
		cut.Store(true)
		start := time.Now()
		failed := make(chan error, 1)
		client.StartConfirm("pipe", func(_ cluster.Confirmation, err error) { failed <- err })
		if err := <-failed; err == nil || errors.Is(err, cluster.ErrNotProposed) {
			t.Errorf("got %v, want an unknown outcome", err)
		}
		if waited := time.Since(start); waited > 3*time.Second {
			t.Errorf("noticed after %s", waited)
		}
		cut.Store(false)
		if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
			t.Errorf("after the cut: %v", err)
		}
		if n := listener.dials.Load(); n != 2 {
			t.Errorf("%d dials, want 2", n)
		}
	})
}

func TestACallIsGivenUpAtItsDeadlineEvenIfThePeerIsSilent(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		client, _, cut := cuttablePair(t, ca, &fakeHandler{})
		if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
			t.Fatal(err)
		}
		cut.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, _, err := client.Propose(ctx, "pipe", [][]byte{{1}})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, cluster.ErrNotProposed) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestASlowAnswerFromAPeerThatLivesIsWaitedFor(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		client, listener, _ := cuttablePair(t, ca, &fakeHandler{propose: func(_ context.Context, commands [][]byte) ([][]byte, error) {
			time.Sleep(time.Minute) // say, no quorum
			return commands, nil
		}})
		if _, _, err := client.Propose(t.Context(), "pipe", [][]byte{{1}}); err != nil {
			t.Error(err)
		}
		if n := listener.dials.Load(); n != 1 {
			t.Errorf("%d dials: the connection was taken for dead", n)
		}
	})
}

func TestAnIdleConnectionIsKept(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		client, listener, _ := cuttablePair(t, ca, &fakeHandler{})
		for range 3 {
			if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if n := listener.dials.Load(); n != 1 {
			t.Errorf("%d dials", n)
		}
	})
}

func TestAPeerThatCannotBeReachedIsNotDialledForEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		client := startClient(t, newAuthority(t).node(t, "two"), cluster.ClientConfig{
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return nil, errors.New("connection refused")
			},
		})
		for range 10_000 { // ten seconds
			if _, _, err := client.Propose(t.Context(), "nowhere", [][]byte{{1}}); !errors.Is(err, cluster.ErrNotSent) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Millisecond)
		}
		if n := dials.Load(); n < 18 || n > 30 {
			t.Errorf("%d dials in ten seconds", n)
		}
	})
}

func TestCallsWaitForADialAndMayBeGivenUpWhileTheyWait(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
		client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(100 * time.Millisecond)
			return listener.dial(ctx, network, address)
		}})
		patient := make(chan error, 10)
		for range 10 {
			go func() {
				_, _, err := client.Propose(t.Context(), "pipe", [][]byte{{1}})
				patient <- err
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, _, err := client.Propose(ctx, "pipe", [][]byte{{1}})
		if !errors.Is(err, cluster.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up before the dial was done: %v", err)
		}
		for range 10 {
			if err := <-patient; err != nil {
				t.Error(err)
			}
		}
		if n := listener.dials.Load(); n != 1 {
			t.Errorf("%d dials", n)
		}
	})
}

func TestWhatWaitsBehindAStuckWriteWasCertainlyNotSent(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		stuck := make(chan struct{})
		block := make(chan struct{})
		startService(t, ca.node(t, "one"), cluster.ServiceConfig{Listener: listener})
		var armed atomic.Bool
		listener.wrap = func(conn net.Conn) net.Conn { return &stuckWriter{conn, &armed, stuck, block} }
		client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Dial: listener.dial})
		if _, err := client.Confirm(t.Context(), "pipe"); err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		propose := func() <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, _, err := client.Propose(context.Background(), "pipe", [][]byte{{1}})
				ended <- err
			}()
			return ended
		}
		first := propose()
		<-stuck
		second := propose()
		synctest.Wait()
		time.AfterFunc(10*time.Second, func() { close(block) })
		if err := <-first; err == nil || errors.Is(err, cluster.ErrNotProposed) {
			t.Errorf("being written: %v", err)
		}
		if err := <-second; !errors.Is(err, cluster.ErrNotSent) {
			t.Errorf("waiting behind it: %v", err)
		}
	})
}

// stuckWriter is a connection whose peer stops to read.
type stuckWriter struct {
	net.Conn
	armed        *atomic.Bool
	stuck, block chan struct{}
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	if w.armed.Load() {
		close(w.stuck)
		<-w.block
		return 0, net.ErrClosed
	}
	return w.Conn.Write(p)
}
