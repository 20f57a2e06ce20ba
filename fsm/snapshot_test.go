package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// richState has something of everything: families, a family with a hole, all
// realms, salts and counts that are remembered, free slots.
func richState(t *testing.T) *State {
	t.Helper()
	s := newStory(t)
	client, file, alone, gone := pairOf(20), pairOf(21), pairOf(22), pairOf(23)
	client.Client = stranger
	client.Client.RunBy = kibana.Principal
	alone.Identity.Scope = []string{"monitor"}
	alone.Identity.RunBy = &Actor{Principal: stranger.Principal, Roles: []RoleName{"proxy"}, Generation: 7}
	file.Identity.Realm, file.SessionLifetime = Realm{"default_file", "file"}, int64(30*hour)
	alone.Refresh, alone.RefreshLifetime = Digest{}, 0
	gone.AccessLifetime, gone.RefreshLifetime = 0, 0
	name := "Ada"
	file.Identity.FullName, file.Identity.Metadata = &name, []byte(`{"a":1}`)
	s.play(
		step{0, Initialize{ClusterID: [16]byte{1}, KeyCheck: [32]byte{2}}, Outcome{}},
		step{0, gone, Outcome{}}, step{0, pairOf(1), Outcome{}}, step{0, client, Outcome{}}, step{0, file, Outcome{}}, step{0, alone, Outcome{}},
		step{0, PutRole{Role: Role{"own", []string{"all"}, []string{}, []byte(`{}`)}}, Outcome{}},
		step{0, PutUser{Username: "bob", Verifier: "v", FullName: &name, Enabled: true}, Outcome{}},
		step{0, SetPassword{Realm: RealmReserved, Username: "elastic", Verifier: "w"}, Outcome{}},
		step{hour, CollectExpired{Limit: 1}, Outcome{Collected: 1}},
		step{0, refreshOf(1, 2), saltOf(2)}, step{0, refreshOf(2, 3), saltOf(3)}, step{0, refreshOf(1, 9), saltOf(2)},
		step{0, madeFrom(3, 24), Outcome{}},
		step{0, Lease{Holder: "server-2", Boot: 7, Number: 9, Span: 1000}, Outcome{}},
		step{0, Invalidate{Access: Digest{21, 'a'}}, counts(1, 0)},
		step{0, pairOf(4), Outcome{}},
		step{0, Invalidate{Refresh: Digest{4, 'r'}}, counts(1, 0)},
		step{0, RestoreChunk{Restore: [16]byte{9}, Data: []byte("half a")}, Outcome{}},
		step{0, RestoreChunk{Restore: [16]byte{9}, Sequence: 1, Data: []byte(" snapshot")}, Outcome{}},
	)
	s.state.epoch, s.state.epochID, s.state.level = 4, [16]byte{4}, 3
	s.state.lineage, s.state.ancestors = [16]byte{7: 3, 15: 9}, ancestors{{8}, {7: 7}}
	return s.state
}

func written(t *testing.T, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	v := s.snapshot()
	defer s.release()
	if err := v.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSnapshotRestored: the restored state writes the same snapshot and goes on
// in the same way.
func TestSnapshotRestored(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*State{"empty": newState(), "rich": richState(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := written(t, s)
			restored, err := restore(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, written(t, restored)) {
				t.Error("the restored state writes another snapshot")
			}
			if s.summary() != restored.summary() {
				t.Error("summaries differ")
			}
			a, c := story{t: t, state: s, at: start + 2*hour, index: 100}, story{t: t, state: restored, at: start + 2*hour, index: 100}
			for _, do := range []Command{refreshOf(3, 5), refreshOf(1, 6), pairOf(7), Invalidate{Username: "ada"}, DeleteUser{Username: "bob"}, CollectExpired{Limit: 100}} {
				if d := cmp.Diff(a.apply(do), c.apply(do)); d != "" {
					t.Errorf("%T (-original +restored):\n%s", do, d)
				}
			}
			if !bytes.Equal(written(t, s), written(t, restored)) {
				t.Error("snapshots differ in the end")
			}
		})
	}
}

// release names the snapshot that this tree writes. It changes with the first change of
// the format after a release.
const release = "v0.1"

// TestSnapshotGolden opens what every release wrote.
func TestSnapshotGolden(t *testing.T) {
	t.Parallel()
	now := written(t, richState(t))
	if !bytes.Equal(now, golden(t, filepath.Join("snapshots", release), now)) {
		t.Error("the format has changed: that needs another format byte")
	}
	releases, err := filepath.Glob(filepath.Join("testdata", "snapshots", "*"))
	if err != nil || len(releases) == 0 {
		t.Fatal(releases, err)
	}
	for _, path := range releases {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := restore(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !bytes.Equal(now, written(t, restored)) {
			t.Errorf("%s holds another state than the same commands make now", path)
		}
	}
}

// TestSnapshotDamage flips every byte, cuts everywhere and appends.
func TestSnapshotDamage(t *testing.T) {
	t.Parallel()
	b := written(t, richState(t))
	refusedBytes := func(what string, at int, damaged []byte) {
		t.Helper()
		if s, err := restore(bytes.NewReader(damaged)); !errors.Is(err, ErrUnreadable) || s != nil {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
	}
	for i := range b {
		for _, mask := range []byte{0x01, 0xff} {
			damaged := bytes.Clone(b)
			damaged[i] ^= mask
			refusedBytes("flipped", i, damaged)
		}
		refusedBytes("cut", i, b[:i])
	}
	refusedBytes("appended", len(b), append(bytes.Clone(b), 0))
}

// frames splits a snapshot into its frames, without the last one.
func frames(b []byte) (all [][]byte) {
	for b = b[len(snapshotMagic)+1:]; section(b[0]) != sectionEnd; {
		size := frameHead + int(binary.LittleEndian.Uint32(b[1:])) + crc32.Size
		all = append(all, b[:size])
		b = b[size:]
	}
	return all
}

func TestSnapshotFramesInPlace(t *testing.T) {
	t.Parallel()
	b := written(t, richState(t))
	all := frames(b)
	end := b[len(b)-frameHead-12-crc32.Size:]
	join := func(parts ...[]byte) []byte {
		joined := bytes.Clone(b[:len(snapshotMagic)+1])
		for _, p := range parts {
			joined = append(joined, p...)
		}
		return append(joined, end...)
	}
	if !bytes.Equal(b, join(all...)) {
		t.Fatal("frames do not add up")
	}
	for i := range all {
		without := append(append([][]byte{}, all[:i]...), all[i+1:]...)
		twice := append(append([][]byte{}, all[:i+1]...), all[i:]...)
		for what, parts := range map[string][][]byte{"missing": without, "twice": twice} {
			if _, err := restore(bytes.NewReader(join(parts...))); !errors.Is(err, ErrUnreadable) {
				t.Errorf("frame %d %s: %v", i, what, err)
			}
		}
	}
}

// TestSnapshotFramesAreBounded: a large state is written in frames of which a
// reader holds one.
func TestSnapshotFramesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	for n := range 9000 {
		c := pairOf(0)
		c.Access, c.Refresh = Digest{1, byte(n), byte(n >> 8)}, Digest{2, byte(n), byte(n >> 8)}
		c.Identity.Metadata = bytes.Repeat([]byte{'x'}, 100+n%7)
		s.apply(c)
	}
	b := written(t, s.state)
	all := frames(b)
	sections := map[section]int{}
	for _, f := range all {
		sections[section(f[0])]++
		if len(f) > frameHead+maxFrame+crc32.Size {
			t.Errorf("frame of %d bytes", len(f))
		}
	}
	if sections[sectionPairs] < 4 {
		t.Errorf("frames of pairs: %d", sections[sectionPairs])
	}
	restored, err := restore(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, written(t, restored)) {
		t.Error("the restored state writes another snapshot")
	}
}

// sealed turns frames' items into a snapshot with right checksums.
func sealed(items map[section][][]byte) []byte {
	var b bytes.Buffer
	w := newFrameWriter(&b)
	for s := range section(200) {
		for _, item := range items[s] {
			w.done(append(w.room(s, len(item)), item...))
		}
	}
	if w.end() != nil {
		panic("cannot happen")
	}
	return b.Bytes()
}

// TestRestoreRefusesItems: the checksums are right, the items are not.
func TestRestoreRefusesItems(t *testing.T) {
	t.Parallel()
	items := func(change func(map[section][][]byte)) []byte {
		all := map[section][][]byte{}
		for _, f := range frames(written(t, richState(t))) {
			s := section(f[0])
			all[s] = append(all[s], bytes.Clone(f[frameHead:len(f)-crc32.Size]))
		}
		change(all)
		return sealed(all)
	}
	if _, err := restore(bytes.NewReader(items(func(map[section][][]byte) {}))); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for s := sectionSummary; s <= sectionStaged; s++ {
		for what, change := range map[string]func(map[section][][]byte){
			"missing":   func(all map[section][][]byte) { delete(all, s) },
			"twice":     func(all map[section][][]byte) { all[s] = append(all[s], all[s][0]) },
			"truncated": func(all map[section][][]byte) { all[s][0] = all[s][0][:len(all[s][0])-1] },
		} {
			if s == sectionSummary && what == "twice" {
				continue // says the same
			}
			if _, err := restore(bytes.NewReader(items(change))); !errors.Is(err, ErrUnreadable) {
				t.Errorf("section %d %s: %v", s, what, err)
			}
		}
	}
	for name, change := range map[string]func(map[section][][]byte){
		"unknown section": func(all map[section][][]byte) { all[77] = [][]byte{{1}} },
		"run beyond all": func(all map[section][][]byte) {
			binary.LittleEndian.PutUint32(all[sectionPairs][0], maxPages*pageSlots+1)
		},
		"run from zero":    func(all map[section][][]byte) { binary.LittleEndian.PutUint32(all[sectionPairs][0], 0) },
		"run of none":      func(all map[section][][]byte) { binary.LittleEndian.PutUint32(all[sectionPairs][0][4:], 0) },
		"run of too many":  func(all map[section][][]byte) { binary.LittleEndian.PutUint32(all[sectionPairs][0][4:], 1<<31) },
		"used slot, empty": func(all map[section][][]byte) { clear(all[sectionPairs][0][runHead:][:24]) },
	} {
		if _, err := restore(bytes.NewReader(items(change))); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRestoreRefusesLinks writes states that no log leads to. Each would crash a
// node, or let it loop, sooner or later.
func TestRestoreRefusesLinks(t *testing.T) {
	t.Parallel()
	link := func(from ref, at int, to ref) func(*State) {
		return func(s *State) { s.pairs.records.edit(from).link(at, to) }
	}
	ring := func(before, after int, members ...ref) func(*State) {
		return func(s *State) {
			for i, r := range members {
				next := members[(i+1)%len(members)]
				s.pairs.records.edit(r).link(after, next)
				s.pairs.records.edit(next).link(before, r)
			}
		}
	}
	owners := func(change func(o *owner)) func(*State) {
		return func(s *State) { change(s.pairs.holders.owners.edit(1)) }
	}
	last := func(n uint64, change func(op *operation)) func(*State) {
		return func(s *State) { change(s.operations.done.at(s.operations.done.end - n)) }
	}
	cases := map[string]func(*State){
		"unchanged":                  nil,
		"holder of nobody":           link(2, linkHolder, 99),
		"holder zero":                link(2, linkHolder, 0),
		"unknown flag":               func(s *State) { s.pairs.records.edit(2).set(1 << 9) },
		"moment out of range":        func(s *State) { putMoment(s.pairs.records.edit(2)[24:], MaxMoment+1) },
		"neighbour out of range":     link(2, linkNewer, 1<<27),
		"neighbour in a free slot":   link(2, linkSuccessor, 200),
		"one-sided older":            link(3, linkOlder, 0),
		"one-sided successor":        link(2, linkSuccessor, 0),
		"two newest of an owner":     ring(linkNewer, linkOlder, 2, 2),
		"owner's chain, a ring":      ring(linkNewer, linkOlder, 2, 3),
		"chain of another owner":     ring(linkNewer, linkOlder, 3, 4),
		"family, a ring":             ring(linkPredecessor, linkSuccessor, 1, 6),
		"family of one":              ring(linkPredecessor, linkSuccessor, 3, 3),
		"due chain out of range":     link(2, linkDue, 1<<27),
		"due chain, a ring":          func(s *State) { s.pairs.records.edit(s.pairs.due[0].head).link(linkDue, s.pairs.due[0].head) },
		"due chain cut":              func(s *State) { s.pairs.due = s.pairs.due[1:] },
		"due in a wrong bucket":      func(s *State) { s.pairs.due[0].number++ },
		"due in no order":            func(s *State) { s.pairs.due[0], s.pairs.due[1] = s.pairs.due[1], s.pairs.due[0] },
		"due bucket empty":           func(s *State) { s.pairs.due[0].head = 0 },
		"digest twice":               func(s *State) { copy(s.pairs.records.edit(2)[:24], s.pairs.records.at(3)[:24]) },
		"refresh digest twice":       func(s *State) { copy(s.pairs.records.edit(2)[52:76], s.pairs.records.at(3)[52:76]) },
		"owner in no realm":          owners(func(o *owner) { o.realm = 9 }),
		"owner in another realm":     owners(func(o *owner) { o.realm = 2 }),
		"owner after itself":         owners(func(o *owner) { o.next, o.before = 1, 1 }),
		"owner after nobody":         owners(func(o *owner) { o.next = 9 }),
		"owner before nobody":        owners(func(o *owner) { o.before = 9 }),
		"owner of another name":      owners(func(o *owner) { o.name = &ownerName{o.name.realm, "eve"} }),
		"holder of no owner":         func(s *State) { s.pairs.holders.held.edit(1).owner = 9 },
		"holder of another owner":    func(s *State) { s.pairs.holders.held.edit(1).owner = 2 },
		"holder twice":               func(s *State) { s.pairs.holders.held.add(*s.pairs.holders.held.at(1)) },
		"holder without pairs":       func(s *State) { h := s.pairs.holders; h.intern(&Identity{Principal: ada}, kibana) },
		"owner without pairs":        func(s *State) { h := s.pairs.holders; h.internOwner(ownerName{RealmNative, "eve"}) },
		"realm without owners":       func(s *State) { s.pairs.holders.realms.add(realm{name: "x", head: 1}) },
		"realm twice":                func(s *State) { s.pairs.holders.realms.add(realm{name: RealmNative, head: 1}) },
		"user twice":                 func(s *State) { s.users.table.add(&User{Realm: RealmNative, Username: "bob", Generation: 1}) },
		"user of a later generation": func(s *State) { s.users.put(&User{Realm: RealmNative, Username: "x", Generation: 1 << 40}) },
		"user of no generation":      func(s *State) { s.users.put(&User{Realm: RealmNative, Username: "x"}) },
		"user of the file realm":     func(s *State) { s.users.put(&User{Realm: "default_file", Username: "x", Generation: 1}) },
		"role twice":                 func(s *State) { s.roles.table.add(&Role{Name: "own"}) },
		"no version of the roles":    func(s *State) { s.rolesVersion = 0 },
		"no command-set level":       func(s *State) { s.level = 0 },
		"generation at its end":      func(s *State) { s.generation = maxCounter + 1 },
		"version at its end":         func(s *State) { s.rolesVersion = maxCounter + 1 },
		"epoch at its end":           func(s *State) { s.epoch = maxCounter + 1 },
		"index at its end":           func(s *State) { s.applied = maxCounter + 1 },
		"level at its end":           func(s *State) { s.level = 1<<32 + 1 },
		"time at its end":            func(s *State) { s.now = MaxMoment + 1 },
		"chunks of no restore":       func(s *State) { s.staged.id = [16]byte{} },
		"restore of no chunks":       func(s *State) { s.staged.chunks = nil },
		"empty chunk":                func(s *State) { s.staged.chunks[0] = nil },
		"restore from tomorrow":      func(s *State) { s.staged.at = s.now + 1 },
		"time of no restore":         func(s *State) { s.staged = staged{at: 1} },
		"operation twice":            last(2, func(op *operation) { op[2]-- }),
		"operation of no id":         last(2, func(op *operation) { clear(op[:16]) }),
		"operation before its time":  last(2, func(op *operation) { putMoment(op[16:], 1) }),
		"operation from tomorrow":    func(s *State) { s.operations.remember(OperationID{9}, s.now+1, Outcome{}) },
		"operation with an answer":   last(2, func(op *operation) { op[23] |= bitSalted }),
		"answer to nothing":          func(s *State) { s.operations.answer(0, func([]byte) {}) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := richState(t)
			if change != nil {
				change(s)
			}
			_, err := restore(bytes.NewReader(written(t, s)))
			if (change == nil) != (err == nil) || err != nil && !errors.Is(err, ErrUnreadable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSnapshotWriteFails(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	v := richState(t).snapshot()
	for n := range 3 {
		if err := v.write(&limited{n: n, err: full}); !errors.Is(err, full) {
			t.Errorf("after %d writes: %v", n, err)
		}
	}
}

// limited fails after n writes.
type limited struct {
	n   int
	err error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.n--; l.n < 0 {
		return 0, l.err
	}
	return len(p), nil
}

// TestRestoreReadFails: the source's own error is not lost.
func TestRestoreReadFails(t *testing.T) {
	t.Parallel()
	b := written(t, richState(t))
	broken := errors.New("disk broken")
	for _, n := range []int{0, 5, 100, len(b) - 3, len(b)} {
		_, err := restore(io.MultiReader(bytes.NewReader(b[:n]), failing{broken}))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
