package fsm

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// entryOf encodes commands; those without an operation id get one of their own.
func entryOf(at UnixMilli, index uint64, commands ...Command) *raft.Log {
	var raw [][]byte
	for i, c := range commands {
		b := AppendCommand(nil, c)
		OperationID{0: 0xee, 1: byte(i), 2: byte(index), 3: byte(index >> 8), 4: byte(index >> 16)}.Name(b)
		raw = append(raw, b)
	}
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: AppendEntry(nil, at, raw)}
}

func TestApply(t *testing.T) {
	t.Parallel()
	var applied []uint64
	f := New(func(index uint64) { applied = append(applied, index) })
	got := f.Apply(entryOf(start, 7, pairOf(1), Invalidate{Username: "ada"}, refreshOf(1, 2)))
	want := []Outcome{{}, counts(2, 0), refused(TokenInvalidated)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("outcomes (-want +got):\n%s", d)
	}
	if got := f.Apply(&raft.Log{Index: 8, Type: raft.LogNoop}); got != nil {
		t.Errorf("an entry without commands answered %v", got)
	}
	if !slices.Equal(applied, []uint64{7}) || f.Applied() != 7 || f.Now() != start {
		t.Errorf("applied %v, %d, at %d", applied, f.Applied(), f.Now())
	}
}

func TestApplyStopsAtUnreadableEntry(t *testing.T) {
	t.Parallel()
	entry := entryOf(start, 7, pairOf(1))
	entry.Data[10] ^= 1
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(nil).Apply(entry)
}

func TestView(t *testing.T) {
	t.Parallel()
	f := New(nil)
	if _, _, ok := f.Cluster(); ok {
		t.Error("a cluster without Initialize")
	}
	role := func(name RoleName) Role { return Role{name, []string{"all"}, []string{}, nil} }
	f.Apply(entryOf(
		start, 1,
		Initialize{ClusterID: [16]byte{1}, KeyCheck: [32]byte{2}}, pairOf(1),
		PutUser{Username: "eve", Verifier: "v", Enabled: true}, PutUser{Username: "bob", Verifier: "v"},
		SetPassword{Realm: RealmReserved, Username: "elastic", Verifier: "w"},
		PutRole{Role: role("s")}, PutRole{Role: role("r")},
	))
	token, ok := f.AccessToken(Digest{1, 'a'})
	if !ok || token.Identity.Username != "ada" {
		t.Errorf("access token: %v, %v", token, ok)
	}
	if byRefresh, ok := f.RefreshToken(Digest{1, 'r'}); !ok || byRefresh.Identity != token.Identity {
		t.Error("the identity is not shared")
	}
	if _, ok := f.AccessToken(Digest{1, 'r'}); ok {
		t.Error("a refresh token is no access token")
	}
	if _, ok := f.RefreshToken(Digest{}); ok {
		t.Error("the zero digest is no token")
	}
	bob := User{"bob", RealmNative, "v", []RoleName{}, nil, nil, nil, false, 2}
	eve := User{"eve", RealmNative, "v", []RoleName{}, nil, nil, nil, true, 1}
	if d := cmp.Diff([]User{bob, eve}, f.Users()); d != "" {
		t.Errorf("users (-want +got):\n%s", d)
	}
	if u, ok := f.User(RealmReserved, "elastic"); !ok || u.Verifier != "w" {
		t.Errorf("elastic: %v, %v", u, ok)
	}
	if _, ok := f.User(RealmNative, "elastic"); ok {
		t.Error("elastic is not a native user")
	}
	if d := cmp.Diff([]Role{role("r"), role("s")}, f.Roles()); d != "" {
		t.Errorf("roles (-want +got):\n%s", d)
	}
	if _, ok := f.Role("x"); ok {
		t.Error("role x")
	}
	if r, ok := f.Role("r"); !ok || r.Name != "r" || f.RolesVersion() != 3 {
		t.Errorf("role %v, version %d", r, f.RolesVersion())
	}
	id, key, ok := f.Cluster()
	if id != [16]byte{1} || key != [32]byte{2} || !ok {
		t.Error("cluster")
	}
	pairs, size := f.Size()
	if written := len(persisted(t, f)); pairs != 1 || size < written/2 || size > written+2500 {
		t.Errorf("%d pairs, about %d bytes; the snapshot has %d", pairs, size, written)
	}
}

func TestRestoreSwapsWhole(t *testing.T) {
	t.Parallel()
	from := New(nil)
	from.Apply(entryOf(start, 9, pairOf(1)))
	b := persisted(t, from)

	var applied []uint64
	f := New(func(index uint64) { applied = append(applied, index) })
	f.Apply(entryOf(start, 3, pairOf(2)))
	if err := f.Restore(source(b[:len(b)-1])); !errors.Is(err, ErrUnreadable) {
		t.Errorf("damaged snapshot: %v", err)
	}
	if _, ok := f.AccessToken(Digest{2, 'a'}); !ok || f.Applied() != 3 {
		t.Error("the state is gone after a failed restore")
	}
	if err := f.Restore(source(b)); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.AccessToken(Digest{2, 'a'}); ok {
		t.Error("the old state shines through")
	}
	if _, ok := f.AccessToken(Digest{1, 'a'}); !ok || f.Applied() != 9 || !slices.Equal(applied, []uint64{3, 9}) {
		t.Errorf("applied %d, %v", f.Applied(), applied)
	}
}

func TestAnOlderSnapshotTakesNothingBack(t *testing.T) {
	t.Parallel()
	older := New(nil)
	older.Apply(entryOf(start, 3, pairOf(1)))
	f := New(nil)
	last := entryOf(start, 7, pairOf(2))
	f.Apply(entryOf(start, 3, pairOf(1)))
	f.Apply(last)
	want := persisted(t, f)
	if err := f.Restore(source(persisted(t, older))); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.AccessToken(Digest{2, 'a'}); !ok || f.Applied() != 7 {
		t.Errorf("the state went back to %d", f.Applied())
	}
	if answer := f.Apply(last); answer != nil || !bytes.Equal(persisted(t, f), want) {
		t.Errorf("applied twice: %v", answer)
	}
	if f.Apply(entryOf(start, 8, pairOf(3))) == nil || f.Applied() != 8 {
		t.Error("what comes next is not applied")
	}
}

func TestPersistFails(t *testing.T) {
	t.Parallel()
	f := New(nil)
	full := errors.New("disk full")
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	to := &sink{fail: full}
	if err := s.Persist(to); !errors.Is(err, full) || !to.cancelled || to.closed {
		t.Errorf("write fails: %v, %+v", err, to)
	}
	if err := s.Persist(&closing{err: full}); !errors.Is(err, full) {
		t.Errorf("close fails: %v", err)
	}
	s.Release()
	s.Release()
	if f.state.snapshots != 0 {
		t.Errorf("%d snapshots are held", f.state.snapshots)
	}
}

// closing fails when it is closed.
type closing struct {
	sink
	err error
}

func (c *closing) Close() error { return c.err }

// TestSnapshotsOverlap: pages stay shared until the last of several is released.
func TestSnapshotsOverlap(t *testing.T) {
	t.Parallel()
	f := New(nil)
	f.Apply(entryOf(start, 1, pairOf(1)))
	want := persisted(t, f)
	first, _ := f.Snapshot()
	second, _ := f.Snapshot()
	first.Release()
	f.Apply(entryOf(start, 2, Invalidate{Access: Digest{1, 'a'}}, pairOf(2)))
	var to sink
	if err := second.Persist(&to); err != nil || !bytes.Equal(want, to.Bytes()) {
		t.Errorf("the snapshot changed (%v)", err)
	}
	second.Release()
}

// TestConcurrentUse applies entries while others look tokens up and snapshots are
// written. Each snapshot must be what a lone replica has at that index. Run it
// under the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	const entries, perEntry = 300, 8
	log := []*raft.Log{entryOf(start, 1, Initialize{ClusterID: [16]byte{1}})}
	plain := New(nil) // for what is to be restored
	plain.Apply(log[0])
	for i := range uint64(entries) {
		var commands []Command
		for j := range byte(perEntry) {
			c := pairOf(j)
			c.Access, c.Refresh = Digest{j, byte(i), byte(i >> 8), 'a'}, Digest{j, byte(i), byte(i >> 8), 'r'}
			c.Identity.Username = Username('a' + rune(i%7))
			commands = append(commands, c)
		}
		commands = append(commands, Invalidate{Access: Digest{1, byte(i / 2), 0, 'a'}}, CollectExpired{Limit: 3})
		if i%20 == 0 {
			commands = append(commands, Invalidate{Username: "a"}, PutUser{Username: "a", Verifier: "v"}, PutRole{Role: Role{Name: "r"}})
		}
		if i%100 == 99 {
			epoch := plain.Summary().Epoch + 1
			commands = chunked(backup(t, plain, i > 100), byte(epoch), byte(epoch), i > 100, MaxChunkBytes)
		}
		for ; len(commands) > 0; commands = commands[1:] { // a chunk fills an entry
			n := 1
			if i%100 != 99 {
				n = len(commands)
			}
			log = append(log, entryOf(start+UnixMilli(i)*10*minute, uint64(len(log))+1, commands[:n]...))
			plain.Apply(log[len(log)-1])
			commands = commands[n-1:]
		}
	}
	if got := plain.Summary().Epoch; got != 3 {
		t.Fatalf("%d restores", got)
	}
	f := New(nil)
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for n := byte(0); !done.Load(); n++ {
				f.AccessToken(Digest{n % perEntry, n, 0, 'a'})
				f.RefreshToken(Digest{n % perEntry, n, 0, 'r'})
				f.Users()
				f.Roles()
				f.Size()
				f.Now()
			}
		})
	}
	var snapshots [][]byte
	wg.Go(func() {
		for !done.Load() {
			snapshots = append(snapshots, persisted(t, f))
		}
	})
	for _, entry := range log {
		f.Apply(entry)
	}
	done.Store(true)
	wg.Wait()
	for _, b := range snapshots {
		restored := New(nil)
		if err := restored.Restore(source(b)); err != nil {
			t.Fatal(err)
		}
		for _, entry := range log[restored.Applied():] {
			restored.Apply(entry)
		}
		if !bytes.Equal(persisted(t, f), persisted(t, restored)) {
			t.Fatal("a replica restored from a snapshot that was written meanwhile differs")
		}
	}
	if len(snapshots) == 0 {
		t.Error("no snapshot was written meanwhile")
	}
}
