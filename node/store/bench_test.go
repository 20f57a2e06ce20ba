package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	boltstore "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"jeton/node/store"
)

// benchmarkBytes is about a full batch of the proposer.
const benchmarkBytes = 16 << 10

// logStore is what the two stores that are compared have in common.
type logStore interface {
	raft.LogStore
	Close() error
}

func stores(b *testing.B, do func(b *testing.B, s logStore)) {
	b.Helper()
	for name, open := range map[string]func(path string) (logStore, error){
		"checked": func(path string) (logStore, error) { return store.OpenLog(path) },
		"raft-boltdb": func(path string) (logStore, error) {
			return boltstore.New(boltstore.Options{Path: path, BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
		},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := open(filepath.Join(b.TempDir(), "raft.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.SetBytes(benchmarkBytes)
			do(b, s)
		})
	}
}

func benchmarkEntry(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Data: bytes.Repeat([]byte{byte(index)}, benchmarkBytes)}
}

// BenchmarkStoreLog appends one entry, sync included.
func BenchmarkStoreLog(b *testing.B) {
	stores(b, func(b *testing.B, s logStore) {
		b.Helper()
		index := uint64(0)
		for b.Loop() {
			index++
			if err := s.StoreLog(benchmarkEntry(index)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGetLog reads one entry.
func BenchmarkGetLog(b *testing.B) {
	stores(b, func(b *testing.B, s logStore) {
		b.Helper()
		for index := range uint64(100) {
			if err := s.StoreLog(benchmarkEntry(index + 1)); err != nil {
				b.Fatal(err)
			}
		}
		var entry raft.Log
		for i := uint64(0); b.Loop(); i++ {
			if err := s.GetLog(1+i%100, &entry); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkVerify reads a log of 64 MiB as a start does.
func BenchmarkVerify(b *testing.B) {
	path := filepath.Join(b.TempDir(), "raft.db")
	l, err := store.OpenLog(path)
	if err != nil {
		b.Fatal(err)
	}
	for index := uint64(1); index <= 64<<20/benchmarkBytes; index += 64 {
		var batch []*raft.Log
		for i := range uint64(64) {
			batch = append(batch, benchmarkEntry(index+i))
		}
		if err := l.StoreLogs(batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		if _, err := store.Verify(path, file, info.Size(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
