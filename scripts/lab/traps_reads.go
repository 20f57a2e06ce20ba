package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/scripts/lab/network"
)

// readTraps are those of reads, without leases or without faults.
func readTraps() []trap {
	const mode = "read.mode"
	return []trap{
		{
			name: "asked-at-once", what: "a token is asked about everywhere as soon as it is issued, and as soon as it is invalidated; nodes hold read leases",
			catches:  []string{"no-pending-overlay", "unknown-unasked"},
			settings: map[string]string{mode: "lease"}, spring: askAtOnce,
		},
		{
			name: "asked-at-once-by-quorum", what: "a token is asked about everywhere as soon as it is issued, and as soon as it is invalidated; there are no read leases",
			catches:  []string{"cached-proof", "no-catch-up"},
			settings: map[string]string{mode: "quorum"}, spring: askAtOnce,
		},
		{
			name: "burst", what: "a refresh token is shown at all nodes, several times at each, at once",
			catches: []string{"refresh-twice"},
			spring:  burst,
		},
		{
			name:     "late-answers",
			what:     "the leader, which is slow to notice that it is deposed, gets the answers to what it sent before that while it is asked; there are no read leases",
			catches:  []string{"reads-by-verifyleader"},
			settings: map[string]string{mode: "quorum"}, slow: true, spring: lateAnswers,
		},
	}
}

// askAtOnce issues at one node, invalidates at another, and asks all.
func askAtOnce(ctx context.Context, s *stage) error {
	const tokens = 60
	for i := range tokens {
		issuer, ender := s.nodes[i%len(s.nodes)], s.nodes[s.rand.IntN(len(s.nodes))]
		p, err := s.admin.issue(ctx, issuer.url())
		if err != nil {
			return err
		}
		s.mustLive(ctx, s.nodes, p.Access)
		if err := s.admin.invalidate(ctx, ender.url(), p.Access); err != nil {
			return err
		}
		s.mustBeDead(ctx, s.nodes, p.Access)
	}
	return nil
}

// burst shows one refresh token many times at once: all get the same successor.
func burst(ctx context.Context, s *stage) error {
	const bursts, times = 5, 3
	for i := range bursts {
		p, err := s.login(ctx, s.nodes[i%len(s.nodes)])
		if err != nil {
			return err
		}
		successors := make([]pair, times*len(s.nodes))
		var showing errgroup.Group
		for i := range successors {
			showing.Go(func() (err error) {
				successors[i], err = s.refresh(ctx, s.nodes[i%len(s.nodes)], p.Refresh)
				return err
			})
		}
		if err := showing.Wait(); err != nil {
			return err
		}
		for _, successor := range successors[1:] {
			if successor != successors[0] {
				s.journal.violate("one refresh token has two successors")
			}
		}
	}
	return nil
}

// lateAnswers deposes a leader that does not notice, and has it asked while answers arrive which were given before.
func lateAnswers(ctx context.Context, s *stage) error {
	const late = 4 * time.Second // less than a request to a peer may take
	leader, err := s.sleepyLeader(ctx)
	if err != nil {
		return err
	}
	p, err := s.admin.issue(ctx, leader.url())
	if err != nil {
		return err
	}
	if err := s.warm(ctx, leader, p.Access); err != nil {
		return err
	}
	began := time.Now()
	defer s.weather.add(between(leader.name, s.peersOf(leader), network.Link{}, network.Link{Delay: late}))()
	pause(ctx, 300*time.Millisecond) // it goes on sending, and being answered
	defer s.weather.add(between(leader.name, s.peersOf(leader), network.Link{Cut: true}, network.Link{}))()
	next, err := s.theLeader(ctx, leader)
	if err != nil {
		return err
	}
	if err := s.patient.invalidate(ctx, next.url(), p.Access); err != nil {
		return err
	}
	s.journal.note(leader.name, "asked from %v after the cut on", time.Since(began))
	s.staysDead(ctx, leader, p.Access, time.Until(began.Add(late+time.Second)))
	return nil
}

// sleepyLeader makes a node the leader that notices only after a minute that nobody hears it.
func (s *stage) sleepyLeader(ctx context.Context) (*node, error) {
	first := s.nodes[0]
	first.restart(ctx, "JETON_RAFT_HEARTBEAT_TIMEOUT=1m", "JETON_RAFT_ELECTION_TIMEOUT=1m")
	if err := s.awaitReady(ctx, startPatience); err != nil {
		return nil, err
	}
	return first, s.makeLeader(ctx, first)
}
