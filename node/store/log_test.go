package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	boltstore "github.com/hashicorp/raft-boltdb/v2"

	"jeton/node/store"
)

func open(t *testing.T, path string) *store.Log {
	t.Helper()
	l, err := store.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func entries(first, last, term uint64) (list []*raft.Log) {
	for index := first; index <= last; index++ {
		list = append(list, &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: fmt.Appendf(nil, "entry %d of term %d", index, term)})
	}
	return list
}

func put(t *testing.T, l *store.Log, list []*raft.Log) {
	t.Helper()
	if err := l.StoreLogs(list); err != nil {
		t.Fatal(err)
	}
}

// content is all that a log holds, for comparison.
func content(l *store.Log) (list []raft.Log, values []string, err error) {
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	for index := first; index > 0 && index <= last; index++ {
		var entry raft.Log
		if err := l.GetLog(index, &entry); err != nil {
			return nil, nil, err
		}
		list = append(list, entry)
	}
	for _, key := range []string{"CurrentTerm", "vote"} {
		value, err := l.Get([]byte(key))
		values = append(values, fmt.Sprintf("%x %v", value, err))
	}
	return list, values, nil
}

func indexes(t *testing.T, l *store.Log) (found []string) {
	t.Helper()
	list, _, err := content(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		found = append(found, fmt.Sprintf("%d/%d", entry.Index, entry.Term))
	}
	return found
}

// What was stored is there after the next start, every field of it.
func TestAnEntryIsKeptWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	want := []*raft.Log{
		{Index: 7, Term: 3, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("extensions"), AppendedAt: time.Unix(12, 34)},
		{Index: 8, Term: 4, Type: raft.LogNoop},
	}
	l, err := store.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, want)
	if err := errors.Join(l.Set([]byte("vote"), []byte("v")), l.SetUint64([]byte("CurrentTerm"), 5), l.Close()); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	for _, w := range want {
		var got raft.Log
		if err := l.GetLog(w.Index, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*w, got); diff != "" {
			t.Error(diff)
		}
	}
	if term, err := l.GetUint64([]byte("CurrentTerm")); term != 5 || err != nil {
		t.Errorf("term %d: %v", term, err)
	}
	if vote, err := l.Get([]byte("vote")); string(vote) != "v" || err != nil {
		t.Errorf("vote %q: %v", vote, err)
	}
	_, err = l.Get([]byte("nothing"))
	_, errNumber := l.GetUint64([]byte("vote"))
	if !errors.Is(err, store.ErrNotFound) || err.Error() != "not found" || errNumber == nil {
		t.Errorf("what is not there: %v; what is no number: %v", err, errNumber)
	}
}

// The log is what raft's steps make of it, after each start too, and a step that raft
// never takes changes nothing.
func TestTheLogHasNoGaps(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(l *store.Log) error
		want []string
		err  string
	}{
		{"nothing", func(*store.Log) error { return nil }, []string{"3/1", "4/1", "5/1", "6/1"}, ""},
		{"append", func(l *store.Log) error { return l.StoreLogs(entries(7, 8, 2)) }, []string{"3/1", "4/1", "5/1", "6/1", "7/2", "8/2"}, ""},
		{"delete the first", func(l *store.Log) error { return l.DeleteRange(1, 4) }, []string{"5/1", "6/1"}, ""},
		{"delete the last", func(l *store.Log) error { return l.DeleteRange(5, 9) }, []string{"3/1", "4/1"}, ""},
		{"replace the last", func(l *store.Log) error {
			return errors.Join(l.DeleteRange(5, 6), l.StoreLog(entries(5, 5, 2)[0]))
		}, []string{"3/1", "4/1", "5/2"}, ""},
		{"delete all", func(l *store.Log) error { return l.DeleteRange(3, 6) }, nil, ""},
		{"delete all and go on", func(l *store.Log) error {
			return errors.Join(l.DeleteRange(1, 6), l.StoreLogs(entries(9, 9, 2)))
		}, []string{"9/2"}, ""},
		{"delete nothing", func(l *store.Log) error { return errors.Join(l.DeleteRange(1, 2), l.DeleteRange(7, 9)) }, []string{"3/1", "4/1", "5/1", "6/1"}, ""},
		{"go on after a snapshot", func(l *store.Log) error { return l.StoreLogs(entries(20, 21, 2)) }, []string{"20/2", "21/2"}, ""},
		{"delete the middle", func(l *store.Log) error { return l.DeleteRange(4, 5) }, []string{"3/1", "4/1", "5/1", "6/1"}, "middle"},
		{"overwrite", func(l *store.Log) error { return l.StoreLogs(entries(6, 7, 2)) }, []string{"3/1", "4/1", "5/1", "6/1"}, "entry 6 cannot follow entry 6"},
		{"no index", func(l *store.Log) error { return l.StoreLogs(entries(0, 0, 2)) }, []string{"3/1", "4/1", "5/1", "6/1"}, "entry 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "raft.db")
			l, err := store.OpenLog(path)
			if err != nil {
				t.Fatal(err)
			}
			put(t, l, entries(3, 6, 1))
			err = c.do(l)
			if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, indexes(t, l)); diff != "" {
				t.Error(diff)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, indexes(t, open(t, path))); diff != "" {
				t.Errorf("after another start: %s", diff)
			}
			if err := open(t, filepath.Join(t.TempDir(), "other")).GetLog(2, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("an entry that is not there: %v", err)
			}
		})
	}
}

// A process that ended between taking entries out of the log and taking them out of the file
// leaves them there; the next start goes on with that.
func TestWhatWasTakenOutOfTheLogDoesNotComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	l, err := store.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, entries(3, 6, 1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	bolt, err := boltstore.NewBoltStore(path)
	if err != nil {
		t.Fatal(err)
	}
	left := append(entries(1, 2, 1), entries(7, 9, 1)...)
	if err := errors.Join(bolt.StoreLogs(left), bolt.Close()); err != nil {
		t.Fatal(err)
	}
	want := []string{"3/1", "4/1", "5/1", "6/1"}
	l, err = store.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, indexes(t, l)); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(l.StoreLogs(entries(7, 7, 2)), l.Close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(want, "7/2"), indexes(t, open(t, path))); diff != "" {
		t.Error(diff)
	}
}

// aLog is the file of a log that has lived: several levels of pages, entries of more
// than a page, pages that were freed, a vote.
func aLog(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raft.db")
	l, err := store.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for index := uint64(1); index < 250; index += 5 {
		list := entries(index, index+4, 1+index/100)
		list[0].Data = bytes.Repeat([]byte{byte(index)}, int(index)*5)
		list[1].Extensions = []byte("extensions")
		put(t, l, list)
	}
	if err := errors.Join(l.Set([]byte("vote"), []byte("a vote")), l.SetUint64([]byte("CurrentTerm"), 3),
		l.DeleteRange(1, 30), l.DeleteRange(240, 260), l.StoreLogs(entries(240, 242, 3)), l.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// flips is how many bits a test flips, one after the other: evenly spread, and not all at
// the same place in a page. With all of them the test takes minutes, and passes too.
const flips = 5_000 / raceCost

// verify returns what stands for all entries of a file.
func verify(file []byte) (digest [sha256.Size]byte, err error) {
	sum := sha256.New()
	values, err := store.Verify("raft.db", bytes.NewReader(file), int64(len(file)), func(e *raft.Log) {
		fmt.Fprintln(sum, e.Index, e.Term, e.Type, len(e.Data), len(e.Extensions))
		sum.Write(e.Data)
		sum.Write(e.Extensions)
	})
	fmt.Fprintln(sum, values)
	return [sha256.Size]byte(sum.Sum(nil)), err
}

// A bit that flips anywhere in the file is noticed, unless it is in what nobody reads.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	file := aLog(t)
	want, err := verify(file)
	if err != nil {
		t.Fatal(err)
	}
	step := len(file)*8/flips | 1
	noticed, harmless := 0, 0
	for bit := 0; bit < len(file)*8; bit += step {
		file[bit/8] ^= 1 << (bit % 8)
		got, err := verify(file)
		if damage := (*store.DamageError)(nil); errors.As(err, &damage) {
			noticed++
		} else if err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		} else if harmless++; want != got {
			t.Fatalf("bit %d changed the log, and nobody noticed", bit)
		}
		file[bit/8] ^= 1 << (bit % 8)
	}
	t.Logf("%d bits were noticed, %d did no harm", noticed, harmless)
	if noticed == 0 || harmless == 0 {
		t.Error("one of both never happened")
	}
}

// A file that was cut off, or of which a page was replaced by an older or another one,
// is noticed.
func TestLostPagesAreNoticed(t *testing.T) {
	file := aLog(t)
	want, err := verify(file)
	if err != nil {
		t.Fatal(err)
	}
	for size := 0; size < len(file); size += 512 {
		if got, err := verify(file[:size]); err == nil && want != got {
			t.Fatalf("%d bytes of %d are another log", size, len(file))
		}
	}
	const page = 4096
	noticed := 0
	for from := 0; from < len(file); from += 3 * raceCost * page {
		for to := 0; to < len(file); to += page {
			damaged := bytes.Clone(file)
			copy(damaged[to:to+page], file[from:from+page])
			got, err := verify(damaged)
			if err == nil && want != got {
				t.Fatalf("page %d in the place of page %d was not noticed", from/page, to/page)
			}
			if err != nil {
				noticed++
			}
		}
	}
	if noticed == 0 {
		t.Error("nothing was noticed")
	}
}

// A log that goes back to an earlier state in all but its newest page is noticed: the
// pages of the two are all as they were once written.
func TestAnOldTreeIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	l := open(t, path)
	put(t, l, entries(1, 40, 1))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.DeleteRange(35, 40), l.StoreLogs(entries(35, 40, 2))); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := verify(after)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for p := 2 * page; p+page <= min(len(before), len(after)); p += page {
		damaged := bytes.Clone(after)
		copy(damaged[p:p+page], before[p:p+page])
		if got, err := verify(damaged); err == nil && want != got {
			t.Errorf("the former page %d was not noticed", p/page)
		}
	}
}

// One bit in the number of a page can bring back the pages of a change ago that are still
// there, and with them a head that has not heard of the last entry, or vote. The file by
// itself is all right then.
func TestALogOfAChangeAgoIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	l, err := store.OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, entries(1, 60, 1))
	former, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Set([]byte("vote"), []byte("a vote")), l.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, former, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = store.OpenLog(path)
	if damage := (*store.DamageError)(nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), "before its last changes") {
		t.Errorf("the former log: %v", err)
	}
	// With a witness that is damaged, gone, or late, as after a loss of power, all is well.
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	late, err := os.ReadFile(path + ".last")
	if err != nil {
		t.Fatal(err)
	}
	for _, witness := range []string{"damaged", "", string(late)} {
		if err := os.WriteFile(path+".last", []byte(witness), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := store.OpenLog(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Set([]byte("vote"), []byte("another")), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// The operator learns which file it is, what is wrong, and what to do.
func TestADamagedLogIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	file := aLog(t)
	file[5*4096+100] ^= 4
	file[20]++ // the first meta page
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.OpenLog(path)
	if damage := (*store.DamageError)(nil); !errors.As(err, &damage) {
		t.Fatalf("opened: %v", err)
	}
	for _, part := range []string{path, "meta page 0", "jeton operator raft remove-peer", "empty its path.data"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}

// Damage that comes while the log is open is noticed by whoever reads it, and by no
// crash.
func TestDamageWhileTheLogIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	if err := os.WriteFile(path, aLog(t), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, path)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for page := int64(2 * 4096); page < info.Size(); page += 4096 {
		if _, err := file.WriteAt(bytes.Repeat([]byte{0xff}, 300), page); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range map[string]error{
		"read":         l.GetLog(200, new(raft.Log)),
		"write":        l.StoreLogs(entries(243, 243, 3)),
		"remove":       l.DeleteRange(31, 60),
		"set":          l.Set([]byte("vote"), nil),
		"replace":      l.DeleteRange(240, 243),
		"read the end": l.GetLog(31, new(raft.Log)),
	} {
		if damage := (*store.DamageError)(nil); !errors.As(err, &damage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A start that was interrupted while it made the log leaves none.
func TestALogThatWasNotFinishedIsMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	if err := os.WriteFile(path+".tmp", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, open(t, path), entries(1, 1, 1))
	if _, err := os.Stat(path + ".tmp"); err == nil {
		t.Error("the unfinished file is still there")
	}
}

// FuzzVerify: no damage makes the reader crash, or believe in another log.
func FuzzVerify(f *testing.F) {
	path := filepath.Join(f.TempDir(), "raft.db")
	l, err := store.OpenLog(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(l.StoreLogs(entries(3, 200, 1)), l.Set([]byte("vote"), []byte("a vote")), l.Close()); err != nil {
		f.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte("beginning"))
	f.Add(3*4096, bytes.Repeat([]byte{0xff}, 40))
	f.Add(len(file)-10, []byte("end"))
	want, err := verify(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, at int, damage []byte) {
		damaged := bytes.Clone(file)
		if at >= 0 && at < len(file) {
			copy(damaged[at:], damage)
		}
		if got, err := verify(damaged); err == nil && got != want {
			t.Errorf("%d bytes at %d were not noticed", len(damage), at)
		}
	})
}
