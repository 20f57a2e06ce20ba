package node

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// joint is where a log that no longer holds it all meets the newest snapshot. It
// lets raft see the entry that the snapshot ends with, which is committed, also
// when the log begins only after it.
//
// Raft looks for that entry in the log alone, unless the log is empty. A follower
// that got a snapshot, and after it entries of a leader which was then deposed
// before it committed them, therefore refuses what the next leader appends after
// the snapshot, is sent the same snapshot again, keeps its entries, and so on for
// ever, across restarts (hashicorp/raft #697; here no entry contradicts the
// snapshot, so Scrub finds nothing). With the joint it finds what the two logs have
// in common and drops the rest.
type joint struct {
	logs   raft.LogStore
	newest atomic.Pointer[position] // nil: no snapshot yet
}

// mend changes an AppendEntries request that raft would misread.
//
// A leader that has not heard how far a follower is, for its answers were lost, may begin
// before what the follower's log still holds. Raft looks for that in the log alone and
// refuses; the leader goes back further, to its own first entry, and stays there for
// ever. So what is before the log is taken from the request: it is in the snapshot, hence
// committed, hence the same at every leader. What the log does hold is left to raft,
// which may have to correct it.
//
// And a follower may take as committed what the request vouches for, and no more (Raft,
// figure 2). Raft goes by the end of its log, which may be an old leader's.
func (j *joint) mend(request *raft.AppendEntriesRequest) {
	vouched := request.PrevLogEntry + uint64(len(request.Entries))
	request.LeaderCommitIndex = min(request.LeaderCommitIndex, vouched)
	end := j.newest.Load()
	if end == nil || request.PrevLogEntry >= end.index || vouched == 0 {
		return
	}
	first, err := j.logs.FirstIndex()
	if err != nil || first == 1 || first > 0 && request.PrevLogEntry >= first {
		return
	}
	if first == 0 {
		first = end.index + 1
	}
	kept := slices.IndexFunc(request.Entries, func(e *raft.Log) bool { return e.Index >= first })
	if kept < 0 {
		kept = len(request.Entries)
	}
	// Without a previous entry nothing is looked for.
	request.PrevLogEntry, request.PrevLogTerm, request.Entries = 0, 0, request.Entries[kept:]
}

// outgrown tells whether the log, joined to a newer snapshot, does not hold what follows
// the one that a leader sends: raft could not go on from there.
//
// The answer that follows may come while raft still restores the newer snapshot. What it
// claims is true by then: that snapshot is synced, so all that the late one holds is kept, and
// was committed before it was in a snapshot, so the leader counts no majority by it. What the
// leader sends next waits behind the restore in raft's main loop, and a node whose restore
// fails ends ([meter.Restore]). That the state holds it is not claimed: a revocation waits
// for an answer of raft's own, or for the end of this node's lease.
func (j *joint) outgrown(request *raft.InstallSnapshotRequest) bool {
	end := j.newest.Load()
	first, err := j.logs.FirstIndex()
	return err == nil && end != nil && request.LastLogIndex < end.index && (first == 0 || first > request.LastLogIndex+1)
}

// joinStores returns the stores as raft should see them.
func joinStores(logs raft.LogStore, snapshots raft.SnapshotStore) (*joint, raft.LogStore, raft.SnapshotStore, error) {
	metas, err := snapshots.List() // newest first
	if err != nil {
		return nil, nil, nil, fmt.Errorf("list snapshots: %w", err)
	}
	j := &joint{logs: logs}
	if len(metas) > 0 {
		if err := j.note(position{metas[0].Index, metas[0].Term}); err != nil {
			return nil, nil, nil, err
		}
	}
	return j, jointLogs{logs, j}, jointSnapshots{snapshots, j}, nil
}

// note takes note of a complete snapshot, and drops a log that ends before it does. It
// may be called concurrently.
func (j *joint) note(end position) error {
	for {
		known := j.newest.Load()
		if known != nil && known.index >= end.index {
			return nil
		}
		if j.newest.CompareAndSwap(known, &end) {
			break
		}
	}
	first, err := j.logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("find the beginning of the log: %w", err)
	}
	last, err := j.logs.LastIndex()
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	if first == 0 || last >= end.index {
		return nil
	}
	if err := j.logs.DeleteRange(first, last); err != nil {
		return fmt.Errorf("drop the log before a snapshot: %w", err)
	}
	return nil
}

// jointLogs is a log store with the entry at the joint.
type jointLogs struct {
	raft.LogStore
	joint *joint
}

// GetLog implements raft.LogStore. Of the entry at the joint only index and term are
// known. Raft asks for no more: it sends an entry only if it has the one before it.
func (l jointLogs) GetLog(index uint64, entry *raft.Log) error {
	err := l.LogStore.GetLog(index, entry)
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err //nolint:wrapcheck // raft sees the store's own error
	}
	// The first entry has none before it.
	if end := l.joint.newest.Load(); end != nil && end.index == index && index > 1 {
		*entry = raft.Log{Index: end.index, Term: end.term, Type: raft.LogNoop}
		return nil
	}
	return err //nolint:wrapcheck // raft compares it
}

// jointSnapshots is a snapshot store that tells the joint of every snapshot.
type jointSnapshots struct {
	raft.SnapshotStore
	joint *joint
}

// Create implements raft.SnapshotStore.
func (s jointSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		return nil, err //nolint:wrapcheck // raft sees the store's own error
	}
	return &jointSink{SnapshotSink: sink, joint: s.joint, end: position{index, term}}, nil
}

// jointSink is a snapshot that is being written.
type jointSink struct {
	raft.SnapshotSink
	joint    *joint
	end      position
	canceled bool
}

// Close implements raft.SnapshotSink: from then on the snapshot counts.
func (s *jointSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err //nolint:wrapcheck // raft sees the store's own error
	}
	if s.canceled {
		return nil
	}
	return s.joint.note(s.end)
}

// Cancel implements raft.SnapshotSink.
func (s *jointSink) Cancel() error {
	s.canceled = true
	return s.SnapshotSink.Cancel() //nolint:wrapcheck // raft sees the store's own error
}
