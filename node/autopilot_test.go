package node

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"jeton/node/config"
)

// stabilization is how long a simulated new member waits for its vote.
const stabilization = 10 * time.Second

// isMember tells whether the leader knows a member, with or without a vote.
func (s *sim) isMember(m *member) bool {
	for _, server := range s.leader().running().node.replica.servers() {
		if server.ID == m.id {
			return true
		}
	}
	return false
}

// stays checks for a while that something is so.
func (s *sim) stays(what string, d time.Duration, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if !is() {
			s.t.Fatalf("no longer %s, after %v", what, d-time.Until(end))
		}
	}
}

func TestANewMemberGetsItsVoteWhenItHasBeenHealthyForAWhile(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 41), formation: true}, func(t *testing.T, s *sim) {
		s.startAll()
		joiner := s.add()
		joiner.start()
		s.eventually("it is a member", func() bool { return s.isMember(joiner) })
		if !joiner.running().node.member.Load() {
			time.Sleep(2 * formationInterval)
		}
		if err := s.ready(joiner); err != nil || !joiner.running().node.member.Load() {
			t.Errorf("it serves without a vote: %v", err)
		}
		without := func() bool { return s.isMember(joiner) && !s.votes(joiner) }
		s.stays("a member without a vote", stabilization/2, without)

		// Out of contact, it begins anew, however long it has been a member.
		s.net.isolate(names(joiner), names(s.members[:3]...), false)
		s.stays("without a vote while it is cut off", 2*stabilization, without)
		s.net.heal()
		s.stays("without a vote since it has just come back", stabilization-2*time.Second, without)

		// A new leader has seen nothing yet.
		if _, err := s.askTransfer(""); err != nil {
			t.Fatal(err)
		}
		s.stays("without a vote since the leader is new", stabilization-2*time.Second, without)
		s.eventually("it has its vote", func() bool { return s.votes(joiner) })
	})
}

// cleaning has dead members removed after ten seconds.
func cleaning(minQuorum int) func(*config.Config) {
	return func(c *config.Config) {
		c.Autopilot.CleanupDeadServers, c.Autopilot.MinQuorum = true, minQuorum
		c.Autopilot.DeadServerLastContactThreshold = 10 * time.Second
	}
}

func TestDeadMembersAreRemovedOnlyWhereThatIsSet(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings func(*config.Config)
		members  int
		dead     int
		left     int
	}{
		{"not set", nil, 5, 2, 5},
		{"two of five", cleaning(3), 5, 2, 3},
		{"not below the minimum quorum", cleaning(4), 5, 2, 4},
		{"not one of three that are to be three", cleaning(3), 3, 1, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := simOptions{seed: simSeed(t, 42), formation: true, members: test.members, settings: test.settings}
			simulate(t, o, func(t *testing.T, s *sim) {
				s.startAll()
				members := func() int { return len(s.leader().running().node.replica.servers()) }
				dead := s.followers()[:test.dead]
				for _, m := range dead {
					m.kill()
				}
				s.stays("all members while they may come back", 9*time.Second, func() bool { return members() == test.members })
				time.Sleep(10 * time.Second)
				if got := members(); got != test.left {
					t.Errorf("%d members are left, want %d", got, test.left)
				}
				s.stays("the rest", 20*time.Second, func() bool { return members() == test.left })
				for _, m := range dead { // whom the others do not know any more is another member when it comes back
					if !s.isMember(m) {
						m.id += "-again"
						m.disk = newSimDisk()
					}
				}
			})
		})
	}
}

// However a network is cut and for how long, no side removes so many that it could do
// without the other.
func TestACutNetworkDoesNotShrinkTheCluster(t *testing.T) {
	o := simOptions{seed: simSeed(t, 43), formation: true, members: 5, settings: cleaning(5)}
	simulate(t, o, func(t *testing.T, s *sim) {
		s.startAll()
		leader := s.leader()
		minority := []*member{leader, s.followers()[0]}
		majority := s.followers()[1:]
		s.net.isolate(names(minority...), names(majority...), false)
		time.Sleep(30 * time.Second)
		s.net.heal()
		s.awaitReady()
		for _, m := range s.members {
			if got := len(m.running().node.replica.voters()); got != 5 {
				t.Errorf("%s counts %d voters", m.name, got)
			}
		}
	})
}

// Whoever was suspended, and all machines with it, takes nobody for dead: time without
// looks is no silence.
func TestSilenceIsCountedWhileTheLeaderLooks(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 44), settings: cleaning(1)}, func(t *testing.T, s *sim) {
		s.startAll()
		leader, dead := s.leader(), s.followers()[0]
		p := &pilot{n: leader.running().node, ctx: t.Context(), contacts: map[raft.ServerID]*contact{}}
		p.FetchServerStats(t.Context(), p.KnownServers())
		dead.kill()
		time.Sleep(20 * time.Second)
		stats := p.FetchServerStats(t.Context(), p.KnownServers())
		if got := stats[dead.id].LastContact; got != 2*autopilotInterval {
			t.Errorf("silent for %v", got)
		}
		if server := p.KnownServers()[dead.id]; server.NodeStatus != autopilot.NodeAlive {
			t.Errorf("it is %s", server.NodeStatus)
		}
		dead.start()
	})
}

// Raft-autopilot acts on what it saw a moment ago. A member that got its vote since was
// given it, and logged, once more.
func TestAVoteIsGivenOnce(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 45)}, func(t *testing.T, s *sim) {
		s.startAll()
		p := &pilot{n: s.leader().running().node, ctx: t.Context(), contacts: map[raft.ServerID]*contact{}}
		state := &autopilot.State{Servers: map[raft.ServerID]*autopilot.ServerState{}}
		newcomer := raft.ServerID("newcomer")
		for _, id := range []raft.ServerID{s.members[0].id, s.members[1].id, newcomer} {
			state.Servers[id] = &autopilot.ServerState{
				State: autopilot.RaftNonVoter, Health: autopilot.ServerHealth{Healthy: true, StableSince: time.Now().Add(-time.Hour)},
			}
		}
		got := p.CalculatePromotionsAndDemotions(&autopilot.Config{}, state).Promotions
		if len(got) != 1 || got[0] != newcomer {
			t.Errorf("%v get a vote", got)
		}
	})
}
