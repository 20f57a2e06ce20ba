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
	installs cluster.InstallWatch
	now      func() time.Time
	fatal    func(error)

	logged atomic.Uint64 // bytes of log applied since the last snapshot
}

// Apply implements raft.FSM.
func (m *meter) Apply(entry *raft.Log) any {
	m.logged.Add(uint64(len(entry.Data)))
	m.installs.Progress()
	return m.FSM.Apply(entry)
}

// Restore implements raft.FSM.
func (m *meter) Restore(snapshot io.ReadCloser) error {
	if err := m.FSM.Restore(snapshot); err != nil {
		return fmt.Errorf("restore the state: %w", err)
	}
	m.logged.Store(0)
	if m.installs.Installed(m.now()) {
		m.fatal(errStuck)
	}
	return nil
}
