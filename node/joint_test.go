package node

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"jeton/fsm"
)

// entriesAt are entries first to last.
func entriesAt(first, last uint64) []*raft.Log {
	entries := []*raft.Log{}
	for i := first; i <= last; i++ {
		entries = append(entries, &raft.Log{Index: i, Term: 3})
	}
	return entries
}

// TestWhatIsBeforeTheLogIsTakenFromARequest: the follower has a snapshot up to entry 10,
// and its log may begin before the snapshot's end.
func TestWhatIsBeforeTheLogIsTakenFromARequest(t *testing.T) {
	type request struct {
		prev, prevTerm uint64
		first, last    uint64 // of the entries; none if last is less
		commit         uint64
	}
	for name, c := range map[string]struct {
		kept      uint64 // first entry in the log, which ends with 14; zero: it is empty
		got, want request
	}{
		"heartbeat":                  {got: request{0, 0, 1, 0, 0}, want: request{0, 0, 1, 0, 0}},
		"after the snapshot":         {got: request{12, 3, 13, 14, 13}, want: request{12, 3, 13, 14, 13}},
		"right after it":             {got: request{10, 3, 11, 12, 12}, want: request{10, 3, 11, 12, 12}},
		"no log, across the end":     {got: request{7, 1, 8, 12, 12}, want: request{0, 0, 11, 12, 12}},
		"no log, from the first on":  {got: request{0, 0, 1, 12, 12}, want: request{0, 0, 11, 12, 12}},
		"no log, up to the end":      {got: request{7, 1, 8, 10, 10}, want: request{0, 0, 1, 0, 10}},
		"no log, nothing, early":     {got: request{7, 1, 8, 7, 7}, want: request{0, 0, 1, 0, 7}},
		"before what is kept":        {kept: 8, got: request{6, 1, 7, 12, 11}, want: request{0, 0, 8, 12, 11}},
		"right before what is kept":  {kept: 8, got: request{7, 1, 8, 12, 11}, want: request{0, 0, 8, 12, 11}},
		"all before what is kept":    {kept: 8, got: request{0, 0, 1, 4, 4}, want: request{0, 0, 1, 0, 4}},
		"within what is kept":        {kept: 8, got: request{8, 1, 9, 12, 11}, want: request{8, 1, 9, 12, 11}},
		"all is kept":                {kept: 1, got: request{0, 0, 1, 12, 11}, want: request{0, 0, 1, 12, 11}},
		"more committed than it has": {kept: 8, got: request{12, 3, 13, 13, 14}, want: request{12, 3, 13, 13, 13}},
	} {
		t.Run(name, func(t *testing.T) {
			logs := raft.NewInmemStore()
			if c.kept > 0 {
				if err := logs.StoreLogs(entriesAt(c.kept, 14)); err != nil {
					t.Fatal(err)
				}
			}
			build := func(r request) *raft.AppendEntriesRequest {
				return &raft.AppendEntriesRequest{
					Term: 4, PrevLogEntry: r.prev, PrevLogTerm: r.prevTerm, LeaderCommitIndex: r.commit, Entries: entriesAt(r.first, r.last),
				}
			}
			j := &joint{logs: logs}
			if err := j.note(position{index: 10, term: 2}); err != nil {
				t.Fatal(err)
			}
			got := build(c.got)
			j.mend(got)
			if d := cmp.Diff(build(c.want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestAFollowerWhoseAnswersWereLostGoesOn: it has taken a snapshot and dropped the log
// before it, and the leader believes it to be further back than that.
func TestAFollowerWhoseAnswersWereLostGoesOn(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 1), trailing: 1}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("user0")
		leader, follower := s.leader(), s.followers()[0]
		s.net.isolate(names(follower), names(leader), true)
		for range 20 {
			if _, err := leader.running().issue(t.Context(), "user0"); err != nil {
				t.Fatal(err)
			}
		}
		r := follower.running().node.replica.raft
		s.eventually("the follower has what its leader has", func() bool {
			return r.LastIndex() == leader.running().node.replica.raft.LastIndex() && r.AppliedIndex() == r.LastIndex()
		})
		if err := r.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		follower.kill()
		time.Sleep(4 * simHeartbeat) // until the leader has given up the last request
		s.net.heal()
		follower.start()
		s.awaitReady()
	})
}

func TestASnapshotIsOutgrownWhenTheLogBeginsLater(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, last uint64 // of the log; zero: it is empty
		sent        uint64
		want        bool
	}{
		{"the log begins later", 8, 14, 6, true},
		{"the log goes on from it", 8, 14, 7, false},
		{"the log holds its end", 8, 14, 9, false},
		{"no log", 0, 0, 6, true},
		{"as new as the newest", 12, 14, 10, false}, // there is a gap: it mends it
		{"newer", 12, 14, 20, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			logs := raft.NewInmemStore()
			if c.first > 0 {
				if err := logs.StoreLogs(entriesAt(c.first, c.last)); err != nil {
					t.Fatal(err)
				}
			}
			j := &joint{logs: logs}
			if j.outgrown(&raft.InstallSnapshotRequest{LastLogIndex: c.sent}) {
				t.Error("outgrown by a node without a snapshot")
			}
			if err := j.note(position{index: 10, term: 2}); err != nil {
				t.Fatal(err)
			}
			if got := j.outgrown(&raft.InstallSnapshotRequest{LastLogIndex: c.sent}); got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

// A late snapshot came after a newer one. The log still held entries from before both; raft
// went back, then took the newer one's end for an entry of the log, and panicked at the gap.
func TestALogThatEndsBeforeASnapshotIsDropped(t *testing.T) {
	for _, c := range []struct {
		name string
		end  uint64 // of the snapshot
		want uint64 // last index of a log of 4 to 8
	}{{"before", 9, 0}, {"with it", 8, 8}, {"after", 6, 8}} {
		t.Run(c.name, func(t *testing.T) {
			logs := raft.NewInmemStore()
			if err := logs.StoreLogs(entriesAt(4, 8)); err != nil {
				t.Fatal(err)
			}
			if err := (&joint{logs: logs}).note(position{index: c.end, term: 3}); err != nil {
				t.Fatal(err)
			}
			if last, err := logs.LastIndex(); err != nil || last != c.want {
				t.Errorf("the log ends at %d, want %d; %v", last, c.want, err)
			}
		})
	}
}

// Raft goes on with the state of before after a restore that failed, while the joint takes
// the snapshot for what the state holds.
func TestANodeThatCannotRestoreASnapshotEnds(t *testing.T) {
	var ended error
	m := &meter{FSM: fsm.New(nil), now: time.Now, fatal: func(err error) { ended = err }}
	err := m.Restore(io.NopCloser(strings.NewReader("no snapshot")))
	if !errors.Is(err, fsm.ErrUnreadable) || !errors.Is(ended, fsm.ErrUnreadable) {
		t.Errorf("raft sees %v, and the node ends with %v", err, ended)
	}
}
