package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
)

// askTransfer asks the leader to hand over, as an operator does.
func (s *sim) askTransfer(id raft.ServerID) (raft.ServerID, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), recovery)
	defer cancel()
	return peerHandler{s.leader().running().node}.Transfer(ctx, id)
}

func TestTheLeadershipGoesToWhomItIsAskedFor(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 31), spares: 1}, func(t *testing.T, s *sim) {
		s.startAll()
		for range 2 {
			for _, to := range s.members[:3] { // the first may lead already
				leader, err := s.askTransfer(to.id)
				if err != nil || leader != to.id || s.leader() != to {
					t.Errorf("asked for %s: %s leads, %v", to.name, leader, err)
				}
			}
		}
		former := s.leader()
		_, err := peerHandler{s.followers()[0].running().node}.Transfer(t.Context(), "")
		if hint, ok := errors.AsType[*cluster.NotLeaderError](err); !ok || hint.Leader != former.address {
			t.Errorf("a follower was asked: %v", err)
		}

		// Who is dead is not chosen, however far its log was, nor is who has no vote.
		spare := s.members[3]
		spare.start()
		if err := s.enlist(spare, false); err != nil {
			t.Fatal(err)
		}
		dead, alive := s.followers()[0], s.followers()[1]
		dead.kill()
		for id, want := range map[raft.ServerID]string{
			spare.id: "has no vote", "nobody": "is not a member", dead.id: "no voter that could take over answers",
		} {
			if _, err := s.askTransfer(id); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), want) {
				t.Errorf("asked for %s: %v", id, err)
			}
		}
		if leader, err := s.askTransfer(""); err != nil || leader != alive.id {
			t.Errorf("asked for anybody: %s leads, %v", leader, err)
		}
	})
}

func TestAStormOfTransfersLosesNothing(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 32), variant: variant{lease: simLease}}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		var storm atomic.Bool
		var callers sync.WaitGroup
		var done atomic.Int64
		storm.Store(true)
		for i := range 12 {
			at := s.members[i%3]
			callers.Go(func() {
				for storm.Load() {
					pair := s.mustIssue(at, "ann")
					s.mustInvalidate(at, "ann", pair.AccessToken)
					done.Add(1)
				}
			})
		}
		transfers := 0
		for i := range 100 {
			if _, err := s.askTransfer(s.members[i%3].id); err == nil {
				transfers++
			}
			time.Sleep(100 * time.Millisecond)
		}
		storm.Store(false)
		callers.Wait()
		if transfers < 90 || done.Load() < 500 {
			t.Errorf("%d of 100 transfers, %d pairs lived and died", transfers, done.Load())
		}
	})
}

// hashicorp/raft #696: a leader that steps down while it hands over to one who does not
// keep up refuses every write when it leads again, for ever; half of the time, for a select
// decides. What hangs in raft hangs also when it has ended, so this is in real time.
func TestATransferThatHangsEndsTheProcess(t *testing.T) {
	s := newSim(t, simOptions{seed: 33})
	defer func() {
		s.net.heal()
		for _, m := range s.members {
			m.kill()
		}
		close(s.net.closed)
	}()
	s.startAll()
	var leader *member
	for attempt := 1; leader == nil; attempt++ {
		if attempt > 20 {
			t.Fatal("raft's transfer has not hung once: is the defect mended?")
		}
		leader = s.hangTransfer()
	}
	process := leader.running()
	s.eventually("it gives up", func() bool {
		select {
		case reason := <-process.node.failed:
			if !strings.Contains(reason.Error(), "refused all writes") {
				t.Error(reason)
			}
			return true
		default:
			return false
		}
	})
	leader.kill() // its supervisor starts it again
	leader.start()
	s.mustPropose(leader, fsm.PutRole{Role: fsm.Role{Name: "two", Rest: []byte("{}")}})
}

// hangTransfer tries to have a transfer hang, and returns the leader if it does.
func (s *sim) hangTransfer() *member {
	s.t.Helper()
	leader, behind, other := s.leader(), s.followers()[0], s.followers()[1]
	r := leader.running().node.replica
	s.net.isolate(names(leader), names(behind), false)
	s.mustPropose(leader, fsm.PutRole{Role: fsm.Role{Name: "one", Rest: []byte("{}")}}) // behind lacks it
	time.Sleep(5 * time.Second)                                                         // raft tries it ever more rarely
	handOver := func() error {
		return await(s.t.Context(), r.raft.LeadershipTransferToServer(behind.id, behind.address))
	}
	_ = handOver() // waits in a queue, which the second finds full
	s.eventually("another transfer begins", func() bool { return !errors.Is(handOver(), raft.ErrLeadershipTransferInProgress) })
	s.net.isolate(names(leader), names(other), false)
	s.eventually("the leader steps down", func() bool { return !r.leads() })
	s.net.heal()
	var answer error
	s.eventually("it leads again", func() bool {
		for _, m := range s.members {
			if now := m.running().node.replica; m != leader && now.leads() {
				_ = await(s.t.Context(), now.raft.LeadershipTransferToServer(leader.id, leader.address))
			}
		}
		answer = await(s.t.Context(), r.raft.Barrier(time.Second))
		return answer == nil || errors.Is(answer, raft.ErrLeadershipTransferInProgress)
	})
	if answer == nil {
		return nil
	}
	return leader
}

func TestRefusalsOfWritesAreCountedWhileTheProcessRuns(t *testing.T) {
	refused := raft.ErrLeadershipTransferInProgress
	for _, test := range []struct {
		name  string
		gap   time.Duration
		notes []error
		fatal bool
	}{
		{"a transfer", 100 * time.Millisecond, []error{refused, refused, refused}, false},
		{"for too long", 200 * time.Millisecond, []error{refused, refused, refused, refused, refused, refused, refused}, true},
		{"stopped meanwhile", time.Hour, []error{refused, refused, refused}, false},
		{"one after the other", 200 * time.Millisecond, []error{refused, refused, refused, nil, refused, refused, refused, raft.ErrNotLeader, refused, refused, refused}, false},
		{"impatient callers", 200 * time.Millisecond, []error{refused, context.Canceled, refused, context.Canceled, refused, context.Canceled, refused, refused, refused, refused}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fatal error
				f := refusals{limit: time.Second, fatal: func(err error) { fatal = err }}
				for _, err := range test.notes {
					f.note(err)
					time.Sleep(test.gap)
				}
				if (fatal != nil) != test.fatal {
					t.Error(fatal)
				}
			})
		})
	}
}
