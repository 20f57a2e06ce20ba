package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
)

// A member moved, had its new address written down, and came back to the old one before
// that entry had reached it. Nobody found it again: the leader dialled the new address, and
// its own log said that all was well.
func TestAMemberHearsWhereOthersLookForIt(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	own := n.status()
	peer := own
	peer.ServerID, peer.LeaderID, peer.Term = "other", "other", own.Term+1
	peer.Members = []cluster.Member{{ID: "other", Address: "other:9300", Voter: true}, {ID: own.ServerID, Address: "elsewhere:9300", Voter: true}}
	for name, test := range map[string]struct {
		alter func(*cluster.Status)
		want  raft.ServerAddress
	}{
		"moved there and back":         {func(*cluster.Status) {}, "elsewhere:9300"},
		"where it is":                  {func(s *cluster.Status) { s.Members[1].Address = own.TransportAddress }, ""},
		"by somebody without a leader": {func(s *cluster.Status) { s.LeaderID = "" }, ""},
		"in another cluster":           {func(s *cluster.Status) { s.ClusterID[0]++ }, ""},
		"no member":                    {func(s *cluster.Status) { s.Members = s.Members[:1] }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			altered := peer
			altered.Members = slices.Clone(peer.Members)
			test.alter(&altered)
			outdated := own
			outdated.ServerID, outdated.LeaderID, outdated.Members = "late", "late", slices.Clone(peer.Members)
			outdated.Members[1].Address = own.TransportAddress
			for _, peers := range [][]cluster.Status{{altered, outdated}, {outdated, altered}} {
				if got := n.listedElsewhere(peers); got != test.want {
					t.Errorf("others look for it at %q, want %q", got, test.want)
				}
			}
		})
	}
}

// A member that was removed while it was down came back with its data, and waited for a
// leader for ever. It ends as one that is removed while it runs does, once it is certain.
func TestARemovedMemberThatComesBackEnds(t *testing.T) {
	var log lines
	simulate(t, simOptions{seed: simSeed(t, 10), formation: true, log: &log}, func(t *testing.T, s *sim) {
		s.startAll()
		s.mustPropose(s.leader(), fsm.Initialize{ClusterID: simClusterID})
		removed := s.add()
		removed.start()
		s.eventually("the new member votes", func() bool { return s.votes(removed) })
		removed.kill()
		s.addUser("ann")
		if err := (peerHandler{s.leader().running().node}).Leave(t.Context(), removed.id); err != nil {
			t.Fatal(err)
		}
		s.net.isolate(names(removed), names(s.leader()), false) // who alone can make it certain
		const want = "[WARN]  "                                 // then who says it
		said := func() int {
			return log.count(want+removed.name+": not a member of the cluster:", errUncounted.Error())
		}
		removed.start()
		s.eventually("it says that it was removed", func() bool { return said() > 0 })
		time.Sleep(3*time.Minute + complaintInterval/2)
		if n := said(); n < 3 || n > 5 {
			t.Errorf("in three minutes and a half it says so %d times", n)
		}
		if failed := removed.running().node.failed; len(failed) > 0 {
			t.Errorf("it ends though it cannot be certain: %v", <-failed)
		}
		s.net.heal()
		for range 2 { // and whenever it is started again
			select {
			case err := <-removed.running().node.failed:
				if !errors.Is(err, errRemoved) {
					t.Errorf("it ends because %v", err)
				}
			case <-time.After(recovery):
				t.Error("it runs")
			}
			removed.kill()
			removed.start()
		}
		removed.kill()
		s.members = slices.DeleteFunc(s.members, func(m *member) bool { return m == removed })
	})
}

// A node ends only when it is certain that it was removed: what it hears may be out of date,
// or never come to be.
func TestWhoIsCertainToBeRemoved(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	own := n.status()
	leader := own
	leader.ServerID, leader.LeaderID, leader.LastIndex, leader.Judged = "other", "other", own.LastIndex+9, true
	leader.Members = []cluster.Member{{ID: "other", Voter: true}}
	later := 2 * absencePatience(n.config)
	for name, test := range map[string]struct {
		alter func(*cluster.Status)
		again time.Duration
		want  bool
	}{
		"removed":                      {func(*cluster.Status) {}, later, true},
		"by a later term":              {func(s *cluster.Status) { s.Term, s.LastTerm = s.Term+1, s.LastTerm+1 }, later, true},
		"said once":                    {func(*cluster.Status) {}, 0, false},
		"by a follower":                {func(s *cluster.Status) { s.LeaderID = "third" }, later, false},
		"by one that is not in office": {func(s *cluster.Status) { s.Judged = false }, later, false},
		"by a former leader":           {func(s *cluster.Status) { s.Term-- }, later, false},
		"by a log that is older":       {func(s *cluster.Status) { s.LastIndex = own.LastIndex - 1 }, later, false},
		"added, and not told yet":      {func(s *cluster.Status) { s.Members = append(s.Members, cluster.Member{ID: own.ServerID}) }, later, false},
		"of another recovery":          {func(s *cluster.Status) { s.Lineage[7]++ }, later, false},
		"of another cluster":           {func(s *cluster.Status) { s.ClusterID[0]++ }, later, false},
		"of a cluster without a name":  {func(s *cluster.Status) { s.ClusterID = [16]byte{} }, later, false},
	} {
		t.Run(name, func(t *testing.T) {
			altered := leader
			altered.Members = slices.Clone(leader.Members)
			test.alter(&altered)
			n := &Node{config: n.config, replica: n.replica}
			if n.removed([]cluster.Status{own, altered}) {
				t.Error("it believes the first that comes")
			}
			n.absence.since = n.absence.since.Add(-test.again)
			if got := n.removed([]cluster.Status{own, altered}); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
			n.absence.since = n.absence.since.Add(-later)
			if n.removed([]cluster.Status{own}); n.absence != (absence{}) {
				t.Error("one who is silent in between is believed")
			}
			altered.Term++
			if n.removed([]cluster.Status{altered}) {
				t.Error("what was said in another term counts")
			}
		})
	}
}

// Whose log is applied nowhere yet knows its cluster all the same.
func TestALogTellsItsCluster(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	want, _, _ := n.replica.state.Cluster()
	started := &replica{state: fsm.New(nil), logs: n.replica.logs}
	if got := started.clusterID(); got != want || got == [16]byte{} {
		t.Errorf("%x, want %x", got, want)
	}
	if got := (&replica{state: fsm.New(nil), logs: raft.NewInmemStore()}).clusterID(); got != [16]byte{} {
		t.Errorf("an empty log is of %x", got)
	}
}

func TestWhoIsNotCounted(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	own := n.status()
	peer := own
	peer.ServerID, peer.LeaderID, peer.LastIndex = "other", "other", own.LastIndex+1
	peer.Members = []cluster.Member{{ID: "other", Voter: true}}
	for name, test := range map[string]struct {
		alter func(*cluster.Status)
		want  bool
	}{
		"removed":                 {func(*cluster.Status) {}, true},
		"counted":                 {func(s *cluster.Status) { s.Members = append(s.Members, own.Members...) }, false},
		"by a log that is older":  {func(s *cluster.Status) { s.LastIndex = own.LastIndex - 1 }, false},
		"by an earlier term":      {func(s *cluster.Status) { s.LastTerm-- }, false},
		"by a later term":         {func(s *cluster.Status) { s.LastTerm, s.LastIndex = s.LastTerm+1, 1 }, true},
		"without a leader":        {func(s *cluster.Status) { s.LeaderID = "" }, false},
		"by another cluster":      {func(s *cluster.Status) { s.ClusterID[0]++ }, false},
		"by who knows no cluster": {func(s *cluster.Status) { s.Members = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			altered := peer
			altered.Members = slices.Clone(peer.Members)
			test.alter(&altered)
			if got := n.uncounted([]cluster.Status{own, altered}); (got != nil) != test.want {
				t.Errorf("%v, want one: %t", got, test.want)
			}
		})
	}
}

// lines is a log that can be searched.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

// count returns how many lines hold all of the texts.
func (l *lines) count(texts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}

// A copy of a member, started at another address while the member ran, asked to be known by
// its own, and was: two processes voted and stored as one member. It ends, says where the
// other one is, and tells that one.
func TestACopyOfAMemberEnds(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("of the leader: %t", leads), func(t *testing.T) {
			var log lines
			simulate(t, simOptions{seed: simSeed(t, 8), formation: true, log: &log}, func(t *testing.T, s *sim) {
				s.startAll()
				s.addUser("ann")
				original := s.followers()[0]
				if leads {
					original = s.leader()
				}
				copyEnds(t, s, original)
				if n := log.count("[WARN]  "+original.name+": another process was started as this member", "address=n4:9300"); n != 1 {
					t.Errorf("the original says so %d times", n)
				}
			})
		})
	}
}

func copyEnds(t *testing.T, s *sim, original *member) {
	before := original.running().node.replica.servers()
	twin := s.add()
	twin.id, twin.disk = original.id, original.disk.copied(t)
	twin.start()
	select {
	case err := <-twin.running().node.failed:
		want := fmt.Sprintf("the member %s already runs at %s; this process (%s) has the same node.json", original.id, original.address, twin.address)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it ends because %v", err)
		}
	case <-time.After(recovery):
		t.Error("it runs")
	}
	twin.kill()
	addresses := func(servers []raft.Server) map[raft.ServerID]raft.ServerAddress {
		found := map[raft.ServerID]raft.ServerAddress{}
		for _, server := range servers {
			found[server.ID] = server.Address
		}
		return found
	}
	if after := original.running().node.replica.servers(); !maps.Equal(addresses(before), addresses(after)) {
		t.Errorf("the members were %v and are %v", before, after)
	}
	s.members = slices.DeleteFunc(s.members, func(m *member) bool { return m == twin })
}

// Who leads asks at a member's former address before it believes that the member has
// another one.
func TestALeaderAsksWhereAMemberWas(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 9), formation: true}, func(t *testing.T, s *sim) {
		s.startAll()
		member := s.followers()[0]
		leading := s.leader().running().node
		err := peerHandler{leading}.Join(t.Context(), cluster.JoinRequest{ID: member.id, Address: "elsewhere:9300", Level: leading.replica.levels.highest})
		if err == nil || !strings.Contains(err.Error(), "another process runs as the member") {
			t.Errorf("the move of a member that has not moved: %v", err)
		}
	})
}

// copied is what is on the disk, on another one.
func (d *simDisk) copied(t *testing.T) *simDisk {
	t.Helper()
	other := newSimDisk()
	d.mu.Lock()
	other.snapshots = slices.Clone(d.snapshots)
	d.mu.Unlock()
	first, err := d.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := d.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for index := max(first, 1); index <= last; index++ {
		var entry raft.Log
		if err := errors.Join(d.GetLog(index, &entry), other.StoreLog(&entry)); err != nil {
			t.Fatal(err)
		}
	}
	term, err := d.GetUint64([]byte("CurrentTerm"))
	if err = errors.Join(err, other.SetUint64([]byte("CurrentTerm"), term)); err != nil {
		t.Fatal(err)
	}
	return other
}
