package node

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
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

// A copy of a member, started at another address while the member ran, asked to be known by
// its own, and was: two processes voted and stored as one member.
func TestACopyOfAMemberEnds(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 8), formation: true}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		original := s.followers()[0]
		before := original.running().node.replica.servers()
		twin := s.add()
		twin.id, twin.disk = original.id, original.disk.copied(t)
		twin.start()
		failed := twin.running().node.failed
		select {
		case err := <-failed:
			if want := "another process runs as the member " + string(original.id); !strings.Contains(err.Error(), want) {
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
	})
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
