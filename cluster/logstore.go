package cluster

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// storeLimit is how long one call to a store may take before the disk counts
	// as hung: longer than any sane fsync, short enough that the others elect a
	// leader soon after.
	storeLimit = 5 * time.Second
	// storeSteps is in how many steps a call's time is counted. A process that was
	// paused (SIGSTOP, a suspended machine) loses one step, not all of them, and is
	// not stopped for a disk that works.
	storeSteps = 5
	// keyCurrentTerm is where raft keeps its term.
	keyCurrentTerm = "CurrentTerm"
)

// Watched is raft's store with a watch over it: after a failed write, after an entry that
// is there and cannot be read, or after a call of any kind that takes longer than 5 s, it calls
// a function that is to end the process.
//
// All leave raft limping. After a failed write its idea of the log differs from
// the store's, a follower that cannot read an entry refuses appends for ever, and a leader whose disk
// hangs keeps sending heartbeats, so nobody replaces it (hashicorp/raft #503). Ending the process is
// always safe.
//
// Every error reaches raft unchanged all the same, that of a write of its term late: raft panics then
// ([Watched.SetUint64]). The methods are as safe for concurrent use as those of the store beneath.
type Watched struct {
	logs     raft.LogStore
	stable   raft.StableStore
	fatal    func(error)
	once     sync.Once
	watchers sync.Pool
}

// NewWatched wraps a store, usually one *raftboltdb.BoltStore as both. Fatal is
// called at most once, perhaps while a call to the store still hangs, and must
// not use the store.
func NewWatched(logs raft.LogStore, stable raft.StableStore, fatal func(error)) *Watched {
	w := &Watched{logs: logs, stable: stable, fatal: fatal}
	w.watchers.New = func() any { return &watcher{owner: w} }
	return w
}

// watcher follows one call at a time.
type watcher struct {
	owner *Watched
	timer *time.Timer
	mu    sync.Mutex
	call  string
	steps int // left; zero: no call under way
}

func (w *watcher) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.steps == 0 {
		return // the call ended just now
	}
	if w.steps--; w.steps > 0 {
		w.timer.Reset(storeLimit / storeSteps)
		return
	}
	w.owner.end(fmt.Errorf("raft store: %s has taken more than %s: the disk hangs. Look at it (dmesg), then start the node again: that loses nothing", w.call, storeLimit))
}

// enter starts to watch a call.
func (w *Watched) enter(call string) *watcher {
	watch, _ := w.watchers.Get().(*watcher)
	watch.mu.Lock()
	watch.call, watch.steps = call, storeSteps
	if watch.timer == nil {
		watch.timer = time.AfterFunc(storeLimit/storeSteps, watch.step)
	} else {
		watch.timer.Reset(storeLimit / storeSteps)
	}
	watch.mu.Unlock()
	return watch
}

func (w *Watched) leave(watch *watcher) {
	watch.mu.Lock()
	watch.steps = 0
	watch.timer.Stop()
	watch.mu.Unlock()
	w.watchers.Put(watch)
}

func (w *Watched) end(err error) { w.once.Do(func() { w.fatal(err) }) }

// write runs a write under watch.
func (w *Watched) write(call string, do func() error) error {
	watch := w.enter(call)
	err := do()
	w.leave(watch)
	if err != nil {
		w.end(fmt.Errorf("raft store: %s: %w", call, err))
	}
	return err
}

// FirstIndex implements raft.LogStore.
func (w *Watched) FirstIndex() (uint64, error) {
	defer w.leave(w.enter("FirstIndex"))
	return w.logs.FirstIndex() //nolint:wrapcheck // raft sees the store's own error
}

// LastIndex implements raft.LogStore.
func (w *Watched) LastIndex() (uint64, error) {
	defer w.leave(w.enter("LastIndex"))
	return w.logs.LastIndex() //nolint:wrapcheck // raft sees the store's own error
}

// GetLog implements raft.LogStore.
func (w *Watched) GetLog(index uint64, log *raft.Log) error {
	watch := w.enter("GetLog")
	err := w.logs.GetLog(index, log)
	w.leave(watch)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		w.end(fmt.Errorf("raft store: GetLog: %w", err))
	}
	return err //nolint:wrapcheck // raft compares it with raft.ErrLogNotFound
}

// StoreLog implements raft.LogStore.
func (w *Watched) StoreLog(log *raft.Log) error {
	return w.write("StoreLog", func() error { return w.logs.StoreLog(log) })
}

// StoreLogs implements raft.LogStore.
func (w *Watched) StoreLogs(logs []*raft.Log) error {
	return w.write("StoreLogs", func() error { return w.logs.StoreLogs(logs) })
}

// DeleteRange implements raft.LogStore.
func (w *Watched) DeleteRange(first, last uint64) error {
	return w.write("DeleteRange", func() error { return w.logs.DeleteRange(first, last) })
}

// IsMonotonic implements raft.MonotonicLogStore, which a wrapper would otherwise
// hide.
func (w *Watched) IsMonotonic() bool {
	store, ok := w.logs.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// Set implements raft.StableStore.
func (w *Watched) Set(key, value []byte) error {
	return w.write("Set", func() error { return w.stable.Set(key, value) })
}

// Get implements raft.StableStore.
func (w *Watched) Get(key []byte) ([]byte, error) {
	defer w.leave(w.enter("Get"))
	return w.stable.Get(key) //nolint:wrapcheck // raft compares the text
}

// SetUint64 implements raft.StableStore. What is stored already is not written again, as raft does with its
// term whenever it starts.
//
// Raft panics when its term cannot be written, and with it goes what the process has to say, and its exit
// code. So that error is held back for as long as the process may take to end by itself.
func (w *Watched) SetUint64(key []byte, value uint64) error {
	stored, err := w.GetUint64(key)
	if (err == nil || isNotFound(err)) && stored == value {
		return nil
	}
	err = w.write("SetUint64", func() error { return w.stable.SetUint64(key, value) })
	if err != nil && string(key) == keyCurrentTerm {
		timer := time.NewTimer(storeLimit)
		<-timer.C
	}
	return err
}

// GetUint64 implements raft.StableStore.
func (w *Watched) GetUint64(key []byte) (uint64, error) {
	defer w.leave(w.enter("GetUint64"))
	return w.stable.GetUint64(key) //nolint:wrapcheck // raft compares the text
}
