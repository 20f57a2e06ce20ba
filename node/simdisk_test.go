package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"jeton/node/store"
)

// simDisk is what a simulated member does not lose in a crash.
type simDisk struct {
	*raft.InmemStore
	slow      atomic.Int64 // each synced write takes so many nanoseconds
	mu        sync.Mutex
	snapshots []*simSnapshot // newest first
}

func newSimDisk() *simDisk { return &simDisk{InmemStore: raft.NewInmemStore()} }

// errGhost is what a process gets that was killed and has not ended yet.
var errGhost = errors.New("the process was killed")

// simSnapshot is one complete snapshot.
type simSnapshot struct {
	meta    raft.SnapshotMeta
	content []byte
}

// mount is a disk as one process sees it. After the process was killed what it
// still does changes nothing: it is a ghost that nobody hears.
type mount struct {
	*simDisk
	process *incarnation
}

func (m mount) gone() bool {
	select {
	case <-m.process.dead:
		return true
	default:
		return false
	}
}

// StoreLog implements raft.LogStore.
func (m mount) StoreLog(log *raft.Log) error { return m.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (m mount) StoreLogs(logs []*raft.Log) error {
	if m.gone() {
		return errGhost // or raft would look for what it believes to have stored
	}
	time.Sleep(time.Duration(m.slow.Load()))
	copies := make([]*raft.Log, len(logs))
	for i, log := range logs {
		m.process.member.sim.stored(m.process.member.name, log)
		clone := *log
		copies[i] = &clone
	}
	return m.InmemStore.StoreLogs(copies)
}

// DeleteRange implements raft.LogStore.
func (m mount) DeleteRange(low, high uint64) error {
	if m.gone() {
		return nil
	}
	if last, err := m.LastIndex(); err != nil || last == 0 {
		return err // the store would get out of step, where a real one has nothing to do
	}
	return m.InmemStore.DeleteRange(low, high)
}

// Set implements raft.StableStore.
func (m mount) Set(key, value []byte) error {
	if m.gone() {
		return nil
	}
	time.Sleep(time.Duration(m.slow.Load()))
	return m.InmemStore.Set(key, slices.Clone(value))
}

// SetUint64 implements raft.StableStore.
func (m mount) SetUint64(key []byte, value uint64) error {
	if m.gone() {
		return nil
	}
	if stored, err := m.GetUint64(key); err == nil && stored == value {
		return nil // as store.Watched
	}
	time.Sleep(time.Duration(m.slow.Load()))
	return m.InmemStore.SetUint64(key, value)
}

// Create implements raft.SnapshotStore.
func (m mount) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &simSink{mount: m, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// List implements raft.SnapshotStore.
func (m mount) List() (metas []*raft.SnapshotMeta, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.snapshots {
		meta := s.meta
		metas = append(metas, &meta)
	}
	return metas, nil
}

// Open implements raft.SnapshotStore.
func (m mount) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.snapshots {
		if s.meta.ID == id {
			meta := s.meta
			return &meta, io.NopCloser(bytes.NewReader(s.content)), nil
		}
	}
	return nil, nil, errors.New("no such snapshot")
}

// simSink is a snapshot that is being written. It counts only once it is closed.
type simSink struct {
	mount

	meta    raft.SnapshotMeta
	content bytes.Buffer
	ended   bool
}

func (s *simSink) Write(p []byte) (int, error) { return s.content.Write(p) }
func (s *simSink) ID() string                  { return s.meta.ID }

func (s *simSink) Cancel() error {
	s.ended = true
	return nil
}

func (s *simSink) Close() error {
	if s.ended || s.gone() {
		return nil
	}
	s.ended = true
	s.meta.Size = int64(s.content.Len())
	s.process.member.sim.snapshotted(s.process.member.name, s.meta.Index, s.content.Bytes())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots = append([]*simSnapshot{{s.meta, s.content.Bytes()}}, s.snapshots...)
	s.snapshots = s.snapshots[:min(len(s.snapshots), store.Retained)]
	return nil
}
