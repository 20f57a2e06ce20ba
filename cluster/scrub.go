package cluster

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Scrub makes the log fit the newest snapshot. Call it before raft.NewRaft, with
// no raft running on the stores.
//
// If the log holds another entry than the snapshot at the snapshot's index, the
// whole log is deleted, and Scrub says so: everything in it from there on was
// never committed, and everything before is in the snapshot. Raft itself leaves
// such an entry alone after InstallSnapshot, then refuses every append and loads
// the same snapshot for ever (hashicorp/raft #697).
//
// If entries between snapshot and log are missing, raft would panic or, worse,
// run without them; Scrub returns an error that tells the operator what to do.
func Scrub(logs raft.LogStore, snapshots raft.SnapshotStore) (deleted bool, err error) {
	metas, err := snapshots.List() // newest first
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	var newest raft.SnapshotMeta
	if len(metas) > 0 {
		newest = *metas[0]
	}
	first, last, err := bounds(logs)
	if err != nil {
		return false, err
	}
	if last == 0 {
		return false, nil
	}
	conflict, err := conflicts(logs, newest)
	if err != nil {
		return false, err
	}
	if conflict {
		if err := logs.DeleteRange(first, last); err != nil {
			return false, fmt.Errorf("delete a log that contradicts snapshot %s: %w", newest.ID, err)
		}
		return true, nil
	}
	return false, checkJoint(logs, newest.Index, first, last)
}

// conflicts says whether the log and the snapshot hold different entries at the
// snapshot's index.
func conflicts(logs raft.LogStore, snapshot raft.SnapshotMeta) (bool, error) {
	if snapshot.Index == 0 {
		return false, nil
	}
	var entry raft.Log
	err := logs.GetLog(snapshot.Index, &entry)
	if errors.Is(err, raft.ErrLogNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read log entry %d: %w", snapshot.Index, err)
	}
	return entry.Term != snapshot.Term, nil
}

// checkJoint refuses a hole between the snapshot and the log.
func checkJoint(logs raft.LogStore, snapshot, first, last uint64) error {
	if last <= snapshot {
		return nil // raft goes on from the snapshot
	}
	var entry raft.Log
	err := logs.GetLog(snapshot+1, &entry)
	if err == nil {
		return nil
	}
	if !errors.Is(err, raft.ErrLogNotFound) {
		return fmt.Errorf("read log entry %d: %w", snapshot+1, err)
	}
	return fmt.Errorf("the newest snapshot ends at entry %d and the log holds %d to %d, without entry %d: "+
		"a snapshot was lost or damaged. This node cannot start from its data. If a majority of the others is well, remove this "+
		"member from the cluster (jeton operator raft remove-peer), empty its path.data and start it: it joins as a new one",
		snapshot, first, last, snapshot+1)
}

func bounds(logs raft.LogStore) (first, last uint64, err error) {
	if first, err = logs.FirstIndex(); err != nil {
		return 0, 0, fmt.Errorf("read the first log index: %w", err)
	}
	if last, err = logs.LastIndex(); err != nil {
		return 0, 0, fmt.Errorf("read the last log index: %w", err)
	}
	return first, last, nil
}

const (
	installWindow = time.Minute
	installLimit  = 3
)

// InstallWatch recognises a node that loads snapshot after snapshot and gets
// nowhere (hashicorp/raft #697). Such a node is best restarted, so that [Scrub]
// runs. The zero value is ready; methods are safe for concurrent use.
type InstallWatch struct {
	mu    sync.Mutex
	times []time.Time // of installs since the last progress
}

// Installed notes that the leader's snapshot was loaded. It reports true for the
// fourth within a minute with no [InstallWatch.Progress] between.
func (w *InstallWatch) Installed(now time.Time) (stuck bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.times[:0]
	for _, t := range w.times {
		if now.Sub(t) < installWindow {
			kept = append(kept, t)
		}
	}
	w.times = append(kept, now)
	return len(w.times) > installLimit
}

// Progress notes that an entry from the log was applied.
func (w *InstallWatch) Progress() {
	w.mu.Lock()
	w.times = w.times[:0]
	w.mu.Unlock()
}
