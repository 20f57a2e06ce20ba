package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// helper makes the test program another program: one of helpers.
	helper = "JETON_LAB_TEST_HELPER"

	// forbidden holds the reason where there is no network to test with.
	forbidden = "JETON_LAB_TEST_FORBIDDEN"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(helper); name != "" {
		os.Exit(map[string]func() int{"addresses": printAddresses, "sleep": sleep, "laboratory": laboratory}[name]())
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

// printAddresses prints the addresses of the namespace that the program is in.
func printAddresses() int {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			fmt.Println(prefix)
		}
	}
	return 0
}

// sleep says so and sleeps until it is killed.
func sleep() int {
	fmt.Println("sleeping")
	select {}
}

// laboratory has a host with a process that sleeps, and ends with exit code 7 when it is told to end.
func laboratory() int {
	told := make(chan os.Signal, 2)
	signal.Notify(told, syscall.SIGTERM)
	err := Enter()
	if errors.Is(err, ErrForbidden) {
		fmt.Println(err)
		return 3
	}
	n, err := New(1)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	host, err := n.AddHost("one")
	if err == nil {
		err = host.Start(program("sleep", os.Stdout))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-told
	tick := time.NewTimer(100 * time.Millisecond)
	select {
	case <-told:
		fmt.Println("told twice")
		return 1
	case <-tick.C:
		return 7
	}
}

// program is this program as one of the helpers.
func program(name string, out io.Writer) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helper+"="+name)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return cmd
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
