package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	snapshotFolder = "snapshots" // of raft.FileSnapshotStore
	metaFile       = "meta.json" // what describes a snapshot, with the checksum of the state
	// Retained is how many snapshots are kept: one more than needed, should the newest be
	// damaged.
	Retained = 2
)

// sealKey is where the stable store keeps the seals of the newest snapshots.
var sealKey = []byte("jeton/snapshots")

// snapshotSeal vouches for the file that describes a snapshot.
type snapshotSeal struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"`
	Sum   uint32 `json:"sum"`
}

// Snapshots is raft's file snapshot store, with what that lacks: a checksum over what
// describes a snapshot (where in the log it ends, who the members are). It is kept in
// the stable store, and a snapshot counts from then on.
//
// A snapshot that is not as it was written is removed, and raft goes on from an older one, if
// there is any that the log reaches back to. Damage that shows only when somebody
// opens a snapshot later is handed to a function that is to end the process. Methods may
// be called concurrently.
type Snapshots struct {
	*raft.FileSnapshotStore
	path   string
	stable raft.StableStore
	fatal  func(error)

	mu    sync.Mutex
	seals []snapshotSeal // newest first
}

// OpenSnapshots opens the snapshots in a data folder and reads them all. A
// [*DamageError] says that they and the log, which knows its last index, do not reach as far
// any more as they once did: the member would have forgotten what it helped to commit. Fatal
// is called when a snapshot that was good is found damaged.
func OpenSnapshots(dir string, last uint64, stable raft.StableStore, log hclog.Logger, fatal func(error)) (*Snapshots, error) {
	inner, err := raft.NewFileSnapshotStoreWithLogger(dir, Retained, log)
	if err == nil {
		err = SyncDir(dir) // for the name of the folder of snapshots
	}
	if err != nil {
		return nil, err
	}
	s := &Snapshots{FileSnapshotStore: inner, path: filepath.Join(dir, snapshotFolder), stable: stable, fatal: fatal}
	raw, err := stable.Get(sealKey)
	if err == nil {
		err = json.Unmarshal(raw, &s.seals)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read the seals of the snapshots: %w", err)
	}
	var relied, reach uint64
	for _, known := range slices.Clone(s.seals) {
		relied = max(relied, known.Index)
		if err := s.read(known); err != nil {
			log.Error("a snapshot is damaged and goes unused; the disk may be failing", "id", known.ID, "error", err)
			s.seals = slices.DeleteFunc(s.seals, func(other snapshotSeal) bool { return other == known })
			continue
		}
		reach = max(reach, known.Index)
	}
	if max(reach, last) < relied {
		return nil, &DamageError{File: s.path, What: fmt.Sprintf("a snapshot reached to entry %d, and what is left reaches to %d", relied, max(reach, last))}
	}
	return s, s.clear()
}

// clear removes what is of no use to anybody: snapshots that are damaged, or were not
// finished.
func (s *Snapshots) clear() error {
	found, err := os.ReadDir(s.path)
	if err != nil {
		return fmt.Errorf("look at the snapshots: %w", err)
	}
	for _, entry := range found {
		if _, sealed := s.seal(entry.Name()); !sealed {
			if err := os.RemoveAll(filepath.Join(s.path, entry.Name())); err != nil {
				return fmt.Errorf("remove a snapshot that is no use: %w", err)
			}
		}
	}
	return nil
}

// read reads a whole snapshot.
func (s *Snapshots) read(known snapshotSeal) error {
	_, source, err := s.open(known)
	if err != nil {
		return err
	}
	return source.Close() //nolint:wrapcheck // the caller says more
}

// open reads a whole snapshot, and returns it to be read once more.
func (s *Snapshots) open(known snapshotSeal) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if sum, err := s.sumOf(known.ID); err != nil || sum != known.Sum {
		return nil, nil, errors.Join(errors.New("what describes it is not as it was written"), err)
	}
	return s.FileSnapshotStore.Open(known.ID) //nolint:wrapcheck // the caller says more
}

func (s *Snapshots) sumOf(id string) (uint32, error) {
	raw, err := os.ReadFile(filepath.Join(s.path, id, metaFile))
	return checksum(raw), err
}

// seal returns the seal of a snapshot.
func (s *Snapshots) seal(id string) (snapshotSeal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.seals, func(known snapshotSeal) bool { return known.ID == id })
	if i < 0 {
		return snapshotSeal{}, false
	}
	return s.seals[i], true
}

// List implements raft.SnapshotStore.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.FileSnapshotStore.List()
	if err != nil {
		return nil, fmt.Errorf("list the snapshots: %w", err)
	}
	return slices.DeleteFunc(metas, func(meta *raft.SnapshotMeta) bool {
		known, sealed := s.seal(meta.ID)
		sum, err := s.sumOf(meta.ID)
		return !sealed || err != nil || sum != known.Sum
	}), nil
}

// Open implements raft.SnapshotStore. It reads the whole snapshot first.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	known, sealed := s.seal(id)
	if !sealed {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", id, os.ErrNotExist)
	}
	meta, source, err := s.open(known)
	if err != nil {
		err = &DamageError{File: filepath.Join(s.path, id), What: err.Error()}
		s.fatal(err)
		return nil, nil, err
	}
	return meta, source, nil
}

// Create implements raft.SnapshotStore.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	inner, err := s.FileSnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		return nil, err //nolint:wrapcheck // raft sees the store's own error
	}
	return &sink{SnapshotSink: inner, store: s, index: index}, nil
}

// sink is a snapshot that is being written.
type sink struct {
	raft.SnapshotSink
	store *Snapshots
	index uint64
	ended bool
}

// Close implements raft.SnapshotSink.
func (k *sink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if err := k.SnapshotSink.Close(); err != nil {
		return err //nolint:wrapcheck // raft sees the store's own error
	}
	// Raft's own store leaves the names in the snapshot's folder to the file system.
	if err := SyncDir(filepath.Join(k.store.path, k.ID())); err != nil {
		return fmt.Errorf("sync a snapshot: %w", err)
	}
	sum, err := k.store.sumOf(k.ID())
	if err != nil {
		return fmt.Errorf("read a snapshot again: %w", err)
	}
	return k.store.add(snapshotSeal{k.ID(), k.index, sum})
}

func (s *Snapshots) add(known snapshotSeal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seals := append([]snapshotSeal{known}, s.seals...)
	seals = seals[:min(len(seals), Retained)]
	raw, err := json.Marshal(seals)
	if err == nil {
		err = s.stable.Set(sealKey, raw)
	}
	if err != nil {
		return fmt.Errorf("seal a snapshot: %w", err)
	}
	s.seals = seals
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	k.ended = true
	return k.SnapshotSink.Cancel() //nolint:wrapcheck // raft sees the store's own error
}
