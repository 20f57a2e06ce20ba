package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// helper makes the test program print the addresses of the namespace that it is in, and nothing else.
	helper = "JETON_LAB_TEST_HELPER"

	// forbidden holds the reason where there is no network to test with.
	forbidden = "JETON_LAB_TEST_FORBIDDEN"
)

func TestMain(m *testing.M) {
	if os.Getenv(helper) != "" {
		printAddresses()
		return
	}
	err := Enter()
	switch {
	case errors.Is(err, ErrForbidden):
		_ = os.Setenv(forbidden, err.Error())
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func printAddresses() {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			fmt.Println(prefix)
		}
	}
}

// newNetwork makes a network with the named hosts beside the clients.
func newNetwork(tb testing.TB, names ...string) (*Network, []*Host) {
	tb.Helper()
	if reason := os.Getenv(forbidden); reason != "" {
		tb.Skip(reason)
	}
	n, err := New(1)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	hosts := make([]*Host, 0, len(names))
	for _, name := range names {
		host, err := n.AddHost(name)
		if err != nil {
			tb.Fatal(err)
		}
		hosts = append(hosts, host)
	}
	return n, hosts
}

// echo serves, on every address of the host, connections that get back what they send.
func echo(tb testing.TB, host *Host) netip.AddrPort {
	tb.Helper()
	var listener net.Listener
	err := host.Do(func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(tb.Context(), "tcp4", ":0")
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		serve(ctx, listener)
	}()
	tb.Cleanup(func() {
		cancel()
		_ = listener.Close()
		<-stopped
	})
	return netip.AddrPortFrom(host.Address(), netip.MustParseAddrPort(listener.Addr().String()).Port())
}

func serve(ctx context.Context, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		go func() { _, _ = io.Copy(conn, conn) }()
	}
}

// dial connects from the clients' host.
func dial(tb testing.TB, to netip.AddrPort) net.Conn {
	tb.Helper()
	conn, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(tb.Context(), "tcp4", to.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends text through the connection and waits for its echo.
func ask(conn net.Conn, text string, patience time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("sent %q, got back %q", text, got)
	}
	return nil
}

func mustAsk(tb testing.TB, conn net.Conn) {
	tb.Helper()
	if err := ask(conn, "anybody there?", 20*time.Second); err != nil {
		tb.Fatal(err)
	}
}

func mustBeSilent(tb testing.TB, conn net.Conn) {
	tb.Helper()
	if err := ask(conn, "anybody there?", 300*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Fatalf("want silence, got %v", err)
	}
}
