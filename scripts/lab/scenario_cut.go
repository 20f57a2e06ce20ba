package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/scripts/lab/network"
)

// quickLease is the lease of quickTimers.
const quickLease = 300 * time.Millisecond

const (
	// readLength is how long the side that is cut off is read.
	readLength = 4 * quickLease
	// readPause is between two reads of one reader.
	readPause = 2 * time.Millisecond
	// timeKeeping is what our own measurement of an end may be off by: a request is asked before it is answered.
	timeKeeping = 30 * time.Millisecond
)

// cutRound cuts a minority with the leader off while it is read.
type cutRound struct {
	*rounds
	token string
	cutAt time.Time
	side  []*node

	mu      sync.Mutex
	answers map[*node][]answerAt
}

type answerAt struct {
	began  time.Time
	status int
}

// cutLeader is one round.
func cutLeader(ctx context.Context, r *rounds) error {
	leader := r.cluster.leader()
	if leader == nil {
		return errors.New("nobody leads")
	}
	c := &cutRound{rounds: r, side: []*node{leader}, answers: map[*node][]answerAt{}}
	rest := r.cluster.others(leader)
	if r.done%2 == 1 {
		c.side = append(c.side, rest[0])
		rest = rest[1:]
	}
	stop, err := r.keepReading(ctx, r.cluster.nodes)
	if err != nil {
		return err
	}
	defer stop()
	tokens, err := r.issueSome(ctx, rest[0], 1)
	if err != nil {
		return err
	}
	c.token = tokens[0]
	pause(ctx, quickLease) // everybody holds a lease
	var names []string
	for _, n := range c.side {
		names = append(names, n.name)
	}
	heal := r.cluster.weather.add(apart(names, r.cluster.hostNames()))
	defer heal()
	c.cutAt = time.Now()
	var work errgroup.Group
	var ended time.Time
	work.Go(func() error {
		err := r.cluster.admin.invalidate(ctx, rest[len(rest)-1].url(), c.token)
		ended = time.Now()
		return err
	})
	for _, n := range c.side {
		work.Go(func() error { c.read(ctx, n); return nil })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	r.figure("the invalidation is acknowledged, since the cut", ended.Sub(c.cutAt))
	for _, n := range c.side {
		c.judge(n, ended)
	}
	heal()
	return r.cluster.awaitReady(ctx, recoveryBound)
}

// read asks a node that is cut off for the token, again and again.
func (c *cutRound) read(ctx context.Context, n *node) {
	var asking errgroup.Group
	for time.Since(c.cutAt) < readLength && pause(ctx, readPause) {
		asking.Go(func() error {
			began := time.Now()
			status, _ := c.cluster.admin.authenticate(ctx, n.url(), c.token) // no answer is one, too
			c.mu.Lock()
			defer c.mu.Unlock()
			c.answers[n] = append(c.answers[n], answerAt{began, status})
			return nil
		})
	}
	_ = asking.Wait() // none fails
}

// judge looks at what a node answered while it was cut off.
func (c *cutRound) judge(n *node, acknowledged time.Time) {
	var last time.Duration
	unavailable := false
	for _, a := range c.answers[n] {
		switch a.status {
		case http.StatusOK:
			last = max(last, a.began.Sub(c.cutAt))
			if a.began.After(acknowledged) {
				c.count("stale answers")
				c.journal.violate("%s, cut off, called a token valid that it was asked about after its invalidation was acknowledged", n.name)
			}
		case http.StatusServiceUnavailable:
			unavailable = true
		}
	}
	c.figure("the last question that was answered \"valid\", since the cut", last)
	if last > quickLease+timeKeeping {
		c.journal.violate("%s, cut off, said \"valid\" %v after the cut; its lease is %v", n.name, last, quickLease)
	}
	if !unavailable {
		c.journal.violate("%s, cut off, never said 503", n.name)
	}
}

// slowClock cuts off a follower whose clock runs at half its rate. It believes in its lease for longer than the
// leader counts.
func (r *rounds) slowClock(ctx context.Context) error {
	leader := r.cluster.leader()
	if leader == nil {
		return errors.New("nobody leads")
	}
	victim := r.cluster.others(leader)[r.rand.IntN(len(r.cluster.nodes)-1)]
	stop, err := r.keepReading(ctx, r.cluster.nodes)
	if err != nil {
		return err
	}
	defer stop()
	tokens, err := r.issueSome(ctx, leader, 1)
	if err != nil {
		return err
	}
	victim.clock.Rate(0.5)
	defer victim.clock.Mend()
	pause(ctx, 2*quickLease)
	heal := r.cluster.weather.add(between(victim.name, r.cluster.peersOf(victim), network.Link{Cut: true}, network.Link{Cut: true}))
	defer heal()
	if err := r.endAll(ctx, leader, tokens); err != nil {
		return err
	}
	acknowledged := time.Now()
	for time.Since(acknowledged) < 2*quickLease {
		began := time.Now()
		status, _ := r.cluster.admin.authenticate(ctx, victim.url(), tokens[0])
		r.count("answers of the slow node")
		if status == http.StatusOK {
			r.count("stale answers of the slow node, outside of the promises")
			r.figure("stale after the acknowledgement, outside of the promises", began.Sub(acknowledged))
		}
	}
	heal()
	victim.clock.Mend()
	return r.cluster.awaitReady(ctx, recoveryBound)
}
