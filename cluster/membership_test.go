package cluster_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// fresh is a node that has no state yet.
func fresh(name string) cluster.Status {
	return cluster.Status{
		ServerID: raft.ServerID("id-" + name), Name: name, ClusterName: testCluster, TransportAddress: raft.ServerAddress(name + ":9300"),
	}
}

func with(s cluster.Status, change func(*cluster.Status)) cluster.Status {
	change(&s)
	return s
}

func TestDecideHowToBecomeAMember(t *testing.T) {
	a, b, c := fresh("a"), fresh("b"), fresh("c")
	all := []string{"c", "a", "b", "a"}
	bootstrapped := func(s *cluster.Status) { s.Bootstrapped = true }
	servers := []raft.Server{
		{ID: "id-a", Address: "a:9300"}, {ID: "id-b", Address: "b:9300"}, {ID: "id-c", Address: "c:9300"},
	}
	cases := []struct {
		name      string
		self      cluster.Status
		initial   []string
		peers     []cluster.Status
		bootstrap []raft.Server
		join      []raft.ServerAddress
		reason    string
	}{
		{"the first of all starts", a, all, []cluster.Status{c, b}, servers, nil, "new cluster of a, b, c"},
		{"itself and repetitions among the peers", a, all, []cluster.Status{a, b, c, c, b}, servers, nil, "new cluster"},
		{"strangers besides do not take part", a, []string{"a"}, []cluster.Status{b}, servers[:1], nil, "new cluster of a"},
		{"alone", a, []string{"a"}, nil, servers[:1], nil, "new cluster of a"},
		{"the second waits", b, all, []cluster.Status{a, c}, nil, nil, "waiting for node a"},
		{"one is missing", a, all, []cluster.Status{b}, nil, nil, "waiting for c of cluster.initial_master_nodes to answer (found a, b): start them"},
		{"two are missing", a, all, nil, nil, nil, "waiting for b, c"},
		{"not named, nothing there", fresh("d"), all, []cluster.Status{a, b, c}, nil, nil, "waiting for node a"},
		{"nothing configured", a, nil, []cluster.Status{b}, nil, nil, "cluster.initial_master_nodes is not set"},
		{"a cluster is there", a, all, []cluster.Status{b, with(c, bootstrapped)}, nil, []raft.ServerAddress{"c:9300"}, "cluster of c"},
		{
			"the leader is asked first", a, nil,
			[]cluster.Status{with(b, bootstrapped), with(c, func(s *cluster.Status) { s.Bootstrapped, s.LeaderID = true, s.ServerID })},
			nil,
			[]raft.ServerAddress{"c:9300", "b:9300"},
			"cluster of b, c",
		},
		{"another cluster", a, all, []cluster.Status{b, with(c, func(s *cluster.Status) { s.ClusterName = "prod" })}, nil, nil, `belongs to cluster "prod"`},
		{"another key", a, all, []cluster.Status{b, with(c, func(s *cluster.Status) { s.KeyCheck[0] = 1 })}, nil, nil, "another cluster key"},
		{"a name twice", a, all, []cluster.Status{b, with(b, func(s *cluster.Status) { s.ServerID = "x" })}, nil, nil, "two nodes are named b"},
		{"its own name", a, all, []cluster.Status{with(a, func(s *cluster.Status) { s.ServerID = "x" }), b, c}, nil, nil, "two nodes are named a"},
		{"a copied folder", a, all, []cluster.Status{with(b, func(s *cluster.Status) { s.ServerID = a.ServerID })}, nil, nil, "path.data was copied"},
		{"an address twice", a, all, []cluster.Status{b, with(c, func(s *cluster.Status) { s.TransportAddress = b.TransportAddress })}, nil, nil, "transport.publish_host"},
	}
	t.Run("a seed host is silent", func(t *testing.T) {
		// It may belong to the cluster that this node was in before it lost its data.
		got := cluster.FirstStart{Self: a, InitialMasterNodes: []string{"a"}, Silent: []string{"b:9300"}}.Decide()
		if got.Bootstrap != nil || got.Join != nil || !strings.Contains(got.Reason, "waiting for b:9300 of discovery.seed_hosts") {
			t.Errorf("decided %+v", got)
		}
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := cluster.FirstStart{Self: c.self, InitialMasterNodes: c.initial, Peers: c.peers}.Decide()
			if !strings.Contains(got.Reason, c.reason) {
				t.Errorf("reason %q, want %q", got.Reason, c.reason)
			}
			if diff := cmp.Diff(cluster.Decision{Bootstrap: c.bootstrap, Join: c.join, Reason: got.Reason}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoTwoNodesEverStartAClusterEach(t *testing.T) {
	// Whatever subset each of three nodes sees, at most one starts.
	nodes := []cluster.Status{fresh("a"), fresh("b"), fresh("c")}
	for views := range 8 * 8 * 8 {
		started := 0
		for i, self := range nodes {
			var peers []cluster.Status
			for j, other := range nodes {
				if views>>(3*i+j)&1 == 1 {
					peers = append(peers, other)
				}
			}
			if (cluster.FirstStart{Self: self, InitialMasterNodes: []string{"a", "b", "c"}, Peers: peers}).Decide().Bootstrap != nil {
				started++
			}
		}
		if started > 1 {
			t.Errorf("views %b: %d clusters", views, started)
		}
	}
}

func TestFingerprint(t *testing.T) {
	voter := func(id raft.ServerID) raft.Server { return raft.Server{ID: id, Address: "x:1"} }
	of := func(servers ...raft.Server) uint64 { return cluster.Fingerprint(raft.Configuration{Servers: servers}) }
	ab := of(voter("a"), voter("b"))
	for name, same := range map[string]uint64{
		"order":     of(voter("b"), voter("a")),
		"address":   of(raft.Server{ID: "a", Address: "y:2"}, voter("b")),
		"nonvoters": of(voter("a"), raft.Server{ID: "c", Suffrage: raft.Nonvoter}, voter("b")),
	} {
		if same != ab {
			t.Errorf("%s changed the fingerprint", name)
		}
	}
	seen := map[uint64]bool{ab: true}
	for _, other := range []uint64{of(), of(voter("a")), of(voter("ab")), of(voter("a"), voter("b"), voter("c")), of(voter("a"), voter("c")), of(voter("a\x01b"))} {
		if seen[other] {
			t.Error("two sets of voters with one fingerprint")
		}
		seen[other] = true
	}
}

// oneNode is a raft of one voter, which leads.
func oneNode(t *testing.T) *raft.Raft {
	t.Helper()
	_, transport := raft.NewInmemTransport("a:1")
	store := raft.NewInmemStore()
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.LogLevel, cfg.LogOutput = "a", "ERROR", io.Discard
	r, err := raft.NewRaft(cfg, new(wordsFSM), store, store, raft.NewInmemSnapshotStore(), transport)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Shutdown().Error() })
	if err := r.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a:1"}}}).Error(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMembershipChangesOneStepAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := oneNode(t)
		members := cluster.NewMembership(r)
		ctx := t.Context()
		if _, err := members.AddOrUpdate(ctx, "b", "b:1"); !errors.Is(err, cluster.ErrNotLeader) {
			t.Errorf("before the election: %v", err)
		}
		time.Sleep(10 * time.Second)
		steps := []struct {
			id      raft.ServerID
			address raft.ServerAddress
			want    raft.ServerSuffrage
			refused bool
		}{
			{"b", "b:1", raft.Nonvoter, false}, // nonvoter first
			{"b", "b:1", raft.Nonvoter, false},
			{"b", "b:2", raft.Nonvoter, false},
			{"c", "b:2", 0, true}, // somebody else's address
			{"", "c:1", 0, true},
			{"c", "", 0, true},
			{"a", "a:2", raft.Voter, false}, // a vote is not taken away
		}
		for _, s := range steps {
			got, err := members.AddOrUpdate(ctx, s.id, s.address)
			if got != s.want || errors.Is(err, cluster.ErrRefused) != s.refused || (err != nil) != s.refused {
				t.Errorf("add %s at %s: %s, %v", s.id, s.address, got, err)
			}
		}
		before := r.GetConfiguration().Index()
		if _, err := members.AddOrUpdate(ctx, "b", "b:2"); err != nil || r.GetConfiguration().Index() != before {
			t.Errorf("nothing to change, but the configuration moved on: %v", err)
		}
		for range 2 {
			if err := members.Promote(ctx, "a"); err != nil || r.GetConfiguration().Index() != before {
				t.Errorf("it has its vote: %v", err)
			}
		}
		if err := members.Promote(ctx, "c"); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("promote who is no member: %v", err)
		}
		if err := members.Remove(ctx, "a", 0); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("the last voter: %v", err)
		}
		for range 2 {
			if err := members.Remove(ctx, "b", 0); err != nil {
				t.Errorf("remove: %v", err)
			}
		}
		want := []raft.Server{{ID: "a", Address: "a:2"}}
		if diff := cmp.Diff(want, r.GetConfiguration().Configuration().Servers); diff != "" {
			t.Error(diff)
		}
	})
}

// Raft's futures may never be answered: here the second voter cannot be reached, so
// nothing commits.
func TestAMembershipChangeThatRaftNeverAnswersEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := oneNode(t)
		members := cluster.NewMembership(r)
		time.Sleep(10 * time.Second)
		_, err := members.AddOrUpdate(t.Context(), "b", "b:1")
		if err := errors.Join(err, members.Promote(t.Context(), "b")); err != nil { // by the voters of before
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := members.AddOrUpdate(ctx, "c", "c:1"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, cluster.ErrNotProposed) {
			t.Errorf("got %v, want an unknown outcome", err)
		}
		again, cancelAgain := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancelAgain()
		if err := members.Remove(again, "b", 0); !errors.Is(err, cluster.ErrNotSent) {
			t.Errorf("while the first is under way: %v", err)
		}
	})
}
