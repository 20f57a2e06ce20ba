package main

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A node that others killed just before it was to be restarted is still reported:
// its end was once taken for ours while the process had not been reaped.
func TestTheEndOfAChildIsNewsUnlessItIsOurs(t *testing.T) {
	start := func(script string) *child {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c := &child{pid: cmd.Process.Pid, done: make(chan struct{}), signal: cmd.Process.Signal}
		go func() {
			c.err = cmd.Wait()
			close(c.done)
		}()
		return c
	}
	for _, c := range []struct {
		name, script string
		act          func(c *child)
		news         bool
	}{
		{"it ended by itself", "exit 3", func(c *child) { <-c.done }, true},
		{"it was asked and ended", "exec sleep 60", func(c *child) { _ = c.end(time.Minute, nil) }, false},
		{"it had to be killed", "trap '' TERM; while :; do sleep 0.01; done", func(c *child) {
			closed := make(chan struct{})
			close(closed)
			_ = c.end(time.Minute, closed)
		}, false},
		{"others killed it before it was asked", "exec sleep 60", func(c *child) {
			c.ending.Store(true) // the order in which it happens when it was not reaped yet
			_ = c.signal(syscall.SIGKILL)
			<-c.done
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			process := start(c.script)
			c.act(process)
			if got := process.news(); got != c.news {
				t.Errorf("news %t (%v), want %t", got, process.err, c.news)
			}
		})
	}
}
