package node

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
)

// errStuck is why a node ends that is sent one snapshot after another.
var errStuck = errors.New("the leader's snapshot was loaded again and again without progress (hashicorp/raft #697): start this node again, it then clears the contradiction in its log by itself")

// meter is the state machine as raft sees it, with what the node wants to know of
// its work. Apply and Restore are called by raft alone; the rest concurrently.
type meter struct {
	*fsm.FSM
	levels   *levels
	installs cluster.InstallWatch
	now      func() time.Time
	fatal    func(error)

	logged atomic.Uint64            // bytes of log applied since the last snapshot
	newest atomic.Pointer[position] // of the newest command entry; nil before the first Apply
	beyond atomic.Uint64            // the cluster's command-set level if it is too high for this release
}

// snapshotTaken says that a snapshot holds what the first so many bytes brought.
func (m *meter) snapshotTaken(bytes uint64) {
	for {
		logged := m.logged.Load() // a snapshot of the leader's may have come between
		if m.logged.CompareAndSwap(logged, logged-min(bytes, logged)) {
			return
		}
	}
}

// position is an entry's place in the log.
type position struct{ index, term uint64 }

// Apply implements raft.FSM.
func (m *meter) Apply(entry *raft.Log) any {
	if m.beyond.Load() > 0 {
		return nil // the process is about to end
	}
	m.logged.Add(uint64(len(entry.Data)))
	m.installs.Progress()
	outcomes := m.FSM.Apply(entry)
	m.newest.Store(&position{entry.Index, entry.Term})
	if level := m.Level(); level > m.levels.highest {
		m.beyond.Store(level) // of what follows this release knows nothing
		m.fatal(m.levels.beyond(level))
	}
	return outcomes
}

// errBeyond is why no snapshot is taken any more.
var errBeyond = errors.New("the state is no longer kept")

// Snapshot implements raft.FSM.
func (m *meter) Snapshot() (raft.FSMSnapshot, error) {
	if m.beyond.Load() > 0 {
		return nil, errBeyond
	}
	return m.FSM.Snapshot()
}

// applied returns where the state stands; the term is 0 if it is not known, as
// after a restart from a snapshot.
func (m *meter) applied() position {
	if newest := m.newest.Load(); newest != nil {
		return *newest
	}
	return position{index: m.Applied()}
}

// Restore implements raft.FSM. After a failure the process ends: the snapshot is the newest
// on the disk, raft goes on with the state of before, and what joins the two would be wrong.
func (m *meter) Restore(snapshot io.ReadCloser) error {
	if err := m.FSM.Restore(snapshot); err != nil {
		err = fmt.Errorf("restore the state: %w", err)
		m.fatal(err)
		return err
	}
	if level := m.Level(); level > m.levels.highest {
		m.beyond.Store(level)
		m.fatal(m.levels.beyond(level))
		return m.levels.beyond(level)
	}
	m.logged.Store(0)
	m.newest.Store(nil)
	if m.installs.Installed(m.now()) {
		m.fatal(errStuck)
	}
	return nil
}
