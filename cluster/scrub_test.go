package cluster_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// takeSnapshot stores an empty snapshot.
func takeSnapshot(t *testing.T, snapshots raft.SnapshotStore, index, term uint64) {
	t.Helper()
	_, transport := raft.NewInmemTransport("x:1")
	configuration := raft.Configuration{Servers: []raft.Server{{ID: "f", Address: "f:1"}, {ID: "l", Address: "l:1"}}}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, index, term, configuration, 1, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

func storeEntries(t *testing.T, store raft.LogStore, first, last, term uint64) {
	t.Helper()
	for i := first; i <= last; i++ {
		if err := store.StoreLog(&raft.Log{Index: i, Term: term, Type: raft.LogNoop}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestScrub(t *testing.T) {
	type span struct{ first, last, term uint64 }
	cases := []struct {
		name      string
		snapshots [][2]uint64 // index, term
		entries   []span
		deleted   bool
		problem   string
	}{
		{name: "new"},
		{name: "log only", entries: []span{{1, 9, 1}}},
		{name: "snapshot only", snapshots: [][2]uint64{{5, 2}}},
		{name: "overlapping", snapshots: [][2]uint64{{5, 2}}, entries: []span{{3, 9, 2}}},
		{name: "adjacent", snapshots: [][2]uint64{{5, 2}}, entries: []span{{6, 9, 2}}},
		{name: "log ends before", snapshots: [][2]uint64{{5, 2}}, entries: []span{{1, 3, 1}}},
		{name: "conflict", snapshots: [][2]uint64{{5, 2}}, entries: []span{{1, 9, 1}}, deleted: true},
		{name: "conflict at the end", snapshots: [][2]uint64{{5, 2}}, entries: []span{{1, 5, 1}}, deleted: true},
		{name: "the newest counts", snapshots: [][2]uint64{{3, 1}, {5, 2}}, entries: []span{{1, 4, 1}, {5, 9, 2}}},
		{name: "hole", snapshots: [][2]uint64{{5, 2}}, entries: []span{{7, 9, 2}}, problem: "without entry 6"},
		{name: "hole within", snapshots: [][2]uint64{{5, 2}}, entries: []span{{1, 5, 2}, {7, 9, 2}}, problem: "without entry 6"},
		{name: "no snapshot", entries: []span{{4, 9, 1}}, problem: "without entry 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := raft.NewInmemStore()
			snapshots, err := raft.NewFileSnapshotStore(t.TempDir(), 3, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range c.snapshots {
				takeSnapshot(t, snapshots, s[0], s[1])
			}
			for _, e := range c.entries {
				storeEntries(t, store, e.first, e.last, e.term)
			}
			before, _ := store.LastIndex()
			deleted, err := cluster.Scrub(store, snapshots)
			if deleted != c.deleted || (err == nil) != (c.problem == "") || (err != nil && !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("deleted %v, %v", deleted, err)
			}
			after, _ := store.LastIndex()
			if want := map[bool]uint64{true: 0, false: before}[c.deleted]; after != want {
				t.Errorf("the log ends at %d, want %d", after, want)
			}
		})
	}
}

// hashicorp/raft #697: after InstallSnapshot an entry of another term survives at
// the snapshot's index. The follower then refuses every append, and gets the same
// snapshot again and again.
func TestAFollowerWithAConflictingEntryUnderItsSnapshotCatchesUp(t *testing.T) {
	for _, scrub := range []bool{false, true} {
		t.Run(fmt.Sprintf("scrub %v", scrub), func(t *testing.T) {
			store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
			takeSnapshot(t, snapshots, 5, 3)
			storeEntries(t, store, 1, 6, 2) // of a leader that was deposed
			_ = store.SetUint64([]byte("CurrentTerm"), 3)
			if scrub {
				if deleted, err := cluster.Scrub(store, snapshots); !deleted || err != nil {
					t.Fatalf("deleted %v, %v", deleted, err)
				}
			}
			leader := followerOf(t, store, snapshots)
			appended := func() bool {
				var response raft.AppendEntriesResponse
				request := &raft.AppendEntriesRequest{
					RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("l"), Addr: []byte("l:1")}, Term: 3,
					PrevLogEntry: 5, PrevLogTerm: 3, Entries: []*raft.Log{{Index: 6, Term: 3, Type: raft.LogNoop}},
				}
				if err := leader.AppendEntries("f", "f:1", request, &response); err != nil {
					t.Fatal(err)
				}
				return response.Success
			}
			if appended() != scrub {
				t.Fatalf("appended: %v", !scrub)
			}
			if !scrub { // and the snapshot that the leader then sends does not help
				var response raft.InstallSnapshotResponse
				configuration := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "f", Address: "f:1"}, {ID: "l", Address: "l:1"}}})
				request := &raft.InstallSnapshotRequest{
					RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("l"), Addr: []byte("l:1")}, SnapshotVersion: 1,
					Term: 3, LastLogIndex: 5, LastLogTerm: 3, Configuration: configuration, ConfigurationIndex: 1,
				}
				if err := leader.InstallSnapshot("f", "f:1", request, &response, bytes.NewReader(nil)); err != nil || !response.Success {
					t.Fatalf("install: %v %v", err, response)
				}
				if appended() {
					t.Error("without the scrub the defect should show")
				}
			}
		})
	}
}

// followerOf starts raft on stores and returns the transport of its leader.
func followerOf(t *testing.T, store *raft.InmemStore, snapshots raft.SnapshotStore) raft.Transport {
	t.Helper()
	_, follower := raft.NewInmemTransport("f:1")
	_, leader := raft.NewInmemTransport("l:1")
	leader.Connect("f:1", follower)
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.LogLevel, cfg.LogOutput = "f", "ERROR", io.Discard
	cfg.HeartbeatTimeout, cfg.ElectionTimeout = time.Hour, time.Hour // it never campaigns
	r, err := raft.NewRaft(cfg, new(wordsFSM), store, store, snapshots, follower)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Shutdown().Error() })
	return leader
}

func TestInstallWatchSeesALivelock(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var w cluster.InstallWatch
	for i, s := range []int{0, 10, 20} {
		if w.Installed(at(s)) {
			t.Errorf("install %d counts as stuck", i+1)
		}
	}
	if !w.Installed(at(30)) {
		t.Error("the fourth within a minute is stuck")
	}
	w.Progress()
	for _, s := range []int{31, 32, 33, 100, 160, 220, 280} { // spread out, or with progress
		if w.Installed(at(s)) {
			t.Errorf("stuck at %d s", s)
		}
	}
}
