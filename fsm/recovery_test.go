package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// initialized is a story of cluster 1 with key 2, where ada and the reserved elastic
// have a record.
func initialized(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	s.play(
		step{0, Initialize{ClusterID: [16]byte{1}, KeyCheck: [32]byte{2}}, Outcome{}},
		step{0, PutUser{Username: "ada", Verifier: "v", Enabled: true}, Outcome{}},
		step{0, SetPassword{Realm: RealmReserved, Username: "elastic", Verifier: "w"}, Outcome{}},
		step{0, PutRole{Role: Role{Name: "own", Cluster: []string{"all"}}}, Outcome{}},
	)
	return s
}

// backup is what SaveForRestore writes.
func backup(t failer, f *FSM, keepSessions bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.SaveForRestore(&b, keepSessions); err != nil {
		t.Fatalf("save for restore: %v", err)
	}
	return b.Bytes()
}

// chunked is a backup in chunks, and the command that restores it into cluster 1.
func chunked(b []byte, id, epoch byte, keepSessions bool, size int) (commands []Command) {
	for rest := b; len(rest) > 0; {
		n := min(size, len(rest))
		commands = append(commands, RestoreChunk{Restore: [16]byte{id}, Sequence: uint32(len(commands)), Data: rest[:n]})
		rest = rest[n:]
	}
	return append(commands, Restore{
		Restore: [16]byte{id}, Digest: sha256.Sum256(b), From: [16]byte{1}, Epoch: uint64(epoch), KeepSessions: keepSessions,
	})
}

// restore plays all commands and returns the outcome of the last one.
func (s *story) restore(commands []Command) Outcome {
	s.t.Helper()
	last := len(commands) - 1
	for _, c := range commands[:last] {
		s.play(step{0, c, Outcome{}})
	}
	return s.apply(commands[last])
}

// TestRestoreEndsWhatCannotBeKnown: neither what the file knows comes back, nor does what
// the file does not know stay.
func TestRestoreEndsWhatCannotBeKnown(t *testing.T) {
	t.Parallel()
	s := initialized(t)
	s.play(step{0, pairOf(1), Outcome{}}, step{0, pairOf(2), Outcome{}})
	saved := backup(t, fsmOf(s), false)
	s.play(
		step{minute, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)},
		step{0, refreshOf(2, 3), saltOf(3)},
		step{0, pairOf(4), Outcome{}},
		step{0, DeleteUser{Username: "ada"}, Outcome{Existed: true, Invalidated: 7, PreviouslyInvalidated: 1}},
		step{0, PutRole{Role: Role{Name: "own"}}, Outcome{Existed: true}},
		step{0, PutRole{Role: Role{Name: "later"}}, Outcome{}},
	)
	s.state.lineage, s.state.ancestors = [16]byte{7: 2, 15: 9}, ancestors{{8}}
	before := s.state.summary()
	if got := s.restore(chunked(saved, 7, 1, false, 100)); got != (Outcome{}) {
		t.Fatalf("restore: %+v", got)
	}
	s.wantLive("", 1, 2, 3, 4)
	s.play(
		step{0, refreshOf(1, 8), refused(UnknownToken)},
		step{0, refreshOf(2, 3), refused(UnknownToken)},
		step{0, pairOf(1), Outcome{}}, // the digest is free
	)
	after := s.state.summary()
	if after.epoch != 1 || after.lineage != before.lineage || after.ancestors != before.ancestors || after.clusterID != before.clusterID || after.now != before.now || after.restore != [16]byte{} {
		t.Errorf("summary: %+v", after)
	}
	f := fsmOf(s)
	user, found := f.User(RealmNative, "ada")
	if !found || user.Verifier != "v" || user.Generation <= before.generation {
		t.Errorf("ada: %v, %+v", found, user)
	}
	role, _ := f.Role("own")
	if _, later := f.Role("later"); later || len(role.Cluster) != 1 || f.RolesVersion() <= before.rolesVersion {
		t.Errorf("roles: %+v, later %v, version %d", role, later, f.RolesVersion())
	}
}

// TestRestoreWithSessions: of the file's sessions those live on of which this state does
// not know better, each half by itself.
func TestRestoreWithSessions(t *testing.T) {
	t.Parallel()
	s := initialized(t)
	bob := pairOf(6)
	bob.Identity.Username, bob.Client = "bob", stranger
	s.play(
		step{0, pairOf(9), Outcome{}}, // so that slots differ in the end
		step{0, pairOf(1), Outcome{}}, step{0, pairOf(2), Outcome{}}, step{0, pairOf(3), Outcome{}}, step{0, pairOf(4), Outcome{}}, step{0, bob, Outcome{}},
		step{0, Invalidate{Refresh: Digest{4, 'r'}}, counts(1, 0)},
		step{0, madeFrom(3, 24), Outcome{}},
	)
	saved := backup(t, fsmOf(s), true)
	s.play(
		step{0, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)},
		step{0, refreshOf(2, 5), saltOf(5)},
		step{0, Invalidate{Access: Digest{3, 'a'}, Reach: ReachPair}, counts(2, 0)},
		step{0, Invalidate{Username: "bob"}, counts(2, 0)},
		step{0, pairOf(7), Outcome{}},
	)
	if got := s.restore(chunked(saved, 7, 1, true, MaxChunkBytes)); got != (Outcome{}) {
		t.Fatalf("restore: %+v", got)
	}
	s.wantLive("1r 2a 2r 4a 9a 9r", 1, 2, 3, 4, 5, 6, 7, 9) // 2r is the refreshed one, see below
	if made, found := fsmOf(s).AccessToken(Digest{24, 'a'}); !found || !made.AccessInvalidated {
		t.Errorf("made from a token that ended: %v, %+v", found, made)
	}
	s.play(
		step{0, refreshOf(2, 8), Outcome{Reason: Reused, Invalidated: 2}}, // its successor is gone
		step{0, refreshOf(1, 8), saltOf(8)},
		step{0, refreshOf(1, 8), saltOf(8)},
		step{0, pairOf(7), Outcome{}},
	)
	checkRelinks(t, s.state)
}

// TestRestoreKeepsTheWindow: who lost the answer to a refresh that the file knows gets it
// again, also when pairs have other places now.
func TestRestoreKeepsTheWindow(t *testing.T) {
	t.Parallel()
	s := initialized(t)
	old := pairOf(9)
	old.AccessLifetime, old.RefreshLifetime = 0, 0
	s.play(step{0, old, Outcome{}}, step{hour, pairOf(1), Outcome{}}, step{0, refreshOf(1, 2), saltOf(2)})
	saved := backup(t, fsmOf(s), true)
	s.play(step{0, CollectExpired{Limit: 1}, Outcome{Collected: 1}}, step{0, pairOf(3), Outcome{}}, step{0, refreshOf(3, 4), saltOf(4)})
	if got := s.restore(chunked(saved, 7, 1, true, 1000)); got != (Outcome{}) {
		t.Fatalf("restore: %+v", got)
	}
	s.play(
		step{0, refreshOf(1, 6), saltOf(2)},
		step{0, pairOf(3), Outcome{}},
		step{0, refreshOf(3, 5), saltOf(5)},
		step{0, refreshOf(3, 6), saltOf(5)},
	)
	checkRelinks(t, s.state)
}

// checkRelinks: a state that was restored by command is one that a snapshot can hold.
func checkRelinks(t *testing.T, s *State) {
	t.Helper()
	b := written(t, s)
	again, err := restore(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, written(t, again)) {
		t.Error("the restored state writes another snapshot")
	}
}

// TestRestoreMakesDecisionsStale: whatever was allowed before is authenticated again.
func TestRestoreMakesDecisionsStale(t *testing.T) {
	t.Parallel()
	elastic := Principal{"elastic", Realm{RealmReserved, "reserved"}}
	guards := func(f *FSM) map[string]Guard {
		user, _ := f.User(RealmNative, "ada")
		reserved, _ := f.User(RealmReserved, "elastic")
		return map[string]Guard{
			"caller":   {Caller: ada, CallerGeneration: user.Generation},
			"reserved": {Caller: elastic, CallerGeneration: reserved.Generation},
			"run by":   {RunBy: ada, RunByGeneration: user.Generation},
			"roles":    {RolesVersion: f.RolesVersion()},
			"bearer":   {Bearer: Digest{1, 'a'}},
		}
	}
	ways := map[string]func(s *story, saved []byte){
		"restored":  func(s *story, saved []byte) { s.restore(chunked(saved, 7, 1, false, 1000)) },
		"recovered": func(s *story, _ []byte) { fsmOf(s).BeginEpoch([16]byte{9}, false) },
	}
	for name, recovered := range ways {
		s := initialized(t)
		s.play(step{0, pairOf(1), Outcome{}})
		saved := backup(t, fsmOf(s), false)
		before := guards(fsmOf(s))
		for _, g := range before {
			s.play(step{0, DeleteRole{Header{Guard: g}, "none"}, Outcome{}})
		}
		recovered(s, saved)
		for what, g := range before {
			if got := s.apply(DeleteRole{Header{Guard: g}, "own"}); got.Reason != StaleDecision {
				t.Errorf("%s: a decision that rested on the %s: %+v", name, what, got)
			}
		}
		for what, g := range guards(fsmOf(s)) {
			if got := s.apply(DeleteRole{Header{Guard: g}, "none"}); what != "bearer" && got.Reason != Done {
				t.Errorf("%s: a new decision that rests on the %s: %+v", name, what, got)
			}
		}
	}
}

// TestRestoreRefuses: nothing changes, but that the command is remembered.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	unchanged := func(_ *story, chunks []Command, _ *Restore) []Command { return chunks }
	cases := map[string]struct {
		keep   bool
		change func(s *story, chunks []Command, c *Restore) []Command
		want   Reason
		after  UnixMilli
	}{
		"nothing brought": {false, func(_ *story, _ []Command, _ *Restore) []Command { return nil }, RestoreLost, 0},
		"another's chunks": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			c.Restore[1]++
			return chunks
		}, RestoreLost, 0},
		"chunks missing":   {false, func(_ *story, chunks []Command, _ *Restore) []Command { return chunks[:len(chunks)-1] }, RestoreUnreadable, 0},
		"abandoned":        {false, unchanged, RestoreLost, RestorePatience + 1},
		"nearly abandoned": {false, unchanged, Done, RestorePatience},
		"damaged": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remade(chunks, c, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, RestoreUnreadable, 0},
		"of a later level": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.level++ })
		}, RestoreUnreadable, 0},
		"of a generation without successors": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.generation = maxRestored + 1 })
		}, RestoreUnreadable, 0},
		"of the last generation": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.generation = maxRestored })
		}, Done, 0},
		"of a version of the roles without successors": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.rolesVersion = maxRestored + 1 })
		}, RestoreUnreadable, 0},
		"of another cluster": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.clusterID[1]++ })
		}, RestoreForeign, 0},
		"of another cluster than agreed": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			c.From[1]++
			return chunks
		}, RestoreForeign, 0},
		"of another cluster, as agreed": {true, func(_ *story, chunks []Command, c *Restore) []Command {
			c.From[1]++
			return remadeState(chunks, c, func(s *State) { s.clusterID[1]++ })
		}, Done, 0},
		"of another key": {false, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.keyCheck[1]++ })
		}, RestoreForeign, 0},
		"second of two": {false, func(s *story, chunks []Command, _ *Restore) []Command { s.state.epoch++; return chunks }, RestoreOutdated, 0},
		"older epoch without sessions": {false, func(s *story, chunks []Command, c *Restore) []Command {
			s.state.epoch, c.Epoch = 5, 6
			return chunks
		}, Done, 0},
		"sessions of an older epoch": {true, func(s *story, chunks []Command, c *Restore) []Command {
			s.state.epoch, s.state.epochID, c.Epoch = 5, [16]byte{5}, 6
			return chunks
		}, RestoreOutdated, 0},
		"sessions of another epoch of that number": {true, func(s *story, chunks []Command, c *Restore) []Command {
			s.state.epoch, s.state.epochID, c.Epoch = 1, [16]byte{5}, 2
			return remadeState(chunks, c, func(s *State) { s.epoch, s.epochID = 1, [16]byte{6} })
		}, RestoreOutdated, 0},
		"another cluster's sessions again": {true, func(s *story, chunks []Command, c *Restore) []Command {
			s.state.epoch, c.Epoch = 1, 2
			c.From[1]++
			return remadeState(chunks, c, func(s *State) { s.clusterID[1]++ })
		}, RestoreOutdated, 0},
		"sessions of the future": {true, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.now = start + maxRestoreAhead + 1 })
		}, RestoreAhead, 0},
		"sessions of a minute ahead": {true, func(_ *story, chunks []Command, c *Restore) []Command {
			return remadeState(chunks, c, func(s *State) { s.now = start + maxRestoreAhead })
		}, Done, 0},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := initialized(t)
			s.play(step{0, pairOf(1), Outcome{}})
			all := chunked(backup(t, fsmOf(s), test.keep), 7, 1, test.keep, 64)
			c := all[len(all)-1].(Restore)
			for _, chunk := range test.change(s, all[:len(all)-1], &c) {
				s.play(step{0, chunk, Outcome{}})
			}
			before := s.state.summary()
			s.at += test.after
			if got := s.apply(c); got.Reason != test.want {
				t.Fatalf("got %+v", got)
			}
			if test.want == Done {
				return
			}
			after := s.state.summary()
			if after.epoch != before.epoch || after.generation != before.generation || after.rolesVersion != before.rolesVersion {
				t.Errorf("the refused command had an effect: %+v, then %+v", before, after)
			}
			s.wantLive("1a 1r", 1)
		})
	}
}

// remade changes what is brought, and the digest with it.
func remade(chunks []Command, c *Restore, change func([]byte) []byte) []Command {
	var b []byte
	for _, chunk := range chunks {
		b = append(b, chunk.(RestoreChunk).Data...)
	}
	b = change(b)
	c.Digest = sha256.Sum256(b)
	all := chunked(b, 7, 1, false, 64)
	return all[:len(all)-1]
}

func remadeState(chunks []Command, c *Restore, change func(*State)) []Command {
	return remade(chunks, c, func(b []byte) []byte {
		s, err := restore(bytes.NewReader(b))
		if err != nil {
			panic(err)
		}
		change(s)
		var to bytes.Buffer
		if err := s.snapshot().write(&to); err != nil {
			panic(err)
		}
		return to.Bytes()
	})
}

// TestRestoreChunks: in order, one restore at a time, each chunk once.
func TestRestoreChunks(t *testing.T) {
	t.Parallel()
	chunk := func(id byte, n uint32, data string) RestoreChunk {
		return RestoreChunk{Restore: [16]byte{id}, Sequence: n, Data: []byte(data)}
	}
	s := newStory(t)
	s.play(
		step{0, chunk(1, 1, "b"), refused(RestoreLost)},
		step{0, chunk(1, 0, "a"), Outcome{}},
		step{0, chunk(1, 0, "again"), Outcome{}},
		step{0, chunk(1, 2, "c"), refused(RestoreLost)},
		step{0, chunk(1, 1, "b"), Outcome{}},
		step{RestorePatience, chunk(1, 2, "c"), Outcome{}},
	)
	want := staged{id: [16]byte{1}, at: s.at, chunks: [][]byte{{'a'}, {'b'}, {'c'}}, bytes: 3}
	if d := cmp.Diff(want, s.state.staged, cmp.AllowUnexported(staged{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	s.play(
		step{0, chunk(2, 0, "A"), Outcome{}},
		step{0, chunk(1, 3, "d"), refused(RestoreLost)},
		step{RestorePatience + 1, chunk(2, 1, "B"), refused(RestoreLost)},
	)
	if d := cmp.Diff(staged{}, s.state.staged, cmp.AllowUnexported(staged{})); d != "" {
		t.Errorf("abandoned (-want +got):\n%s", d)
	}
	s.state.staged = staged{id: [16]byte{3}, at: s.at, chunks: [][]byte{nil}, bytes: MaxRestoreBytes}
	s.play(step{0, chunk(3, 1, "more than there may be"), refused(RestoreUnreadable)})
}

// TestRestoreBesideOthers: in one entry with its chunks, and with what comes before.
func TestRestoreBesideOthers(t *testing.T) {
	t.Parallel()
	s := initialized(t)
	s.play(step{0, pairOf(1), Outcome{}})
	f := fsmOf(s)
	commands := append(chunked(backup(t, f, true), 7, 1, true, 1000), pairOf(2))
	commands = append([]Command{Invalidate{Access: Digest{1, 'a'}}}, commands...)
	for i, o := range f.Apply(entryOf(s.at, s.index+1, commands...)).([]Outcome) {
		if o.Reason != Done {
			t.Errorf("command %d: %+v", i, o)
		}
	}
	s.wantLive("1r 2a 2r", 1, 2)
	if got := f.Summary(); got.Epoch != 1 || got.Pairs != 2 {
		t.Errorf("%+v", got)
	}
}

// TestRestoreInTheMiddle: a member that is restarted, or gets a snapshot, between the
// chunks goes on like the others.
func TestRestoreInTheMiddle(t *testing.T) {
	t.Parallel()
	s := initialized(t)
	s.play(step{0, pairOf(1), Outcome{}}, step{0, refreshOf(1, 2), saltOf(2)})
	commands := chunked(backup(t, fsmOf(s), true), 7, 1, true, 50)
	a, b := fsmOf(s), New(nil)
	for i, c := range commands {
		if err := b.Restore(source(persisted(t, a))); err != nil {
			t.Fatal(err)
		}
		index := s.index + 1 + uint64(i)
		if d := cmp.Diff(a.Apply(entryOf(s.at, index, c)), b.Apply(entryOf(s.at, index, c))); d != "" {
			t.Fatalf("chunk %d: %s", i, d)
		}
	}
	if !bytes.Equal(persisted(t, a), persisted(t, b)) || a.Summary().Epoch != 1 {
		t.Errorf("two replicas, two snapshots, of %+v", a.Summary())
	}
}

// TestRestoreLeavesSnapshotsAlone: one that is being written shows the state before.
func TestRestoreLeavesSnapshotsAlone(t *testing.T) {
	t.Parallel()
	s := initialized(t)
	s.play(step{0, pairOf(1), Outcome{}}, step{0, refreshOf(1, 2), saltOf(2)})
	f := fsmOf(s)
	commands := chunked(backup(t, f, false), 7, 1, false, 50)
	s.restore(append(commands[:len(commands)-1:len(commands)-1], Lease{Holder: "a", Boot: 1, Number: 1, Span: 1})) // all but the last
	want := persisted(t, f)
	held, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.apply(commands[len(commands)-1])
	s.play(step{0, pairOf(3), Outcome{}}, step{0, Invalidate{All: true}, counts(2, 0)})
	var to sink
	if err := held.Persist(&to); err != nil || !bytes.Equal(want, to.Bytes()) {
		t.Errorf("the snapshot has changed: %v", err)
	}
	held.Release()
	s.play(step{0, pairOf(4), Outcome{}}, step{0, Invalidate{Username: "ada"}, counts(2, 0)})
	checkRelinks(t, s.state)
}

// TestSaved: the bytes of a snapshot, and the summary that goes with them.
func TestSaved(t *testing.T) {
	t.Parallel()
	f := New(nil)
	f.state = richState(t)
	var b bytes.Buffer
	var got Summary
	if err := f.Save(func(s Summary) (io.Writer, error) { got = s; return &b, nil }); err != nil {
		t.Fatal(err)
	}
	want := Summary{
		ClusterID: [16]byte{1}, KeyCheck: [32]byte{2}, Epoch: 4, Level: 3, Applied: f.state.applied, Now: start + hour,
		Lineage: [16]byte{7: 3, 15: 9}, Ancestors: [16][8]byte{{8}, {7: 7}}, Pairs: 8, Identities: 4, Users: 2, Roles: 1, Operations: f.state.operations.done.len(),
	}
	if d := cmp.Diff(want, got); d != "" || !bytes.Equal(b.Bytes(), persisted(t, f)) || f.Summary() != got {
		t.Errorf("other bytes, or summary (-want +got):\n%s", d)
	}
	full := errors.New("disk full")
	if err := f.Save(func(Summary) (io.Writer, error) { return nil, full }); !errors.Is(err, full) {
		t.Error(err)
	}
	if err := f.Save(func(Summary) (io.Writer, error) { return &limited{err: full}, nil }); !errors.Is(err, full) || f.state.snapshots != 0 {
		t.Errorf("%v, %d snapshots held", err, f.state.snapshots)
	}
}

// TestBeginEpoch: sessions end unless they are kept, all else stays.
func TestBeginEpoch(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		s := initialized(t)
		s.play(step{0, pairOf(1), Outcome{}}, step{0, refreshOf(1, 2), saltOf(2)}, step{0, RestoreChunk{Restore: [16]byte{1}, Data: []byte{1}}, Outcome{}})
		before := s.state.summary()
		if epoch := fsmOf(s).BeginEpoch([16]byte{9, 15: 5}, keep); epoch != 1 || s.state.epochID != [16]byte{9, 15: 5} {
			t.Errorf("epoch %d", epoch)
		}
		if want := [16]byte{7: 1, 15: 5}; s.state.lineage != want {
			t.Errorf("lineage %x", s.state.lineage)
		}
		want := ""
		again := refused(UnknownToken)
		if keep {
			want, again = "1a 1r 2a 2r", saltOf(2)
		}
		s.wantLive(want, 1, 2)
		after := s.state.summary()
		if after.generation <= before.generation || after.rolesVersion <= before.rolesVersion || after.restore != [16]byte{} || after.now != before.now {
			t.Errorf("%+v, then %+v", before, after)
		}
		s.play(step{0, refreshOf(1, 3), again}, step{0, pairOf(4), Outcome{}})
		checkRelinks(t, s.state)
	}
}

// TestAncestors: those of the newest lineages are remembered.
func TestAncestors(t *testing.T) {
	t.Parallel()
	f := New(nil)
	var want [16][8]byte
	for i := byte(1); i <= 20; i++ {
		f.BeginEpoch([16]byte{15: i}, true)
		sum := f.Summary()
		if d := cmp.Diff(want, sum.Ancestors); d != "" || sum.Lineage != [16]byte{7: i, 15: i} {
			t.Errorf("lineage %x, ancestors (-want +got):\n%s", sum.Lineage, d)
		}
		copy(want[1:], want[:])
		want[0] = [8]byte{7: i}
	}
}
