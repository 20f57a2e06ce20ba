package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"jeton/cluster"
	"jeton/fsm"
)

// nextRelease pretends that the next release has level 2, in which roles are new.
func nextRelease() *levels {
	return &levels{highest: 2, of: func(k fsm.Kind) uint64 {
		if k == fsm.KindPutRole {
			return 2
		}
		return k.Level()
	}}
}

// proposeNew has a member propose what is new in the next release.
func (s *sim) proposeNew(at *member) (fsm.Outcome, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	return at.running().node.Propose(ctx, fsm.PutRole{Role: fsm.Role{Name: "new", Rest: []byte("{}")}})
}

// level is the level that every running member's state has reached, 0 if they differ.
func (s *sim) level() (level uint64) {
	for i, m := range s.members {
		p := m.running()
		if p == nil {
			continue
		}
		has := p.node.replica.state.Level()
		if i > 0 && level != has {
			return 0
		}
		level = has
	}
	return level
}

// mixed starts a cluster of three, of which the last is still of this release, and
// checks that nothing new is used.
func (s *sim) mixed() (old *member) {
	s.t.Helper()
	for _, m := range s.members[:2] {
		m.levels = nextRelease()
	}
	s.startAll()
	s.stays("at level 1", 10*time.Second, func() bool { return s.level() == 1 })
	for _, m := range s.members[:2] {
		if outcome, err := s.proposeNew(m); !errors.Is(err, errLevel) {
			s.t.Errorf("at %s: %+v, %v", m.name, outcome, err)
		}
	}
	return s.members[2]
}

// raised checks that what is new is used, and was not before.
func (s *sim) raised() {
	s.t.Helper()
	s.eventually("the level is raised", func() bool { return s.level() == 2 })
	for i, m := range s.members[:2] {
		if outcome, err := s.proposeNew(m); err != nil || outcome.Reason != fsm.Done || outcome.Existed != (i > 0) {
			s.t.Errorf("at %s: %+v, %v", m.name, outcome, err)
		}
	}
}

func TestWhatIsNewIsUsedWhenTheLastMemberWasUpgraded(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 51), formation: true}, func(t *testing.T, s *sim) {
		old := s.mixed()
		old.kill()
		s.stays("at level 1, for who is down may come back as it was", 5*time.Second, func() bool { return s.level() == 1 })
		old.levels = nextRelease()
		old.start()
		s.raised()
	})
}

func TestWhatIsNewIsUsedWhenTheLastOldMemberHasLeft(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 52), formation: true}, func(t *testing.T, s *sim) {
		old := s.mixed()
		if s.leader() == old {
			s.transfer(s.members[0])
		}
		old.kill()
		if err := (peerHandler{s.leader().running().node}).Leave(t.Context(), old.id); err != nil {
			t.Fatal(err)
		}
		s.raised()

		// It is not let in again, with its data or without, as it is.
		old.id, old.disk = "id-again", newSimDisk()
		old.start()
		s.stays("no member", 5*time.Second, func() bool { return !s.isMember(old) })
		err := old.running().node.askToJoin(t.Context(), old.running().node.knownAddresses())
		if !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "understands 1 at most: install a later one") {
			t.Errorf("it asked to join: %v", err)
		}
		old.kill()
		old.levels = nextRelease()
		old.start()
		s.eventually("it is let in after its upgrade", func() bool { return s.votes(old) })
	})
}

func TestThereIsNoWayBackToAnEarlierRelease(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 53), formation: true}, func(t *testing.T, s *sim) {
		for _, m := range s.members {
			m.levels = nextRelease()
		}
		s.startAll()
		s.raised()
		back := s.followers()[0]
		const want = "the cluster has reached command-set level 2, and this release of jeton understands 1 at most"

		// It meets the level in its log, and ends before it meets what came after.
		back.kill()
		back.levels = nil
		back.start()
		select {
		case reason := <-back.running().node.failed:
			if !strings.Contains(reason.Error(), want) {
				t.Error(reason)
			}
		case <-time.After(recovery):
			t.Fatal("it goes on")
		}
		if _, err := back.running().node.replica.meter.Snapshot(); err == nil {
			t.Error("it keeps a state that it does not understand")
		}
		if _, exists := back.running().node.replica.state.Role("new"); exists {
			t.Error("it has applied what it does not understand")
		}

		// Or in its snapshot, and does not start.
		back.kill()
		back.levels = nextRelease()
		back.start()
		s.eventually("it has a snapshot", func() bool { return await(t.Context(), back.running().node.replica.raft.Snapshot()) == nil })
		back.kill()
		back.levels = nil
		if err := back.tryStart(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it starts: %v", err)
		}
		back.levels = nextRelease()
	})
}
