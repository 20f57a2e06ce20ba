package node

import (
	"errors"
	"fmt"
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
	newest atomic.Pointer[position] // nil: no snapshot yet
}

// joinStores returns the stores as raft should see them.
func joinStores(logs raft.LogStore, snapshots raft.SnapshotStore) (raft.LogStore, raft.SnapshotStore, error) {
	metas, err := snapshots.List() // newest first
	if err != nil {
		return nil, nil, fmt.Errorf("list snapshots: %w", err)
	}
	j := &joint{}
	if len(metas) > 0 {
		j.note(position{metas[0].Index, metas[0].Term})
	}
	return jointLogs{logs, j}, jointSnapshots{snapshots, j}, nil
}

// note takes note of a complete snapshot. It may be called concurrently.
func (j *joint) note(end position) {
	for {
		known := j.newest.Load()
		if known != nil && known.index >= end.index {
			return
		}
		if j.newest.CompareAndSwap(known, &end) {
			return
		}
	}
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
	if !s.canceled {
		s.joint.note(s.end)
	}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (s *jointSink) Cancel() error {
	s.canceled = true
	return s.SnapshotSink.Cancel() //nolint:wrapcheck // raft sees the store's own error
}
