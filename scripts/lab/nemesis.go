package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// pairShare is how often two faults are made together.
	pairShare = 0.5
	// Faults last between these.
	leastFault, mostFault = 200 * time.Millisecond, 3200 * time.Millisecond
	// recoveryBound is how long the cluster may take, after the last fault was undone, until every node is ready and writes.
	recoveryBound = 60 * time.Second
	// calm is how long at most nothing happens then.
	calm = 800 * time.Millisecond
)

// nemesis makes faults by chance from a seed: one or two, a pause in which everything must recover, and so on.
type nemesis struct {
	cluster *cluster
	table   []fault
	rand    *rand.Rand

	made       map[string]int
	recoveries map[string][]time.Duration
}

func newNemesis(c *cluster, table []fault, seed uint64) *nemesis {
	return &nemesis{
		cluster: c, table: table, rand: rand.New(rand.NewPCG(seed, 0x6e656d)), //nolint:gosec // a seed repeats a run
		made: map[string]int{}, recoveries: map[string][]time.Duration{},
	}
}

// run makes faults until the time is over. It returns an error if the cluster does not recover: then nothing that
// follows would mean anything.
func (m *nemesis) run(ctx context.Context, until time.Time) error {
	for time.Now().Before(until) && pause(ctx, m.between(0, calm)) {
		if err := m.round(ctx, m.choose()); err != nil {
			return err
		}
	}
	return nil
}

func (m *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(m.rand.Int64N(int64(most-least)))
}

// choose draws one fault, or two that may meet. One of the members comes first, for it is made while all is well.
func (m *nemesis) choose() []fault {
	one := m.table[m.rand.IntN(len(m.table))]
	if m.rand.Float64() >= pairShare {
		return []fault{one}
	}
	other := m.table[m.rand.IntN(len(m.table))]
	switch {
	case other.name == one.name, one.kind != kindAny && one.kind == other.kind:
		return []fault{one}
	case other.kind == kindMembers:
		return []fault{other, one}
	default:
		return []fault{one, other}
	}
}

// round makes faults, undoes them, and waits until everything is well again.
func (m *nemesis) round(ctx context.Context, faults []fault) error {
	var undo []func()
	for i, f := range faults {
		if i > 0 && !pause(ctx, m.between(0, time.Second)) {
			break
		}
		undo = append(undo, m.make(ctx, f))
	}
	pause(ctx, m.between(leastFault, mostFault))
	m.rand.Shuffle(len(undo), func(i, j int) { undo[i], undo[j] = undo[j], undo[i] })
	var undoing errgroup.Group // together: one may wait for the end of the other
	for _, one := range undo {
		undoing.Go(func() error { one(); return nil })
	}
	_ = undoing.Wait() // none fails
	took, err := m.cluster.recover(ctx)
	m.cluster.journal.tellEnds()
	if err == nil && slices.ContainsFunc(faults, func(f fault) bool { return f.kind == kindMembers }) {
		err = m.cluster.awaitVoters(ctx)
	}
	if err != nil {
		return err
	}
	for _, f := range faults {
		m.recoveries[f.name] = append(m.recoveries[f.name], took)
	}
	return nil
}

// make makes one fault.
func (m *nemesis) make(ctx context.Context, f fault) (undo func()) {
	t := &trial{cluster: m.cluster, rand: rand.New(rand.NewPCG(m.rand.Uint64(), 0))} //nolint:gosec // a seed repeats a run
	m.made[f.name]++
	j := m.cluster.journal
	place := j.begin(&f)
	release := f.inject(ctx, t)
	name := ""
	if t.node != nil {
		name = t.node.name
	}
	j.describe(place, name, t.text)
	return func() {
		release(context.WithoutCancel(ctx)) // also of a run that was interrupted
		j.end(place)
	}
}

// awaitVoters waits until every node has a vote, and nobody else has one: a node that joined anew can serve before, but as
// long as it has no vote the others are fewer than they were.
func (c *cluster) awaitVoters(ctx context.Context) error {
	var seen string
	for began := time.Now(); time.Since(began) < recoveryBound && ctx.Err() == nil; pause(ctx, replacePoll) {
		peers, err := c.peers(ctx, c.nodes[0])
		seen = fmt.Sprint(peers, err)
		voters := 0
		for _, p := range peers {
			if p.Voter && p.Reachable {
				voters++
			}
		}
		if voters == len(c.nodes) && len(peers) == voters {
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the run was ended, nothing failed
	}
	c.journal.violate("after %v not every node has a vote: %s", recoveryBound, seen)
	return fmt.Errorf("%w: not every node has a vote", errViolation)
}

// recover waits until every node is ready and takes writes, and tells how long that took.
func (c *cluster) recover(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	err = c.awaitReady(ctx, recoveryBound)
	if ctx.Err() != nil {
		return 0, nil //nolint:nilerr // the run was ended, nothing failed
	}
	if err != nil {
		c.journal.violate("the cluster does not recover: %v", err)
		return 0, fmt.Errorf("%w: %w", errViolation, err)
	}
	var writing errgroup.Group
	for _, n := range c.nodes {
		writing.Go(func() error {
			_, err := c.admin.issue(ctx, n.url())
			return err
		})
	}
	for err := writing.Wait(); err != nil && ctx.Err() == nil; _, err = c.admin.issue(ctx, c.nodes[0].url()) {
		if time.Since(began) > recoveryBound {
			c.journal.violate("no write after %v: %v", recoveryBound, err)
			return 0, fmt.Errorf("%w: %w", errViolation, err)
		}
		pause(ctx, lookInterval)
	}
	return time.Since(began), nil
}
