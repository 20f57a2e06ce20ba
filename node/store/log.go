package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	// openTimeout bounds the wait for the lock on the file.
	openTimeout = time.Second
	// witnessSuffix is what the name of the log's witness ends with.
	witnessSuffix = ".last"
	fileMode      = 0o600
)

// changesKey is where the head counts its changes.
const changesKey = "jeton/changes"

// ErrNotFound says that there is no such value. Its text is what raft compares with.
var ErrNotFound = errors.New("not found")

// Log is raft's log and its stable store in one file. Every write is on the disk when it
// returns, or has not happened. Errors of reads and writes wrap a [*DamageError] if the
// disk has changed what was written. Its methods may be called concurrently.
//
// The log has no gaps: an entry that does not follow the last one replaces all, since raft
// leaves out only what is in a snapshot. What raft never does is an error.
type Log struct {
	path    string
	store   *raftboltdb.BoltStore
	witness *os.File
	mu      sync.Mutex           // held during a write
	head    atomic.Pointer[head] // as it is on the disk

	damage atomic.Pointer[DamageError] // the first that was found
}

// OpenLog opens a log, or makes one if there is no file or an empty one, and reads all of it; see
// [Verify]. Nobody else may use the file. The caller closes.
func OpenLog(path string) (*Log, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		if err := createLog(path); err != nil {
			return nil, fmt.Errorf("create the log %s: %w", path, err)
		}
	}
	h, leftovers, err := verifyFile(path)
	if err != nil {
		return nil, err
	}
	witness, err := openWitness(path, h)
	if err != nil {
		return nil, err
	}
	bolt, err := openBolt(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the log %s: %w", path, err), witness.Close())
	}
	l := &Log{path: path, store: bolt, witness: witness}
	l.head.Store(h)
	if leftovers {
		if err := l.clear(h); err != nil {
			return nil, errors.Join(fmt.Errorf("open the log %s: %w", path, err), l.Close())
		}
	}
	return l, nil
}

func verifyFile(path string) (h *head, leftovers bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("open the log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("look at the log: %w", err)
	}
	return verify(path, file, info.Size(), nil)
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{ //nolint:wrapcheck // wrapped by the caller
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout: openTimeout,
			// The list of free pages is rebuilt at the start instead of being written
			// at every commit, which after a burst costs more than the commit itself.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true, // for ever: see cluster.Transport
	})
}

// createLog makes an empty log under another name first: a log is there as a whole or
// not at all, so one that cannot be read is damaged, not unfinished.
func createLog(path string) error {
	unfinished := path + ".tmp"
	for _, former := range []string{unfinished, path + witnessSuffix} {
		if err := os.Remove(former); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err //nolint:wrapcheck // wrapped by the caller
		}
	}
	bolt, err := openBolt(unfinished)
	if err != nil {
		return err
	}
	err = bolt.StoreLog((&head{}).entry())
	if err = errors.Join(err, bolt.Close()); err != nil {
		return err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	return SyncDir(filepath.Dir(path))
}

// openWitness opens the file that knows how often the log has been changed. One bit of a
// page's number can make the tree of pages that of a change ago, in which every page is
// as it was once written; then the witness knows of a newer one. It is written after each
// change and never synced: after a loss of power it may know of an older one, or nothing.
func openWitness(path string, h *head) (*os.File, error) {
	witness, err := os.OpenFile(path+witnessSuffix, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open the witness of the log: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(witness, 8+sumBytes))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the witness of the log: %w", err), witness.Close())
	}
	if seen, err := unsealed(raw); err == nil && len(seen) == 8 && binary.BigEndian.Uint64(seen) > h.changes() {
		return nil, errors.Join(&DamageError{File: path, What: "it is as it was before its last changes"}, witness.Close())
	}
	return witness, nil
}

// SyncDir makes the names in a folder as permanent as a file's content.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close closes the file. It waits for reads and writes under way. A damaged log is left
// to the end of the process, since closing it might never end.
func (l *Log) Close() error {
	if l.isDamaged() {
		return nil
	}
	if err := errors.Join(l.store.Close(), l.witness.Close()); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}

func (l *Log) isDamaged() bool { return l.damage.Load() != nil }

// damaged is what an error of bbolt's, or a panic, or a page that cannot be read, means.
func (l *Log) damaged(what any) error { return &DamageError{File: l.path, What: fmt.Sprint(what)} }

// guarded runs what trusts bbolt, which panics when it cannot go by what it finds in
// its pages, and then cannot be used any more. So damage that was found once stays.
func (l *Log) guarded(do func() error) (err error) {
	if damage := l.damage.Load(); damage != nil {
		return damage //nolint:wrapcheck // our own
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if what := recover(); what != nil {
			err = l.damaged(what)
		}
		if damage := (*DamageError)(nil); errors.As(err, &damage) {
			l.damage.Store(damage)
		}
	}()
	return do()
}

// write stores sealed entries and the head that they leave, in one transaction.
func (l *Log) write(h *head, added ...*raft.Log) error {
	changes := binary.BigEndian.AppendUint64(nil, h.changes()+1)
	h = h.with(changesKey, changes)
	if err := l.store.StoreLogs(append([]*raft.Log{h.entry()}, added...)); err != nil {
		return fmt.Errorf("write to the log: %w", err)
	}
	l.head.Store(h)
	if _, err := l.witness.WriteAt(sealed(changes), 0); err != nil {
		return fmt.Errorf("write to the witness of the log: %w", err)
	}
	return nil
}

// cut takes the entries out that a head does not speak of any more, first from what counts, then
// from the file. What is between the two when the process ends is done at the next start.
func (l *Log) cut(h *head, low, high uint64) error {
	if err := l.write(h); err != nil {
		return err
	}
	if err := l.store.DeleteRange(low, high); err != nil {
		return fmt.Errorf("delete entries %d to %d: %w", low, high, err)
	}
	return nil
}

// clear does what a process that ended had left to do.
func (l *Log) clear(h *head) error {
	return l.guarded(func() error {
		err := l.store.DeleteRange(h.last+1, math.MaxUint64)
		if h.first > 1 {
			err = errors.Join(err, l.store.DeleteRange(1, h.first-1))
		}
		return err
	})
}

// alone runs a write.
func (l *Log) alone(do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guarded(do)
}

// FirstIndex implements raft.LogStore.
func (l *Log) FirstIndex() (uint64, error) { return l.head.Load().first, nil }

// LastIndex implements raft.LogStore.
func (l *Log) LastIndex() (uint64, error) { return l.head.Load().last, nil }

// GetLog implements raft.LogStore.
func (l *Log) GetLog(index uint64, entry *raft.Log) error {
	if !l.head.Load().holds(index) {
		return raft.ErrLogNotFound
	}
	return l.guarded(func() error {
		var stored raft.Log
		err := l.store.GetLog(index, &stored)
		if err == nil {
			_, _, err = withoutSeal(&stored)
		}
		switch {
		case err == nil && stored.Index == index:
			*entry = stored
			return nil
		case errors.Is(err, raft.ErrLogNotFound) && !l.head.Load().holds(index): // taken out just now
			return raft.ErrLogNotFound
		default:
			return l.damaged(fmt.Sprintf("entry %d cannot be read", index))
		}
	})
}

// StoreLog implements raft.LogStore.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *Log) StoreLogs(added []*raft.Log) error {
	return l.alone(func() error {
		h := *l.head.Load()
		if len(added) > 0 && h.last > 0 && added[0].Index > h.last+1 {
			first, last := h.first, h.last
			h.first, h.last, h.sum = 0, 0, 0
			if err := l.cut(&h, first, last); err != nil {
				return err
			}
		}
		next := h // not the one that counts already
		stored := make([]*raft.Log, len(added))
		for i, entry := range added {
			if entry.Index == 0 || next.last > 0 && entry.Index != next.last+1 {
				return fmt.Errorf("entry %d cannot follow entry %d", entry.Index, next.last)
			}
			stored[i], next.sum = withSeal(entry, next.sum)
			if next.last = entry.Index; next.first == 0 {
				next.first = entry.Index
			}
		}
		return l.write(&next, stored...)
	})
}

// DeleteRange implements raft.LogStore. The range must reach to an end of the log.
func (l *Log) DeleteRange(low, high uint64) error {
	return l.alone(func() error {
		h := *l.head.Load()
		low, high = max(low, h.first), min(high, h.last)
		switch {
		case low > high || h.last == 0:
			return nil
		case low > h.first && high < h.last:
			return fmt.Errorf("entries %d to %d are in the middle of %d to %d", low, high, h.first, h.last)
		case low == h.first && high == h.last:
			h.first, h.last, h.sum = 0, 0, 0
		case low == h.first:
			h.first = high + 1
		default:
			var before raft.Log
			err := l.store.GetLog(low-1, &before)
			if err == nil {
				_, h.sum, err = withoutSeal(&before)
			}
			if err != nil {
				return l.damaged(fmt.Sprintf("entry %d cannot be read", low-1))
			}
			h.last = low - 1
		}
		return l.cut(&h, low, high)
	})
}

// Set implements raft.StableStore.
func (l *Log) Set(key, value []byte) error {
	return l.alone(func() error { return l.write(l.head.Load().with(string(key), value)) })
}

// Get implements raft.StableStore. The error for a missing value is [ErrNotFound].
func (l *Log) Get(key []byte) ([]byte, error) {
	value, ok := l.head.Load().values[string(key)]
	if !ok {
		return nil, ErrNotFound
	}
	return slices.Clone(value), nil
}

// SetUint64 implements raft.StableStore.
func (l *Log) SetUint64(key []byte, value uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 implements raft.StableStore.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("value %s is no number", key)
	}
	return binary.BigEndian.Uint64(value), nil
}
