package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// fakeMember records what the server command asks of a node.
type fakeMember struct {
	ends      chan error // what Wait returns
	reloaded  chan struct{}
	shutdown  func(ctx context.Context) error
	abandoned bool
	reloadErr error
}

func newFakeMember() *fakeMember {
	return &fakeMember{
		ends: make(chan error, 1), reloaded: make(chan struct{}),
		shutdown: func(ctx context.Context) error { return ctx.Err() },
	}
}

func (m *fakeMember) Wait() error                        { return <-m.ends }
func (m *fakeMember) Shutdown(ctx context.Context) error { return m.shutdown(ctx) }
func (m *fakeMember) Abandon()                           { m.abandoned = true }
func (m *fakeMember) ReloadCertificates() error          { m.reloaded <- struct{}{}; return m.reloadErr }

func TestFirstSignalShutsDownGracefully(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := serveMember(ctx, newFakeMember(), nil, nil, hclog.NewNullLogger()); err != nil {
		t.Errorf("got %v; a shutdown must not be cut short by what started it", err)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hurry := make(chan struct{})
	m := newFakeMember()
	stuck := make(chan struct{})
	defer close(stuck)
	m.shutdown = func(context.Context) error {
		close(hurry)
		<-stuck
		return nil
	}
	err := serveMember(ctx, m, nil, hurry, hclog.NewNullLogger())
	if exit, ok := errors.AsType[*exitError](err); !ok || exit.code != exitInterrupted || exit.cause != nil {
		t.Errorf("got %v, want exit code %d and no message", err, exitInterrupted)
	}
}

func TestNodeThatEndsByItselfIsAnError(t *testing.T) {
	m := newFakeMember()
	broken := errors.New("the disk is full")
	m.ends <- broken
	err := serveMember(t.Context(), m, nil, nil, hclog.NewNullLogger())
	if !errors.Is(err, broken) || !m.abandoned {
		t.Errorf("got %v, ports and connections given up: %t", err, m.abandoned)
	}
}

func TestHangupReloadsCertificatesAndServesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := newFakeMember()
	m.reloadErr = errors.New("no such file")
	hangups := make(chan os.Signal)
	done := make(chan error)
	go func() { done <- serveMember(ctx, m, hangups, nil, hclog.NewNullLogger()) }()
	for range 2 {
		hangups <- syscall.SIGHUP
		<-m.reloaded
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSystemdIsNotified(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	notifier([]string{"NOTIFY_SOCKET=" + path}, hclog.NewNullLogger())(t.Context(), "READY=1")
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	if err != nil || string(buffer[:n]) != "READY=1" {
		t.Errorf("got %q, %v", buffer[:n], err)
	}
}

// A node that reads gigabytes, or asks others, could not be interrupted before it was open.
func TestSecondSignalEndsAStartAtOnce(t *testing.T) {
	hurry, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	close(hurry)
	_, err := unlessHurried(hurry, func() (int, error) { <-release; return 0, nil })
	if exit, ok := errors.AsType[*exitError](err); !ok || exit.code != exitInterrupted {
		t.Error(err)
	}
	broken := errors.New("broken")
	if got, err := unlessHurried(nil, func() (int, error) { return 7, broken }); got != 7 || !errors.Is(err, broken) {
		t.Errorf("%d, %v", got, err)
	}
}
