package store_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/node/store"
)

func members() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a:1"}, {Suffrage: raft.Nonvoter, ID: "b", Address: "b:1"}}}
}

func openSnapshots(t *testing.T, dir string, last uint64, stable raft.StableStore, fatal func(error)) *store.Snapshots {
	t.Helper()
	s, err := store.OpenSnapshots(dir, last, stable, hclog.NewNullLogger(), fatal)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func never(t *testing.T) func(error) {
	t.Helper()
	return func(err error) { t.Errorf("fatal: %v", err) }
}

func writeSnapshot(t *testing.T, s *store.Snapshots, index uint64, state string) {
	t.Helper()
	_, transport := raft.NewInmemTransport("")
	sink, err := s.Create(1, index, 2, members(), 3, transport)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(sink, state)
	if err := errors.Join(err, sink.Close()); err != nil {
		t.Fatal(err)
	}
}

// found is what raft would see.
func found(s *store.Snapshots) (list []string, err error) {
	metas, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, listed := range metas {
		meta, source, err := s.Open(listed.ID)
		if err != nil {
			return nil, err
		}
		state, err := io.ReadAll(source)
		if err := errors.Join(err, source.Close()); err != nil {
			return nil, err
		}
		if meta.Size != int64(len(state)) || !cmp.Equal(meta, listed) || !cmp.Equal(meta.Configuration, members()) || meta.ConfigurationIndex != 3 {
			return nil, errors.New("another description")
		}
		list = append(list, string(state))
	}
	return list, nil
}

// stableStore is one whose missing values have the error of a Log's.
type stableStore struct{ *raft.InmemStore }

func newStable() stableStore { return stableStore{raft.NewInmemStore()} }

func (s stableStore) Get(key []byte) ([]byte, error) {
	value, err := s.InmemStore.Get(key)
	if err != nil {
		return nil, store.ErrNotFound
	}
	return value, nil
}

func TestSnapshotsAreFoundAsTheyWereWritten(t *testing.T) {
	dir, stable := t.TempDir(), newStable()
	s := openSnapshots(t, dir, 0, stable, never(t))
	writeSnapshot(t, s, 10, "old")
	writeSnapshot(t, s, 20, "newer")
	writeSnapshot(t, s, 30, "newest")
	_, transport := raft.NewInmemTransport("")
	sink, err := s.Create(1, 40, 2, members(), 3, transport)
	if err := errors.Join(err, sink.Cancel(), sink.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := found(s)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"newest", "newer"}, got); diff != "" {
			t.Error(diff)
		}
		s = openSnapshots(t, dir, 0, stable, never(t))
	}
}

// A crash after a snapshot was written and before it was sealed: raft has not relied on
// it, and nobody does.
func TestASnapshotWithoutASealDoesNotExist(t *testing.T) {
	dir, stable := t.TempDir(), newStable()
	s := openSnapshots(t, dir, 0, stable, never(t))
	writeSnapshot(t, s, 10, "old")
	other := t.TempDir()
	writeSnapshot(t, openSnapshots(t, other, 0, newStable(), never(t)), 20, "not sealed")
	if err := os.CopyFS(filepath.Join(dir, "snapshots"), os.DirFS(filepath.Join(other, "snapshots"))); err != nil {
		t.Fatal(err)
	}
	s = openSnapshots(t, dir, 0, stable, never(t))
	if got, err := found(s); err != nil || !cmp.Equal(got, []string{"old"}) {
		t.Errorf("%q: %v", got, err)
	}
	writeSnapshot(t, s, 20, "sealed")
	if got, err := found(s); err != nil || !cmp.Equal(got, []string{"sealed", "old"}) {
		t.Errorf("%q: %v", got, err)
	}
}

// After a start, a snapshot of which a bit has flipped does not exist;
// and if the log does not make up for it, there is no start.
func TestEveryFlippedBitOfASnapshotIsNoticed(t *testing.T) {
	dir, stable := t.TempDir(), newStable()
	s := openSnapshots(t, dir, 0, stable, never(t))
	writeSnapshot(t, s, 10, "old")
	writeSnapshot(t, s, 20, "the state")
	metas, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"meta.json", "state.bin"} {
		path := filepath.Join(dir, "snapshots", metas[0].ID, name)
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for bit := 0; bit < len(file)*8; bit += 5 { // each bit of a byte has its turn
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			file[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(filepath.Join(copied, "snapshots", metas[0].ID, name), file, 0o600); err != nil {
				t.Fatal(err)
			}
			file[bit/8] ^= 1 << (bit % 8)
			_, err = store.OpenSnapshots(copied, 19, stable, hclog.NewNullLogger(), never(t))
			if damage := (*store.DamageError)(nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), "reached to entry 20, and what is left reaches to 19") {
				t.Fatalf("%s, bit %d, and a log that is too short: %v", name, bit, err)
			}
			got, err := found(openSnapshots(t, copied, 20, stable, never(t)))
			if err != nil || !cmp.Equal(got, []string{"old"}) {
				t.Fatalf("%s, bit %d: %q, %v", name, bit, got, err)
			}
			if _, err := os.Stat(filepath.Join(copied, "snapshots", metas[0].ID)); err == nil {
				t.Fatalf("%s, bit %d: it is still there", name, bit)
			}
		}
	}
}

// A snapshot that is damaged while the node runs ends it: it could not help those who
// need that snapshot.
func TestASnapshotThatIsDamagedLaterEndsTheNode(t *testing.T) {
	dir := t.TempDir()
	var reason error
	s := openSnapshots(t, dir, 0, newStable(), func(err error) { reason = err })
	writeSnapshot(t, s, 10, "the state")
	metas, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "snapshots", metas[0].ID, "state.bin")
	if err := os.Truncate(path, 7); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Open(metas[0].ID)
	damage := (*store.DamageError)(nil)
	if !errors.As(err, &damage) || !errors.As(reason, &damage) || !strings.Contains(damage.Error(), metas[0].ID) {
		t.Errorf("%v, fatal: %v", err, reason)
	}
}
