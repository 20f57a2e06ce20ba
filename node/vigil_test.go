package node

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/node/config"
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

// patient leaves elections to the vigil: raft's own timers would take seconds.
func patient(c *config.Config) {
	c.Raft.HeartbeatTimeout, c.Raft.ElectionTimeout = 5*time.Second, 5*time.Second
}

// prompt is how long a succession may take, with a lost election in it.
const prompt = 500 * time.Millisecond

// mustReplace kills the leader, and fails if no other member issues tokens soon.
func (s *sim) mustReplace(victim *member, meanwhile func()) {
	s.t.Helper()
	began := time.Now()
	victim.kill()
	meanwhile()
	s.mustIssue(s.followerOf(victim), "ann")
	if took := time.Since(began); took > prompt {
		s.t.Errorf("a token is issued %v after the leader was killed", took)
	}
}

// Two candidates of one term that have voted for themselves waited for an election timeout.
func TestASplitVoteIsFollowedByAnotherElectionAtOnce(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 18), settings: patient}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		for range 5 {
			victim, followers := s.leader(), s.followers()
			s.awaitReady()
			s.mustReplace(victim, func() {
				for _, m := range followers {
					m.running().node.replica.vigil.stand(0)
				}
			})
			victim.start()
		}
	})
}

// lagging has a follower miss a write, and returns both followers.
func (s *sim) lagging(leader *member) (behind, ahead *member) {
	s.t.Helper()
	followers := s.followers()
	behind, ahead = followers[0], followers[1] // the first by name would stand first
	s.awaitReady()
	s.net.isolate(names(leader), names(behind), true)
	s.mustIssue(leader, "ann")
	return behind, ahead
}

// The first by name stood first even if others would not vote for it.
func TestWhoseLogIsLongerStandsFirst(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 19), settings: patient}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		for range 3 {
			victim := s.leader()
			term := victim.running().node.replica.raft.CurrentTerm()
			_, successor := s.lagging(victim)
			s.mustReplace(victim, func() {})
			if now := successor.running().node.replica.raft.CurrentTerm(); now != term+1 || s.leader() != successor {
				t.Errorf("after term %d %s leads in term %d; want %s, elected at once", term, s.leader().name, now, successor.name)
			}
			s.net.heal()
			victim.start()
		}
	})
}

// A member that had been asked for its vote knew of no leader any more, and so did not notice
// that the leader had ended. The candidate could not win.
func TestALostElectionIsFollowedByAnotherAtOnce(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 20), settings: patient}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		for range 3 {
			victim := s.leader()
			behind, _ := s.lagging(victim)
			behind.running().node.replica.vigil.stand(0)
			time.Sleep(simHeartbeat / 10)
			s.mustReplace(victim, func() {})
			s.net.heal()
			victim.start()
		}
	})
}

// A survivor without a majority stood eight times a second, in vain, and each time took two terms.
func TestWithoutAMajorityNobodyUsesUpTerms(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 23), settings: patient}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		victim, gone, survivor := s.leader(), s.followers()[0], s.followers()[1]
		term := victim.running().node.replica.raft.CurrentTerm()
		gone.kill()
		time.Sleep(simHeartbeat)
		victim.kill()
		time.Sleep(5 * simHeartbeat)
		if now := survivor.running().node.replica.raft.CurrentTerm(); now != term {
			t.Errorf("term %d has become %d, with one of three members left", term, now)
		}
		gone.start()
		s.mustIssue(survivor, "ann")
	})
}

// deafPeers is the peers of a member that at times hears nothing from others about themselves.
type deafPeers struct {
	peers
	deaf *atomic.Bool
}

func (p deafPeers) Status(ctx context.Context, address raft.ServerAddress) (cluster.Status, error) {
	if p.deaf.Load() {
		<-ctx.Done()
		return cluster.Status{}, ctx.Err()
	}
	return p.peers.Status(ctx, address)
}

func TestMembersTakeTurns(t *testing.T) {
	var deaf atomic.Bool
	v := variant{tamper: func(r *replica) { r.peers = deafPeers{r.peers, &deaf} }}
	simulate(t, simOptions{seed: simSeed(t, 21), members: 6, variant: v}, func(t *testing.T, s *sim) {
		s.startAll()
		n1, n4, n6 := s.members[0], s.members[3], s.members[5]
		s.transfer(n1)
		s.addUser("ann")
		s.awaitReady()
		s.net.isolate(names(n1), names(n4), true)
		s.mustIssue(n1, "ann")
		n6.kill()
		for i, wanted := range []struct{ turn, unanswered int }{1: {0, 0}, 2: {1, 1}, 3: {3, 2}, 4: {2, 3}} {
			if i == 0 {
				continue // leads
			}
			r := s.members[i].running().node.replica
			servers := append(r.servers(), raft.Server{ID: "id-n0", Address: n1.address, Suffrage: raft.Nonvoter})
			deaf.Store(false)
			if turn, majority := r.ahead(t.Context(), servers, n1.id); turn != wanted.turn || !majority {
				t.Errorf("%s stands after %d others, want %d; a majority answers: %t", r.id, turn, wanted.turn, majority)
			}
			if _, majority := r.ahead(t.Context(), servers, "id-n0"); majority {
				t.Errorf("%s would depose the leader that others follow", r.id)
			}
			deaf.Store(true)
			if turn, majority := r.ahead(t.Context(), servers, n1.id); turn != wanted.unanswered || majority {
				t.Errorf("nobody answers: %s stands after %d others, want %d; a majority answers: %t", r.id, turn, wanted.unanswered, majority)
			}
		}
		deaf.Store(false)
		s.net.heal()
	})
}

func TestOnlyAVoterThatKnewALeaderStands(t *testing.T) {
	servers := []raft.Server{
		{ID: "b", Address: "b:1"},
		{ID: "a", Address: "a:1"},
		{ID: "c", Address: "c:1", Suffrage: raft.Nonvoter},
	}
	for _, c := range []struct {
		self, leader raft.ServerID
		ok           bool
	}{
		{"a", "b", true},
		{"b", "a", true},
		{"c", "a", false}, // it has no vote
		{"a", "a", false}, // it led
		{"a", "", false},  // nobody is known to lead
		{"a", "z", false}, // one that is no member
	} {
		address, ok := addressOfEnded(servers, c.self, c.leader)
		if ok != c.ok || ok && address != raft.ServerAddress(c.leader)+":1" {
			t.Errorf("%s after %s: %s, %t; want %t", c.self, c.leader, address, ok, c.ok)
		}
	}
}
