package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"jeton/scripts/lab/network"
)

// logTraps are those of the log, and of the state that comes of it.
func logTraps() []trap {
	return []trap{
		{
			name: "no-quorum", what: "a node that is cut off from the others is asked to invalidate the tokens of a user",
			catches:  []string{"invalidate-ignores-error"},
			settings: map[string]string{"request.timeout": "1s"}, spring: noQuorum,
		},
		{
			name: "wrong-clock", what: "the wall clock of a follower is an hour ahead while tokens are issued",
			catches: []string{"local-time"},
			spring:  wrongClock,
		},
		{
			name: "lost-answer", what: "the leader's answer to a refresh that a follower forwarded is lost, and the leader killed; refresh tokens yield once",
			catches:  []string{"no-operation-memory"},
			settings: map[string]string{"xpack.security.authc.token.refresh_window": "0s", "request.timeout": "15s"}, slow: true, spring: lostAnswer,
		},
		{
			name: "started-from-snapshot", what: "a node is killed and starts from its snapshot; then a refresh from before is repeated there",
			catches:  []string{"snapshot-without-memory"},
			settings: map[string]string{"raft.snapshot_threshold": "4kb", "raft.snapshot_interval": "1s"}, spring: startedFromSnapshot,
		},
		{
			name: "long-absence", what: "a follower is cut off for so long that it is sent a snapshot",
			catches:  []string{"restore-keeps-state"},
			settings: map[string]string{"raft.snapshot_threshold": "4kb", "raft.snapshot_interval": "1s", "raft.trailing_logs": "16"}, spring: longAbsence,
		},
	}
}

// noQuorum has a token invalidated where that is not possible.
func noQuorum(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	alone := s.others(leader)[0]
	p, err := s.admin.issue(ctx, leader.url())
	if err != nil {
		return err
	}
	if err := s.warm(ctx, alone, p.Access); err != nil {
		return err
	}
	defer s.weather.add(between(alone.name, s.peersOf(alone), cutLink(), cutLink()))()
	status, _, err := s.admin.do(ctx, http.MethodDelete, alone.url()+pathToken, "", map[string]string{"username": username})
	if err == nil && status == http.StatusOK {
		s.mustBeDead(ctx, s.others(alone), p.Access)
	}
	return nil
}

// wrongClock has a clock that is wrong judge what is new.
func wrongClock(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	before, err := s.admin.issue(ctx, leader.url())
	if err != nil {
		return err
	}
	s.mustLive(ctx, s.nodes, before.Access) // now they all know it
	wrong := s.others(leader)[0]
	wrong.clock.Jump(time.Hour)
	defer wrong.clock.Mend()
	for range 10 {
		p, err := s.admin.issue(ctx, leader.url())
		if err != nil {
			return err
		}
		s.mustLive(ctx, s.nodes, p.Access)
		s.mustLive(ctx, s.nodes, before.Access)
	}
	return nil
}

// lostAnswer loses the answer to a command that is made, so that it is made again elsewhere.
func lostAnswer(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	asked := s.others(leader)[0]
	p, err := s.login(ctx, asked)
	if err != nil {
		return err
	}
	if err := s.warm(ctx, asked, p.Access); err != nil {
		return err
	}
	hear := s.weather.add(between(asked.name, []string{leader.name}, network.Link{}, cutLink()))
	defer hear()
	type result struct {
		successor pair
		err       error
	}
	results := make(chan result, 1)
	go func() {
		successor, err := s.refresh(ctx, asked, p.Refresh)
		results <- result{successor, err}
	}()
	pause(ctx, 500*time.Millisecond) // less than it takes to miss a leader
	release := leader.kill(ctx)
	defer release()
	if err := s.network.Orphan(asked.name, leader.name); err != nil { // or the dead leader's kernel would send the answer again
		return err
	}
	hear()
	r := <-results
	if no, refused := errors.AsType[*refusal](r.err); refused && no.status == http.StatusBadRequest {
		s.journal.violate("a refresh token that was shown once is refused: %s", no.text)
		return nil
	}
	if r.err != nil {
		return r.err
	}
	s.mustLive(ctx, s.others(leader), r.successor.Access)
	return nil
}

// startedFromSnapshot repeats a refresh at a node that was started from a snapshot.
func startedFromSnapshot(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	started := s.others(leader)[0]
	p, err := s.login(ctx, leader)
	if err != nil {
		return err
	}
	successor, err := s.refresh(ctx, leader, p.Refresh)
	if err != nil {
		return err
	}
	taken := newestSnapshot(started)
	if err := s.writeUntil(ctx, leader, "a snapshot of "+started.name, func() bool { return newestSnapshot(started) > taken }); err != nil {
		return err
	}
	started.kill(ctx)()
	if err := s.await(ctx, started.name+" is down", func() bool { return !started.ready.Load() }); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, startPatience); err != nil {
		return err
	}
	again, err := s.refresh(ctx, started, p.Refresh)
	if _, refused := errors.AsType[*refusal](err); refused || err == nil && again != successor {
		s.journal.violate("a repeated refresh gets another answer than the first: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	s.mustLive(ctx, s.nodes, successor.Access)
	return nil
}

// longAbsence has a node get what it missed as a snapshot.
func longAbsence(ctx context.Context, s *stage) error {
	leader, err := s.theLeader(ctx)
	if err != nil {
		return err
	}
	away := s.others(leader)[0]
	old, err := s.admin.issue(ctx, leader.url())
	if err != nil {
		return err
	}
	if err := s.warm(ctx, away, old.Access); err != nil {
		return err
	}
	back := s.weather.add(between(away.name, s.peersOf(away), cutLink(), cutLink()))
	defer back()
	if err := s.patient.invalidate(ctx, leader.url(), old.Access); err != nil {
		return err
	}
	missed, err := s.admin.issue(ctx, leader.url())
	if err != nil {
		return err
	}
	before := newestSnapshot(away)
	for range 2 { // of which the log keeps the last 16 entries each
		taken := newestSnapshot(leader)
		if err := s.writeUntil(ctx, leader, "a snapshot of "+leader.name, func() bool { return newestSnapshot(leader) > taken }); err != nil {
			return err
		}
	}
	back()
	if err := s.await(ctx, "a snapshot for "+away.name, func() bool { return newestSnapshot(away) > before }); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, startPatience); err != nil {
		return err
	}
	s.mustLive(ctx, s.nodes, missed.Access)
	s.mustBeDead(ctx, s.nodes, old.Access)
	return nil
}

// writeUntil writes to the log until something is so.
func (s *stage) writeUntil(ctx context.Context, n *node, what string, is func() bool) error {
	var failed error
	err := s.await(ctx, what, func() bool {
		_, failed = s.admin.issue(ctx, n.url())
		return is()
	})
	return errors.Join(err, failed)
}

// newestSnapshot is the index of a node's newest snapshot.
func newestSnapshot(n *node) (newest uint64) {
	for _, f := range n.disk.Files() {
		if match := snapshotName.FindStringSubmatch(f.Path); match != nil {
			index, _ := strconv.ParseUint(match[1], 10, 64) // zero: not one that counts
			newest = max(newest, index)
		}
	}
	return newest
}
