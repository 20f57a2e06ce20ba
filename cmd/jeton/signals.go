package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// exitWithParent ends this process, without ado, when the other end of the
// pipe is closed, which the death of the process that holds it does.
func exitWithParent(descriptor int) {
	pipe := os.NewFile(uintptr(descriptor), "life")
	go func() {
		_, _ = io.Copy(io.Discard, pipe)
		os.Exit(exitFailed)
	}()
}

// sameSignal is how long after the first signal another is the same one: what
// sends to a process and to its group, as timeout(1) does, sends twice.
const sameSignal = 300 * time.Millisecond

// interruptible returns a context that the first ctrl-C or SIGTERM ends (or
// one of the further signals, or the end of `go run`, which passes none on),
// and a channel that the second closes.
func interruptible(ctx context.Context, further ...os.Signal) (_ context.Context, hurry <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	kill, released := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append(further, os.Interrupt, syscall.SIGTERM)...)
	go func() {
		defer cancel()
		select {
		case <-signals:
		case <-goRunEnded(released):
		case <-released:
			return
		}
		cancel()
		first := time.Now()
		for {
			select {
			case <-signals:
				if time.Since(first) > sameSignal {
					close(kill)
					return
				}
			case <-released:
				return
			}
		}
	}()
	return ctx, kill, func() {
		signal.Stop(signals)
		close(released)
	}
}

// goRunEnded returns a channel that is closed when this program was started by
// `go run` and that has ended; it watches until stop is closed.
func goRunEnded(stop <-chan struct{}) <-chan struct{} {
	binary, err := os.Executable()
	if err != nil || !byGoRun(binary) {
		return nil
	}
	ended, parent := make(chan struct{}), os.Getppid()
	go func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for os.Getppid() == parent {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
		close(ended)
	}()
	return ended
}
