package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// someTokens are ended in one round, and asked about so many times each.
	someTokens, askedTimes = 4, 4
	// wakeDelay lets questions arrive at a process that is paused.
	wakeDelay = 20 * time.Millisecond
	// wakeLength is how long a process that has been woken is asked.
	wakeLength = 100 * time.Millisecond
)

// scenarios are what `lab rounds` can do, beside faults.
func scenarios() []scenario {
	return append([]scenario{
		{
			name: "paused-leader", what: "pause the leader, end tokens through the new one, ask the old one as it wakes",
			settings: quickTimers(), round: func(ctx context.Context, r *rounds) error {
				return r.paused(ctx, func() *node { return r.cluster.leader() })
			},
		},
		{
			name: "paused-follower", what: "pause a follower that holds a read lease, end tokens, ask it as it wakes",
			settings: quickTimers(), round: func(ctx context.Context, r *rounds) error {
				return r.paused(ctx, func() *node {
					others := r.cluster.others(r.cluster.leader())
					return others[r.rand.IntN(len(others))]
				})
			},
		},
		{
			name: "cut-leader", what: "cut the leader off, alone or with a follower, read at it throughout, end tokens through the new one",
			nodes: 5, settings: quickTimers(), round: cutLeader,
		},
		{
			name: "kill-leader", what: "kill -9 of the leader under load: when do writes come back", rate: killRate,
			aims: killAims(), round: func(ctx context.Context, r *rounds) error { return r.kill(ctx, r.cluster.leader()) },
		},
		{
			name: "kill-follower", what: "the same of a follower", rate: killRate,
			aims: killAims(), round: func(ctx context.Context, r *rounds) error {
				others := r.cluster.others(r.cluster.leader())
				return r.kill(ctx, others[r.rand.IntN(len(others))])
			},
		},
		{
			name: "kill-all", what: "kill -9 of all nodes at once under load: is everything there that was acknowledged", rate: killRate,
			round: func(ctx context.Context, r *rounds) error { return r.killAll(ctx) },
		},
		{
			name: "dead-holder", what: "how long an invalidation takes, with all nodes up and right after one has died",
			aims: []aim{{stallFigure, 1, 1200 * time.Millisecond}}, round: func(ctx context.Context, r *rounds) error { return r.deadHolder(ctx) },
		},
		{
			name: "slow-clock", what: "outside of the promises: a node's boot-time clock runs at half its rate; stale answers are counted, and are no violation",
			settings: quickTimers(), round: func(ctx context.Context, r *rounds) error { return r.slowClock(ctx) },
		},
	}, append(rotScenarios(), powerLossScenario(), recoveryScenario(), authorityScenario())...)
}

// paused pauses somebody, ends tokens elsewhere, and asks as it wakes.
func (r *rounds) paused(ctx context.Context, choose func() *node) error {
	victim := choose()
	if victim == nil {
		return errors.New("nobody leads")
	}
	others := r.cluster.others(victim)
	stop, err := r.keepReading(ctx, r.cluster.nodes)
	if err != nil {
		return err
	}
	defer stop()
	tokens, err := r.issueSome(ctx, others[0], someTokens)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if status, err := r.cluster.admin.authenticate(ctx, victim.url(), token); status != http.StatusOK {
			return fmt.Errorf("%s does not know what was just issued: %d: %w", victim.name, status, err)
		}
	}
	victim.signal(syscall.SIGSTOP)
	defer victim.signal(syscall.SIGCONT)
	began := time.Now()
	if err := r.endAll(ctx, others[r.rand.IntN(len(others))], tokens); err != nil {
		return err
	}
	r.figure("invalidations acknowledged, since the pause", time.Since(began))
	var q questions
	for range askedTimes {
		q.ask(ctx, r.cluster.admin, victim.url(), tokens)
	}
	pause(ctx, wakeDelay)
	victim.signal(syscall.SIGCONT)
	for woken := time.Now(); time.Since(woken) < wakeLength; pause(ctx, wakeDelay/4) {
		q.ask(ctx, r.cluster.admin, victim.url(), tokens)
	}
	q.mustBeDead(r, victim)
	return r.cluster.awaitReady(ctx, recoveryBound)
}

// endAll invalidates tokens, at the same time.
func (r *rounds) endAll(ctx context.Context, through *node, tokens []string) error {
	var ending errgroup.Group
	for _, token := range tokens {
		ending.Go(func() error { return r.cluster.admin.invalidate(ctx, through.url(), token) })
	}
	return ending.Wait()
}

const killRate = 200

const (
	backFigure  = "writes are back at every node that is left"
	firstFigure = "the first write is back"
)

func killAims() []aim {
	return []aim{{backFigure, 0.99, 3 * time.Second}, {backFigure, 0.5, time.Second}}
}

// kill kills a node and measures how long writes take at the others.
func (r *rounds) kill(ctx context.Context, victim *node) error {
	if victim == nil {
		return errors.New("nobody leads")
	}
	began := time.Now()
	release := victim.kill(ctx)
	var mu sync.Mutex
	var first, last time.Duration
	var writing errgroup.Group
	for _, n := range r.cluster.others(victim) {
		writing.Go(func() error {
			for time.Since(began) < recoveryBound {
				if _, err := r.cluster.admin.issue(ctx, n.url()); err == nil {
					mu.Lock()
					defer mu.Unlock()
					last = max(last, time.Since(began))
					if first == 0 || time.Since(began) < first {
						first = time.Since(began)
					}
					return nil
				}
				pause(ctx, lookInterval)
			}
			return fmt.Errorf("no write at %s within %v", n.name, recoveryBound)
		})
	}
	err := writing.Wait()
	release()
	if err != nil {
		return err
	}
	r.figure(firstFigure, first)
	r.figure(backFigure, last)
	took, err := r.cluster.recover(ctx)
	r.figure("the killed node is ready again, since its start", took)
	return err
}

// killAll kills everybody while tokens are issued, and asks everybody about those that were acknowledged.
func (r *rounds) killAll(ctx context.Context) error {
	issuing, stop := context.WithCancel(ctx)
	issued := r.cluster.keepIssuing(issuing, 0)
	pause(ctx, 100*time.Millisecond+time.Duration(r.rand.IntN(200))*time.Millisecond)
	releases := r.cluster.killEach(ctx, r.cluster.nodes)
	stop()
	acknowledged := issued()
	for _, release := range releases {
		release()
	}
	took, err := r.cluster.recover(ctx)
	if err != nil {
		return err
	}
	r.figure("everybody is ready again, since the start", took)
	r.mu.Lock()
	r.counts["tokens acknowledged right before"] += len(acknowledged)
	r.mu.Unlock()
	var asking errgroup.Group
	for _, n := range r.cluster.nodes {
		asking.Go(func() error { return r.mustKnow(ctx, n, acknowledged) })
	}
	return asking.Wait()
}

// keepIssuing issues tokens at every node, with a pause between two tries, until ctx ends. The function it returns waits
// for that, and returns those that were acknowledged.
func (c *cluster) keepIssuing(ctx context.Context, between time.Duration) (acknowledged func() []string) {
	var mu sync.Mutex
	var tokens []string
	var writers sync.WaitGroup
	for _, n := range c.nodes {
		writers.Go(func() {
			for pause(ctx, between) {
				if p, err := c.admin.issue(ctx, n.url()); err == nil {
					mu.Lock()
					tokens = append(tokens, p.Access)
					mu.Unlock()
				}
			}
		})
	}
	return func() []string {
		writers.Wait()
		return tokens
	}
}

// mustKnow asks a node that is well about tokens that were acknowledged.
func (r *rounds) mustKnow(ctx context.Context, n *node, tokens []string) error {
	for _, token := range tokens {
		status, err := r.cluster.admin.authenticate(ctx, n.url(), token)
		if err != nil || status == http.StatusServiceUnavailable {
			return fmt.Errorf("%s is ready and does not answer: %d: %w", n.name, status, err)
		}
		if status != http.StatusOK {
			r.journal.violate("%s answers %d about a token whose issue was acknowledged before the fault", n.name, status)
		}
	}
	return nil
}

const stallFigure = "the first invalidation after a node died"

// deadHolder measures invalidations.
func (r *rounds) deadHolder(ctx context.Context) error {
	const whileUp = 20
	stop, err := r.keepReading(ctx, r.cluster.nodes)
	if err != nil {
		return err
	}
	defer stop()
	leader := r.cluster.leader()
	if leader == nil {
		return errors.New("nobody leads")
	}
	tokens, err := r.issueSome(ctx, leader, whileUp+2)
	if err != nil {
		return err
	}
	pause(ctx, 300*time.Millisecond) // more than the fourth of a lease: everybody holds one
	timed := func(figure, token string) error {
		began := time.Now()
		err := r.cluster.admin.invalidate(ctx, leader.url(), token)
		r.figure(figure, time.Since(began))
		return err
	}
	for _, token := range tokens[:whileUp] {
		if err := timed("an invalidation, all nodes up", token); err != nil {
			return err
		}
	}
	victim := r.cluster.others(leader)[r.rand.IntN(len(r.cluster.nodes)-1)]
	release := victim.kill(ctx)
	defer release()
	if err := timed(stallFigure, tokens[whileUp]); err != nil {
		return err
	}
	if err := timed("the one after it", tokens[whileUp+1]); err != nil {
		return err
	}
	release()
	_, err = r.cluster.recover(ctx)
	return err
}
