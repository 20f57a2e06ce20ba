package node

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Followers waited for a heartbeat timeout, one and a half seconds in the median, when the
// leader's process was killed, though its port refused at once.
func TestAKilledLeaderIsReplacedBeforeAHeartbeatTimeout(t *testing.T) {
	for _, members := range []int{3, 5} {
		simulate(t, simOptions{seed: simSeed(t, 16), members: members}, func(t *testing.T, s *sim) {
			s.startAll()
			s.addUser("ann")
			for range 5 {
				victim := s.leader()
				s.awaitReady()
				time.Sleep(2 * simHeartbeat) // what the last election stirred up has settled
				began := time.Now()
				victim.kill()
				s.mustIssue(s.followerOf(victim), "ann")
				if took := time.Since(began); took > simHeartbeat {
					t.Errorf("%d members: a token is issued %v after the leader was killed", members, took)
				}
				victim.start()
			}
		})
	}
}

// followerOf returns another member.
func (s *sim) followerOf(m *member) *member {
	if s.members[0] == m {
		return s.members[1]
	}
	return s.members[0]
}

// Connections end for many reasons.
func TestALeaderThatIsWellIsNotDisturbed(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 17)}, func(t *testing.T, s *sim) {
		s.startAll()
		leader := s.leader()
		term := leader.running().node.replica.raft.CurrentTerm()
		for range 20 {
			s.net.ended(s.members)
			time.Sleep(50 * time.Millisecond)
		}
		if now := leader.running().node.replica.raft.CurrentTerm(); now != term {
			t.Errorf("term %d has become %d", term, now)
		}
	})
}

func TestMembersTakeTurns(t *testing.T) {
	servers := []raft.Server{
		{ID: "d", Address: "d:1"},
		{ID: "b", Address: "b:1"},
		{ID: "a", Address: "a:1"},
		{ID: "c", Address: "c:1", Suffrage: raft.Nonvoter},
	}
	for _, c := range []struct {
		self, leader raft.ServerID
		turn         int
		ok           bool
	}{
		{"a", "b", 0, true},
		{"d", "b", 1, true},
		{"b", "d", 1, true},
		{"d", "a", 1, true},
		{"c", "a", 0, false}, // it has no vote
		{"a", "a", 0, false}, // it leads
		{"a", "", 0, false},  // nobody is known to lead
		{"a", "z", 0, false}, // one that is no member
	} {
		address, turn, ok := turnAfter(servers, c.self, c.leader)
		if ok != c.ok || ok && (turn != c.turn || address != raft.ServerAddress(c.leader)+":1") {
			t.Errorf("%s after %s: %s, %d, %t; want turn %d, %t", c.self, c.leader, address, turn, ok, c.turn, c.ok)
		}
	}
}
