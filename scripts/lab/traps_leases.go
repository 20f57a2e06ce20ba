package main

import (
	"context"
	"time"

	"jeton/scripts/lab/network"
)

// cutLink lets nothing through.
func cutLink() network.Link { return network.Link{Cut: true} }

// leaseTraps are those of read leases. Leases are longer than usual where an election has to fit in.
func leaseTraps() []trap {
	long := map[string]string{"read.lease": "5s", "request.timeout": "15s"}
	return []trap{
		{
			name: "cut-off-holder", what: "a follower with a read lease is cut off from the other nodes and goes on being asked, while its token is invalidated",
			catches: []string{"ack-before-append", "no-clock-check"},
			spring:  func(ctx context.Context, s *stage) error { return s.cutOffHolder(ctx, func(*node) {}, time.Second) },
		},
		{
			name: "long-lease", what: "a follower with a read lease that lasts longer than one attempt of an invalidation is cut off from the other nodes and goes on being asked, while its token is invalidated",
			catches:  []string{"repeat-without-coverage"},
			settings: long, spring: func(ctx context.Context, s *stage) error { return s.cutOffHolder(ctx, func(*node) {}, 3*time.Second) },
		},
		{
			name: "holder-set-back", what: "a follower with a read lease is cut off from the other nodes, its wall clock is set back, and it goes on being asked, while its token is invalidated",
			catches: []string{"lease-by-wall-clock"},
			spring: func(ctx context.Context, s *stage) error {
				return s.cutOffHolder(ctx, func(n *node) { n.clock.Jump(-time.Minute) }, time.Second)
			},
		},
		{
			name: "deposed-leader", what: "a leader with a long read lease is cut off from the other nodes and goes on being asked, while its successor invalidates the token",
			catches:  []string{"lease-in-memory", "no-inheritance"},
			settings: long, slow: true, spring: deposedLeader,
		},
	}
}

// cutOffHolder cuts a follower with a lease off and invalidates what it accepts.
func (s *stage) cutOffHolder(ctx context.Context, also func(*node), length time.Duration) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	followers := s.others(leader)
	holder := followers[s.rand.IntN(len(followers))]
	p, err := s.admin.issue(ctx, leader.url())
	if err != nil {
		return err
	}
	if err := s.warm(ctx, holder, p.Access); err != nil {
		return err
	}
	defer s.weather.add(between(holder.name, s.peersOf(holder), cutLink(), cutLink()))()
	also(holder)
	defer holder.clock.Mend()
	if err := s.patient.invalidate(ctx, leader.url(), p.Access); err != nil {
		return err
	}
	s.staysDead(ctx, holder, p.Access, length)
	return nil
}

// deposedLeader cuts the leader off, and asks it what its successor has invalidated.
func deposedLeader(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
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
	defer s.weather.add(between(leader.name, s.peersOf(leader), cutLink(), cutLink()))()
	next, err := s.theLeader(ctx, leader)
	if err != nil {
		return err
	}
	if err := s.patient.invalidate(ctx, next.url(), p.Access); err != nil {
		return err
	}
	s.staysDead(ctx, leader, p.Access, 3*time.Second)
	return nil
}
