package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// processFaults are those of processes: ended, paused, starved, told to hand over.
func processFaults() (rows []fault) {
	rows = append(rows, forEach(fault{name: "kill", what: "kill -9, started again later"}, func(ctx context.Context, _ *trial, n *node) func(context.Context) {
		return simply(n.kill(ctx))
	})...)
	rows = append(rows, forEach(fault{name: "end", what: "SIGTERM, started again later"}, func(ctx context.Context, t *trial, n *node) func(context.Context) {
		release := n.hold()
		if !n.end(ctx, syscall.SIGTERM, haltPatience) {
			t.text = "it did not end in time and was killed"
			n.end(ctx, syscall.SIGKILL, killPatience)
		}
		return simply(release)
	})...)
	rows = append(rows, forEach(fault{name: "pause", what: "SIGSTOP, then SIGCONT"}, func(_ context.Context, _ *trial, n *node) func(context.Context) {
		n.signal(syscall.SIGSTOP)
		return simply(func() { n.signal(syscall.SIGCONT) })
	})...)
	rows = append(rows, forEach(fault{name: "freeze", what: "its control group is frozen, then thawed", need: needsFreezer}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		return t.must(n.groups.freeze(), func() error { return n.groups.thaw() })
	})...)
	rows = append(rows, forEach(fault{name: "starve", what: "a twentieth of a core", need: needsQuota}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		return t.must(n.groups.starve(0.05), func() error { return n.groups.starve(0) })
	})...)
	return append(rows,
		fault{name: "kill-all", what: "kill -9 of all nodes at once", inject: killAll},
		fault{name: "pause-all", what: "SIGSTOP of all nodes, SIGCONT one after the other", inject: func(_ context.Context, t *trial) func(context.Context) {
			return t.stopAll(func(n *node) { n.signal(syscall.SIGSTOP) }, func(n *node) { n.signal(syscall.SIGCONT) })
		}},
		fault{name: "freeze-all", what: "the control groups of all nodes are frozen, and thawed one after the other", need: needsFreezer, inject: func(_ context.Context, t *trial) func(context.Context) {
			return t.stopAll(func(n *node) { t.trouble(n.groups.freeze()) }, func(n *node) { t.trouble(n.groups.thaw()) })
		}},
		fault{name: "collect", what: "a node with a garbage collector that never rests (GOGC=5, GOMEMLIMIT=24MiB)", inject: collect},
		fault{name: "transfer", what: "leadership is handed over", inject: transferOnce},
		fault{name: "transfer-storm", what: "leadership is handed over again and again", inject: transferStorm},
	)
}

// must reports a fault that could not be made: the laboratory's own failure.
func (t *trial) must(err error, undo func() error) func(context.Context) {
	t.trouble(err)
	return func(context.Context) { t.trouble(undo()) }
}

// trouble notes what went wrong in the laboratory itself.
func (c *cluster) trouble(err error) {
	if err != nil {
		c.journal.note("", "trouble: %v", err)
	}
}

func killAll(ctx context.Context, t *trial) func(context.Context) {
	releases := t.killEach(ctx, t.nodes)
	return simply(func() {
		for _, release := range releases {
			release()
		}
	})
}

// killEach kills nodes at once.
func (c *cluster) killEach(ctx context.Context, nodes []*node) []func() {
	releases := make([]func(), len(nodes))
	var killing errgroup.Group
	for i, n := range nodes {
		killing.Go(func() error {
			releases[i] = n.kill(ctx)
			return nil
		})
	}
	_ = killing.Wait() // none fails
	return releases
}

// stopAll stops every node, and has them go on one after the other.
func (t *trial) stopAll(stop, goOn func(*node)) (undo func(context.Context)) {
	for _, n := range t.nodes {
		stop(n)
	}
	order, apart := t.rand.Perm(len(t.nodes)), t.between(0, time.Second)
	return func(ctx context.Context) {
		for _, i := range order {
			goOn(t.nodes[i])
			pause(ctx, apart)
		}
	}
}

func collect(ctx context.Context, t *trial) func(context.Context) {
	n := t.anyone()
	n.restart(ctx, "GOGC=5", "GOMEMLIMIT=24MiB")
	return func(ctx context.Context) { n.restart(ctx) }
}

func transferOnce(ctx context.Context, t *trial) func(context.Context) {
	return meanwhile(ctx, func(ctx context.Context) { t.transfer(ctx) })
}

func transferStorm(ctx context.Context, t *trial) func(context.Context) {
	every := t.between(100*time.Millisecond, time.Second)
	t.text = fmt.Sprintf("every %v", every.Round(time.Millisecond))
	return meanwhile(ctx, func(ctx context.Context) {
		for ctx.Err() == nil {
			t.transfer(ctx)
			pause(ctx, every)
		}
	})
}

// transfer has the leader hand over. That it is refused, as during an election, is no failure.
func (c *cluster) transfer(ctx context.Context) {
	_ = c.jeton(ctx, nil, "operator", "raft", "transfer-leader", "--config", c.nodes[0].config())
}
