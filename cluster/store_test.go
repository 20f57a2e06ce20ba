package cluster_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"jeton/cluster"
)

// brittleStore fails every write after a number of them, as a crash does.
type brittleStore struct {
	raft.StableStore
	left int
}

var errCrash = errors.New("crash")

func (s *brittleStore) Set(key, value []byte) error {
	if s.left--; s.left < 0 {
		return errCrash
	}
	return s.StableStore.Set(key, value)
}

func (s *brittleStore) SetUint64(key []byte, value uint64) error {
	if s.left--; s.left < 0 {
		return errCrash
	}
	return s.StableStore.SetUint64(key, value)
}

// castVote does what raft's persistVote does.
func castVote(s raft.StableStore, term uint64, candidate string) error {
	if err := s.SetUint64([]byte("LastVoteTerm"), term); err != nil {
		return err
	}
	return s.Set([]byte("LastVoteCand"), []byte(candidate))
}

func readVote(t *testing.T, s raft.StableStore) (uint64, string) {
	t.Helper()
	term, err := s.GetUint64([]byte("LastVoteTerm"))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	candidate, err := s.Get([]byte("LastVoteCand"))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	return term, string(candidate)
}

func newVoteStore(t *testing.T, s raft.StableStore) raft.StableStore {
	t.Helper()
	votes, err := cluster.NewVoteStore(s)
	if err != nil {
		t.Fatal(err)
	}
	return votes
}

// hashicorp/raft #661: a crash between the two writes of a vote left the new term
// with the old candidate, who then got the vote of the new term without a check.
func TestACrashNeverLeavesANewTermWithAnOldCandidate(t *testing.T) {
	crash := func(t *testing.T, writes int, wrap func(raft.StableStore) raft.StableStore) (uint64, string) {
		t.Helper()
		disk := raft.NewInmemStore()
		if err := castVote(wrap(disk), 4, "a:1"); err != nil {
			t.Fatal(err)
		}
		_ = castVote(wrap(&brittleStore{StableStore: disk, left: writes}), 5, "b:1")
		return readVote(t, wrap(disk)) // after the restart
	}
	bare := func(s raft.StableStore) raft.StableStore { return s }
	if term, candidate := crash(t, 1, bare); term != 5 || candidate != "a:1" {
		t.Errorf("without the wrapper the defect should show; got %d %s", term, candidate)
	}
	wrapped := func(s raft.StableStore) raft.StableStore { return newVoteStore(t, s) }
	for writes := range 3 {
		term, candidate := crash(t, writes, wrapped)
		if (term != 4 || candidate != "a:1") && (term != 5 || candidate != "b:1") {
			t.Errorf("crash after %d writes: term %d with candidate %s", writes, term, candidate)
		}
	}
}

func TestVotesSurviveInBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	open := func() *raftboltdb.BoltStore {
		store, err := raftboltdb.New(raftboltdb.Options{Path: path, MsgpackUseNewTimeFormat: true})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	disk := open()
	// Raft voted by itself before the wrapper came.
	if err := castVote(disk, 3, "old:1"); err != nil {
		t.Fatal(err)
	}
	votes := newVoteStore(t, disk)
	if term, candidate := readVote(t, votes); term != 3 || candidate != "old:1" {
		t.Errorf("taken over: %d %s", term, candidate)
	}
	if err := castVote(votes, 9, "new:1"); err != nil {
		t.Fatal(err)
	}
	if err := votes.SetUint64([]byte("CurrentTerm"), 9); err != nil {
		t.Fatal(err)
	}
	_ = disk.Close()
	disk = open()
	defer disk.Close()
	votes = newVoteStore(t, disk)
	if term, candidate := readVote(t, votes); term != 9 || candidate != "new:1" {
		t.Errorf("after reopening: %d %s", term, candidate)
	}
	if term, err := votes.GetUint64([]byte("CurrentTerm")); term != 9 || err != nil {
		t.Errorf("current term %d, %v", term, err)
	}
}

func TestANewVoteStoreIsEmptyInRaftsWords(t *testing.T) {
	disk, err := raftboltdb.NewBoltStore(filepath.Join(t.TempDir(), "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	votes := newVoteStore(t, disk)
	snapshots := raft.NewInmemSnapshotStore()
	if exists, err := raft.HasExistingState(disk, votes, snapshots); exists || err != nil {
		t.Errorf("existing state %v, %v", exists, err)
	}
	for _, key := range []string{"LastVoteTerm", "LastVoteCand", "other"} {
		if _, err := votes.Get([]byte(key)); err == nil || err.Error() != "not found" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := votes.Set([]byte("LastVoteCand"), []byte("a:1")); err == nil {
		t.Error("a candidate without a term was stored")
	}
}

func TestADamagedVoteStopsTheNode(t *testing.T) {
	disk := raft.NewInmemStore()
	_ = disk.Set([]byte("jeton.vote"), []byte{9, 9})
	if _, err := cluster.NewVoteStore(disk); err == nil {
		t.Error("accepted")
	}
}

// hangingStore is a store whose writes hang, or fail.
type hangingStore struct {
	*raft.InmemStore
	hang chan struct{}
	fail error
}

func (s *hangingStore) StoreLogs(logs []*raft.Log) error {
	if s.hang != nil {
		<-s.hang
	}
	if s.fail != nil {
		return s.fail
	}
	return s.InmemStore.StoreLogs(logs)
}

func (s *hangingStore) GetLog(index uint64, log *raft.Log) error {
	if s.hang != nil {
		<-s.hang
	}
	return s.InmemStore.GetLog(index, log)
}

func (s *hangingStore) Set([]byte, []byte) error       { return s.fail }
func (s *hangingStore) SetUint64([]byte, uint64) error { return s.fail }

// hashicorp/raft #503: a leader whose disk hangs goes on as leader.
func TestACallToTheStoreThatHangsIsFatal(t *testing.T) {
	for name, call := range map[string]func(*cluster.Watched) error{
		"write": func(w *cluster.Watched) error { return w.StoreLogs([]*raft.Log{{Index: 1}}) },
		"read":  func(w *cluster.Watched) error { return w.GetLog(1, new(raft.Log)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &hangingStore{InmemStore: raft.NewInmemStore(), hang: make(chan struct{})}
				fatal := make(chan error, 9)
				watched := cluster.NewWatched(store, store, func(err error) { fatal <- err })
				start := time.Now()
				go func() { _ = call(watched) }()
				if err := <-fatal; !strings.Contains(err.Error(), "hangs") || time.Since(start) != cluster.StoreLimit {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
				close(store.hang)
			})
		})
	}
}

func TestASlowDiskIsNotFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{InmemStore: raft.NewInmemStore(), hang: make(chan struct{})}
		watched := cluster.NewWatched(store, store, func(err error) { t.Errorf("fatal: %v", err) })
		var wg sync.WaitGroup
		for range 3 { // overlapping, and one after the other with the same watchers
			for range 8 {
				wg.Go(func() { _ = watched.StoreLog(&raft.Log{Index: 1}); _ = watched.StoreLogs([]*raft.Log{{Index: 2}}) })
			}
			time.Sleep(cluster.StoreLimit - time.Millisecond)
			for range 8 {
				store.hang <- struct{}{}
			}
			wg.Wait()
		}
		time.Sleep(time.Hour)
	})
}

func TestAFailedWriteIsFatalOnceAndReachesRaft(t *testing.T) {
	store := &hangingStore{InmemStore: raft.NewInmemStore(), fail: errors.New("no space left on device")}
	var fatal []error
	watched := cluster.NewWatched(store, store, func(err error) { fatal = append(fatal, err) })
	if err := watched.StoreLogs(nil); err != store.fail { //nolint:errorlint // raft compares like this
		t.Errorf("raft sees %v", err)
	}
	if err := watched.Set(nil, nil); err != store.fail { //nolint:errorlint // raft compares like this
		t.Errorf("raft sees %v", err)
	}
	if len(fatal) != 1 || !errors.Is(fatal[0], store.fail) || !strings.Contains(fatal[0].Error(), "StoreLogs") {
		t.Errorf("fatal: %v", fatal)
	}
}

// Raft panics when its term cannot be written: before it gets to know, the process has had the time to end with a message.
func TestATermThatCannotBeWrittenEndsTheProcessBeforeRaftPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{InmemStore: raft.NewInmemStore(), fail: errors.New("input/output error")}
		var told time.Time
		watched := cluster.NewWatched(store, store, func(error) { told = time.Now() })
		start := time.Now()
		if err := watched.SetUint64([]byte("CurrentTerm"), 2); err != store.fail { //nolint:errorlint // raft sees the store's own
			t.Errorf("raft sees %v", err)
		}
		if told != start || time.Since(start) < cluster.StoreLimit {
			t.Errorf("told after %s, and raft after %s", told.Sub(start), time.Since(start))
		}
	})
}

func TestATermThatIsStoredAlreadyIsNotWrittenAgain(t *testing.T) {
	store := &hangingStore{InmemStore: raft.NewInmemStore(), fail: errors.New("written")}
	if err := store.InmemStore.SetUint64([]byte("CurrentTerm"), 7); err != nil {
		t.Fatal(err)
	}
	watched := cluster.NewWatched(store, store, func(err error) { t.Errorf("fatal: %v", err) })
	for name, value := range map[string]uint64{"CurrentTerm": 7, "Absent": 0} {
		if err := watched.SetUint64([]byte(name), value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsMissingIsNotFatal(t *testing.T) {
	disk, err := raftboltdb.NewBoltStore(filepath.Join(t.TempDir(), "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	watched := cluster.NewWatched(disk, disk, func(err error) { t.Errorf("fatal: %v", err) })
	if err := watched.GetLog(1, new(raft.Log)); err != raft.ErrLogNotFound { //nolint:errorlint // raft compares like this
		t.Errorf("got %v", err)
	}
	if _, err := watched.Get([]byte("x")); err == nil || err.Error() != "not found" {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(watched.StoreLog(&raft.Log{Index: 1}), watched.DeleteRange(1, 1), watched.Set([]byte("k"), []byte("v"))); err != nil {
		t.Error(err)
	}
	if first, err := watched.FirstIndex(); first != 0 || err != nil {
		t.Errorf("first %d, %v", first, err)
	}
	if watched.IsMonotonic() {
		t.Error("bolt tolerates gaps")
	}
}

// monotonicStore tolerates no gaps.
type monotonicStore struct{ *raft.InmemStore }

func (monotonicStore) IsMonotonic() bool { return true }

func TestAMonotonicStoreStaysOne(t *testing.T) {
	store := monotonicStore{raft.NewInmemStore()}
	var watched raft.LogStore = cluster.NewWatched(store, store, nil)
	if m, ok := watched.(raft.MonotonicLogStore); !ok || !m.IsMonotonic() {
		t.Error("hidden by the wrapper")
	}
}

func BenchmarkWatchedGetLog(b *testing.B) {
	store := raft.NewInmemStore()
	_ = store.StoreLog(&raft.Log{Index: 1})
	watched := cluster.NewWatched(store, store, nil)
	b.ReportAllocs()
	var entry raft.Log
	for b.Loop() {
		_ = watched.GetLog(1, &entry)
	}
}
