package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/node/store"
	"jeton/scripts/lab/network"
)

// voteTraps are those of elections.
func voteTraps() []trap {
	return []trap{{
		name:     "half-a-vote",
		what:     "a node is killed while it votes; then a member that lacks the last entry is told to stand for election in that term, by a message that was long under way",
		catches:  []string{"vote-in-two-writes"},
		settings: map[string]string{"read.mode": "quorum"}, slow: true, spring: halfVote,
	}}
}

const (
	// votingSync is how long a sync takes while the voter is killed: a transaction has two.
	votingSync = 400 * time.Millisecond
	// brieflyLate is how late the question is that goes before a handover: so late that there is time, while it is under
	// way, to make the handover later still.
	brieflyLate = 400 * time.Millisecond
	// underWay is how long the handover takes that follows it. After 14 s of silence a connection is taken for dead.
	underWay = 9 * time.Second
)

// halfVote is about hashicorp/raft #661. The vote of a term is stored in two steps; who is killed in between has voted in
// the new term, so it believes, for the candidate that it voted for before. That candidate must then stand in that very
// term, without the entries that were committed meanwhile, and get past the vote before the vote: by a handover of the
// leadership, the message of which is late.
func halfVote(ctx context.Context, s *stage) error {
	voter, former, leader := s.nodes[0], s.nodes[1], s.nodes[2]
	if err := s.votedForFormer(ctx, voter, former, leader); err != nil {
		return err
	}
	term := leader.leads.Load() + 1 // of the election to come
	arrived, err := s.handOverLate(ctx, leader, former)
	if err != nil {
		return err
	}
	defer arrived()
	sent := time.Now()
	acknowledged, err := s.writeAtLast(ctx, leader)
	if err != nil {
		return err
	}
	release, err := s.killWhileVoting(ctx, voter, leader, term)
	if err != nil {
		return err
	}
	defer release()
	pause(ctx, time.Until(sent.Add(underWay+time.Second)))
	if got := s.termOnDisk(former); got < term {
		return fmt.Errorf("%s is in term %d, and has not stood for election in %d", former.name, got, term)
	}
	arrived()
	release()
	if err := s.awaitReady(ctx, startPatience); err != nil {
		return err
	}
	s.mustLive(ctx, s.nodes, acknowledged.Access)
	return nil
}

// votedForFormer makes one node the leader after another, and has the voter sleep through the second election.
func (s *stage) votedForFormer(ctx context.Context, voter, former, leader *node) error {
	// The one must not stand by itself, nor agree that another stands, while it hears nothing. The other must not use its
	// connection to the first for a heartbeat just when it hands over.
	former.restart(ctx, "JETON_RAFT_HEARTBEAT_TIMEOUT=1m", "JETON_RAFT_ELECTION_TIMEOUT=1m")
	leader.restart(ctx, "JETON_RAFT_HEARTBEAT_TIMEOUT=10s", "JETON_RAFT_ELECTION_TIMEOUT=10s")
	for _, n := range []*node{former, leader} {
		if err := s.await(ctx, n.name+" is down", func() bool { return !n.ready.Load() }); err != nil {
			return err
		}
	}
	if err := s.awaitReady(ctx, startPatience); err != nil {
		return err
	}
	if err := s.makeLeader(ctx, former); err != nil {
		return err
	}
	pause(ctx, time.Second) // whoever is to lead next must have all entries
	release := voter.kill(ctx)
	defer release()
	if err := s.makeLeader(ctx, leader); err != nil {
		return err
	}
	release()
	if err := s.await(ctx, voter.name+" is down", func() bool { return !voter.ready.Load() }); err != nil {
		return err
	}
	return s.awaitReady(ctx, startPatience)
}

// makeLeader hands the leadership to a node.
func (s *stage) makeLeader(ctx context.Context, n *node) error {
	id, err := n.serverID()
	if err != nil {
		return err
	}
	var refused error
	err = s.await(ctx, n.name+" leads", func() bool {
		if s.leader() != n {
			refused = s.jeton(ctx, nil, "operator", "raft", "transfer-leader", id, "--config", n.config())
		}
		return s.leader() == n
	})
	if err != nil {
		return errors.Join(err, refused)
	}
	return nil
}

// handOverLate has the leadership handed to a member by a message that arrives in underWay, like all that the leader sends
// it until arrived is called.
func (s *stage) handOverLate(ctx context.Context, leader, to *node) (arrived func(), err error) {
	id, err := to.serverID()
	if err != nil {
		return nil, err
	}
	late := func(by time.Duration) func() {
		return s.weather.add(between(leader.name, []string{to.name}, network.Link{Delay: by}, network.Link{}))
	}
	// With connections that exist already, the question is one packet, and so is the handover: the leader has sent
	// heartbeats for a while.
	pause(ctx, 3*time.Second)
	if _, err := s.peers(ctx, to); err != nil {
		return nil, err
	}
	briefly := late(brieflyLate)
	defer briefly()
	var handing errgroup.Group
	handing.Go(func() error { // the leader gives up before long
		return s.jeton(ctx, nil, "operator", "raft", "transfer-leader", id, "--config", leader.config())
	})
	pause(ctx, brieflyLate*3/4)
	arrived = late(underWay)
	if err := handing.Wait(); err == nil {
		arrived()
		return nil, errors.New("the leadership was handed over at once")
	}
	return arrived, nil
}

// writeAtLast has something acknowledged as soon as the leader takes writes again.
func (s *stage) writeAtLast(ctx context.Context, leader *node) (acknowledged pair, err error) {
	var refused error
	err = s.await(ctx, leader.name+" writes again", func() bool {
		acknowledged, refused = s.admin.issue(ctx, leader.url())
		return refused == nil
	})
	if err != nil {
		return pair{}, errors.Join(err, refused)
	}
	return acknowledged, nil
}

// killWhileVoting slows the voter's disk, so that its vote takes some time, kills the leader, so that there is an
// election, and the voter amidst that.
func (s *stage) killWhileVoting(ctx context.Context, voter, leader *node, term uint64) (release func(), err error) {
	voter.disk.Slow(0, votingSync)
	defer voter.disk.Slow(0, 0)
	leader.kill(ctx)() // it comes back, and may stand for election
	if err := s.await(ctx, fmt.Sprintf("%s is in term %d", voter.name, term), func() bool { return s.termOnDisk(voter) >= term }); err != nil {
		return nil, err
	}
	// One sync until that is done, and two for each part of the vote.
	pause(ctx, 3*votingSync)
	back := voter.kill(ctx)
	release = leader.kill(ctx)
	if !voter.end(ctx, syscall.SIGKILL, killPatience) {
		return release, fmt.Errorf("%s cannot be killed", voter.name)
	}
	back()
	if got := s.termOnDisk(voter); got != term {
		return release, fmt.Errorf("%s is in term %d, not %d", voter.name, got, term)
	}
	return release, nil
}

// termOnDisk is the term that a node has stored; zero: it cannot be read.
func (s *stage) termOnDisk(n *node) uint64 {
	content, err := n.disk.Read("data/raft.db")
	if err != nil {
		return 0
	}
	values, err := store.Verify("the log of "+n.name, bytes.NewReader(content), int64(len(content)), nil)
	if err != nil || len(values["CurrentTerm"]) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(values["CurrentTerm"])
}
