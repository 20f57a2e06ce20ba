package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

const (
	entryBucket = "entries"
	headBucket  = "head"
	headKey     = "head"
)

const (
	fileMode = 0o600
	// openTimeout bounds the wait for the lock on the file.
	openTimeout = time.Second
)

// ErrNotFound says that there is no such value. Its text is what raft compares with.
var ErrNotFound = errors.New("not found")

// Log is raft's log and its stable store in one file. Every write is on the disk when it
// returns, or has not happened. Errors of reads and writes wrap a [*DamageError] if the
// disk has changed what was written. Its methods may be called concurrently.
//
// The log has no gaps: an entry that does not follow the last one replaces all, since raft
// leaves out only what is in a snapshot. What raft never does is an error.
type Log struct {
	path string
	db   *bbolt.DB
	mu   sync.Mutex           // held during a write
	head atomic.Pointer[head] // as it is on the disk

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
	h, err := verifyFile(path)
	if err != nil {
		return nil, err
	}
	db, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("open the log %s: %w", path, err)
	}
	l := &Log{path: path, db: db}
	l.head.Store(h)
	return l, nil
}

func verifyFile(path string) (h *head, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the log: %w", err)
	}
	return verify(path, file, info.Size(), nil)
}

func openBolt(path string) (*bbolt.DB, error) {
	return bbolt.Open(path, fileMode, &bbolt.Options{ //nolint:wrapcheck // wrapped by the caller
		Timeout: openTimeout,
		// The list of free pages is rebuilt at the start instead of being written
		// at every commit, which after a burst costs more than the commit itself.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
}

// createLog makes an empty log under another name first: a log is there as a whole or
// not at all, so one that cannot be read is damaged, not unfinished.
func createLog(path string) error {
	unfinished := path + ".tmp"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	db, err := openBolt(unfinished)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte(entryBucket)); err != nil {
			return err //nolint:wrapcheck // wrapped by the caller
		}
		b, err := tx.CreateBucket([]byte(headBucket))
		if err != nil {
			return err //nolint:wrapcheck // wrapped by the caller
		}
		return b.Put([]byte(headKey), (&head{}).encode())
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	return SyncDir(filepath.Dir(path))
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
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}

func (l *Log) isDamaged() bool { return l.damage.Load() != nil }

func keyOf(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

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

// update changes the file in one transaction. change returns the head that it leaves.
func (l *Log) update(change func(entries *bbolt.Bucket, h head) (*head, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changed *head
	err := l.guarded(func() error {
		return l.db.Update(func(tx *bbolt.Tx) (err error) {
			entries, heads := tx.Bucket([]byte(entryBucket)), tx.Bucket([]byte(headBucket))
			if changed, err = change(entries, *l.head.Load()); err != nil {
				return err
			}
			return heads.Put([]byte(headKey), changed.encode())
		})
	})
	if err != nil {
		return fmt.Errorf("write to the log: %w", err)
	}
	l.head.Store(changed)
	return nil
}

// FirstIndex implements raft.LogStore.
func (l *Log) FirstIndex() (uint64, error) { return l.head.Load().first, nil }

// LastIndex implements raft.LogStore.
func (l *Log) LastIndex() (uint64, error) { return l.head.Load().last, nil }

// GetLog implements raft.LogStore.
func (l *Log) GetLog(index uint64, entry *raft.Log) error {
	return l.guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) error {
			record := tx.Bucket([]byte(entryBucket)).Get(keyOf(index))
			if record == nil {
				return l.missing(tx, index)
			}
			if _, err := decodeRecord(record, entry); err != nil || entry.Index != index {
				return l.damaged(fmt.Sprintf("entry %d cannot be read", index))
			}
			return nil
		})
	})
}

// missing is why an entry is not there, by the head of the same moment.
func (l *Log) missing(tx *bbolt.Tx, index uint64) error {
	h, err := decodeHead(tx.Bucket([]byte(headBucket)).Get([]byte(headKey)))
	if err != nil || h.first <= index && index <= h.last {
		return l.damaged(fmt.Sprintf("entry %d is missing", index))
	}
	return raft.ErrLogNotFound
}

// StoreLog implements raft.LogStore.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *Log) StoreLogs(added []*raft.Log) error {
	return l.update(func(entries *bbolt.Bucket, h head) (*head, error) {
		for _, entry := range added {
			if entry.Index == 0 || entry.Index <= h.last {
				return nil, fmt.Errorf("entry %d cannot follow entry %d", entry.Index, h.last)
			}
			if entry.Index > h.last+1 && h.last > 0 {
				if err := remove(entries, h.first, h.last); err != nil {
					return nil, err
				}
				h.first, h.sum = 0, 0
			}
			record := encodeRecord(entry, h.sum)
			if err := entries.Put(keyOf(entry.Index), record); err != nil {
				return nil, err //nolint:wrapcheck // wrapped by update
			}
			if h.last, h.sum = entry.Index, sumOf(record); h.first == 0 {
				h.first = entry.Index
			}
		}
		return &h, nil
	})
}

// DeleteRange implements raft.LogStore. The range must reach to an end of the log.
func (l *Log) DeleteRange(low, high uint64) error {
	return l.update(func(entries *bbolt.Bucket, h head) (*head, error) {
		low, high = max(low, h.first), min(high, h.last)
		if low > high || h.last == 0 {
			return &h, nil
		}
		if low > h.first && high < h.last {
			return nil, fmt.Errorf("entries %d to %d are in the middle of %d to %d", low, high, h.first, h.last)
		}
		if err := remove(entries, low, high); err != nil {
			return nil, err
		}
		switch {
		case low == h.first && high == h.last:
			h.first, h.last, h.sum = 0, 0, 0
		case low == h.first:
			h.first = high + 1
		default:
			record := entries.Get(keyOf(low - 1))
			if _, err := unsealed(record); err != nil {
				return nil, l.damaged(fmt.Sprintf("entry %d cannot be read", low-1))
			}
			h.last, h.sum = low-1, sumOf(record)
		}
		return &h, nil
	})
}

// remove removes the entries from one index to another, both included.
func remove(entries *bbolt.Bucket, low, high uint64) error {
	for index := low; index <= high; index++ {
		if err := entries.Delete(keyOf(index)); err != nil {
			return err //nolint:wrapcheck // wrapped by update
		}
	}
	return nil
}

// Set implements raft.StableStore.
func (l *Log) Set(key, value []byte) error {
	return l.update(func(_ *bbolt.Bucket, h head) (*head, error) { return h.with(string(key), value), nil })
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
