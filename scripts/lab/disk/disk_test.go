package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"jeton/scripts/lab/disk"
)

// kept counts how often a name is on the disk after a power cut.
func kept(t *testing.T, rounds int, strict bool, name string, do func(dir string)) (count int) {
	t.Helper()
	for seed := range rounds {
		d, dir := mounted(t, uint64(seed))
		d.Strict(strict)
		do(dir)
		cutPower(t, d)
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			count++
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return count
}

// What POSIX promises is kept always, what it leaves open sometimes.
func TestNamesAfterAPowerCut(t *testing.T) {
	const rounds = 12
	folder := func(dir string) string {
		if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "a/b")
	}
	for _, c := range []struct {
		name      string
		strict    bool
		do        func(dir string)
		file      string
		always    bool
		sometimes bool
	}{
		{"a file that was not synced", false, func(dir string) { write(t, dir, "f", nil, false) }, "f", false, true},
		{"a file that was synced", false, func(dir string) { write(t, dir, "f", nil, true) }, "f", true, true},
		{"a file that was synced, strictly", true, func(dir string) { write(t, dir, "f", nil, true) }, "f", false, true},
		{"a file whose folder was synced, strictly", true, func(dir string) { write(t, dir, "f", nil, false); syncDir(t, dir) }, "f", true, true},
		{"a file that was synced in new folders", false, func(dir string) { write(t, folder(dir), "f", nil, true) }, "a/b/f", true, true},
		{"a file whose folder was synced in another, strictly", true, func(dir string) { write(t, folder(dir), "f", nil, true); syncDir(t, filepath.Join(dir, "a/b")) }, "a/b/f", false, true},
		{"a rename", false, func(dir string) {
			write(t, dir, "f.tmp", nil, true)
			rename(t, dir, "f.tmp", "f")
		}, "f", false, true},
		{"a rename whose folder was synced", true, func(dir string) {
			write(t, dir, "f.tmp", nil, true)
			rename(t, dir, "f.tmp", "f")
			syncDir(t, dir)
		}, "f", true, true},
		{"a removal", true, func(dir string) {
			write(t, dir, "f", nil, true)
			syncDir(t, dir)
			remove(t, dir, "f")
		}, "f", false, true},
		{"a removal whose folder was synced", true, func(dir string) {
			write(t, dir, "f", nil, true)
			syncDir(t, dir)
			remove(t, dir, "f")
			syncDir(t, dir)
		}, "f", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			count := kept(t, rounds, c.strict, c.file, c.do)
			if c.always != (count == rounds) || c.sometimes != (count > 0) {
				t.Errorf("%s is there %d times of %d", c.file, count, rounds)
			}
		})
	}
}

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// A write is torn between sectors, never within one, and not even a process that
// maps the file sees what was lost: no cache of the kernel's survives.
func TestWritesAreTornAndNoCacheSurvives(t *testing.T) {
	const sectors = 64
	d, dir := mounted(t, 1)
	before, after := bytes.Repeat([]byte("b"), sectors*512), bytes.Repeat([]byte("a"), sectors*512)
	write(t, dir, "f", before, true)
	write(t, dir, "f", after, false)
	path := filepath.Join(dir, "f")
	if got := run(t, "map", path); !bytes.Equal(got, after) {
		t.Error("before the power cut a process does not see what was written")
	}
	cutPower(t, d)
	got := run(t, "map", path)
	lost := 0
	for i := range sectors {
		switch sector := got[i*512 : (i+1)*512]; {
		case bytes.Equal(sector, before[:512]):
			lost++
		case !bytes.Equal(sector, after[:512]):
			t.Errorf("sector %d is torn within", i)
		}
	}
	if lost == 0 || lost == sectors {
		t.Errorf("%d of %d sectors were lost", lost, sectors)
	}
	held, err := d.Read("f")
	if err != nil || !bytes.Equal(held, got) {
		t.Errorf("a process sees something else than what the disk holds: %v", err)
	}
}

// A file that grew or shrank without a sync has some size between, and what was
// beyond its end comes back as it was or as zeros.
func TestSizesAfterAPowerCut(t *testing.T) {
	for _, c := range []struct{ synced, written int }{{1000, 5000}, {5000, 1000}, {0, 3000}, {3000, 0}} {
		sizes := map[int64]bool{}
		for seed := range 15 {
			d, dir := mounted(t, uint64(seed))
			write(t, dir, "f", bytes.Repeat([]byte("b"), c.synced), true)
			if err := os.Truncate(filepath.Join(dir, "f"), int64(c.written)); err != nil {
				t.Fatal(err)
			}
			cutPower(t, d)
			content, err := os.ReadFile(filepath.Join(dir, "f"))
			if err != nil {
				t.Fatal(err)
			}
			sizes[int64(len(content))] = true
			if len(content) < min(c.synced, c.written) || len(content) > max(c.synced, c.written) {
				t.Errorf("%v: %d bytes", c, len(content))
			}
			if i := bytes.IndexByte(content[:min(len(content), c.synced, c.written)], 0); i >= 0 {
				t.Errorf("%v: byte %d is lost", c, i)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !sizes[int64(c.synced)] || !sizes[int64(c.written)] || len(sizes) < 3 {
			t.Errorf("%v: sizes %v", c, sizes)
		}
	}
}

// What raft's log store said was stored is there, whenever the power went.
func TestALogSurvivesPowerCuts(t *testing.T) {
	d, dir := mounted(t, 7)
	path := filepath.Join(dir, "raft.db")
	d.Slow(0, time.Millisecond) // so that most are hit between a write and its sync
	for round := range 8 {
		said := appendAndCut(t, d, "log", path, 10+7*round%90)
		run(t, "verify", path, strconv.FormatUint(said, 10))
	}
}

// So is what a node's own store said, from its very first moment on and where nothing but
// what POSIX promises is kept; and what a loss of power leaves is never taken for damage.
func TestANodesLogSurvivesPowerCuts(t *testing.T) {
	for seed := range 4 {
		d, dir := mounted(t, uint64(seed))
		d.Strict(seed%2 == 0)
		d.Slow(0, time.Millisecond)
		for round := range 4 {
			said := uint64(0)
			if round == 0 { // while it is made
				cmd, _ := start(t, "append", dir)
				deadline := time.Now().Add(time.Minute)
				for len(d.Files()) == 0 && time.Now().Before(deadline) {
					runtime.Gosched()
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				cutPower(t, d)
			} else {
				said = appendAndCut(t, d, "append", dir, 9*round)
			}
			run(t, "reopen", dir, strconv.FormatUint(said, 10))
		}
	}
}

// The same without syncs loses what was said, or the database.
func TestALogWithoutSyncsDoesNotSurvive(t *testing.T) {
	for seed := range 20 {
		d, dir := mounted(t, uint64(seed))
		path := filepath.Join(dir, "raft.db")
		said := appendAndCut(t, d, "log without syncs", path, 30)
		if _, err := output(t, "verify", path, strconv.FormatUint(said, 10)); err != nil {
			return
		}
	}
	t.Error("nothing was lost")
}

// appendAndCut has a process append some entries, kills it and cuts the power. It
// returns the last entry that the process said was stored.
func appendAndCut(t *testing.T, d *disk.Disk, role, path string, count int) (said uint64) {
	t.Helper()
	cmd, lines := start(t, role, path)
	for read := 0; lines.Scan(); read++ { // to the end: what it said with its last breath counts
		n, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if said = n; read == count {
			_ = cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); said == 0 {
		t.Fatal(err)
	}
	cutPower(t, d)
	return said
}

// Nothing here waits for something that waits for it, whatever happens at once.
func TestEverythingAtOnce(t *testing.T) {
	d, dir := mounted(t, 1)
	other, _ := mounted(t, 2)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	forEver := func(do func()) {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					do()
				}
			}
		})
	}
	for i := range 4 {
		path := filepath.Join(dir, strconv.Itoa(i%2))
		forEver(func() { // each step may fail: the power goes again and again
			_ = os.WriteFile(path, make([]byte, 3000), 0o600)
			_, _ = os.ReadDir(dir)
			if f, err := os.Open(path); err == nil {
				_ = errors.Join(f.Sync(), f.Close())
			}
			_ = os.Rename(path, path+"x")
		})
	}
	forEver(func() { _ = d.Flip("0", 5); _ = d.Truncate("1", 10); _ = d.Files() })
	forEver(func() { d.Slow(time.Microsecond, time.Microsecond); d.HangSyncs()(); d.Fill(100); d.Unlimited() })
	forEver(func() { d.CopyTo(other); other.CopyTo(d); _, _ = other.Read("0") })
	for range 30 {
		cutPower(t, d)
	}
	d.Wipe()
	close(stop)
	busy.Wait()
}

// The same seed and the same steps lose the same.
func TestASeedRepeatsAPowerCut(t *testing.T) {
	once := func() (found []string) {
		d, dir := mounted(t, 5)
		for i := range 20 {
			write(t, dir, fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 2000), i%2 == 0)
		}
		cutPower(t, d)
		for _, f := range d.Files() {
			content, err := d.Read(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, fmt.Sprintf("%s %x", f.Path, content))
		}
		return found
	}
	if diff := cmp.Diff(once(), once()); diff != "" {
		t.Error(diff)
	}
}

func TestAFullDisk(t *testing.T) {
	d, dir := mounted(t, 1)
	write(t, dir, "f", make([]byte, 5000), true)
	d.Fill(4096)
	path := filepath.Join(dir, "f")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 9096), 0); err != nil {
		t.Errorf("what fits: %v", err)
	}
	if _, err := f.WriteAt([]byte{1}, 9096); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("what does not fit: %v", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Bavail != 0 {
		t.Errorf("%d blocks are free: %v", fs.Bavail, err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 9096), 0); err != nil {
		t.Errorf("what was freed: %v", err)
	}
	d.Unlimited()
	if _, err := f.WriteAt(make([]byte, 100000), 0); err != nil {
		t.Errorf("after the end of the limit: %v", err)
	}
}

// A process that was killed while a sync hangs ends when the disk comes back, and
// what it did not sync is not synced.
func TestSyncsThatHang(t *testing.T) {
	d, dir := mounted(t, 1)
	release := d.HangSyncs()
	cmd, lines := start(t, "sync", filepath.Join(dir, "f"))
	if !lines.Scan() {
		t.Fatal("the helper ended")
	}
	_ = cmd.Process.Kill()
	release()
	release()
	_ = cmd.Wait()
	write(t, dir, "g", nil, true)

	d.HangSyncs()
	cmd, lines = start(t, "sync", filepath.Join(dir, "f"))
	if !lines.Scan() {
		t.Fatal("the helper ended")
	}
	cutPower(t, d) // ends the hang
	if err := cmd.Wait(); err == nil {
		t.Error("a sync that was cut off reported success")
	}
	write(t, dir, "g", nil, true)
}

func TestASlowDisk(t *testing.T) {
	d, dir := mounted(t, 1)
	const delay = 20 * time.Millisecond
	d.Slow(delay, 0)
	began := time.Now()
	write(t, dir, "f", []byte("x"), false)
	if took := time.Since(began); took < delay {
		t.Errorf("a write took %s", took)
	}
	d.Slow(0, delay)
	began = time.Now()
	write(t, dir, "f", nil, true)
	if took := time.Since(began); took < delay {
		t.Errorf("a sync took %s", took)
	}
}

func TestFilesAreFlippedTruncatedWipedAndCopied(t *testing.T) {
	d, dir := mounted(t, 1)
	if err := os.MkdirAll(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a/f", []byte("abc"), true)
	path := filepath.Join(dir, "a/f")
	read := func(path string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	_ = read(path) // so that the kernel has it cached
	if err := errors.Join(d.Flip("a/f", 8), d.Flip("a/f", 17)); err != nil {
		t.Fatal(err)
	}
	if got := read(path); got != "aca" {
		t.Errorf("after two flips: %q", got)
	}
	if err := d.Truncate("a/f", 2); err != nil {
		t.Fatal(err)
	}
	if got := string(run(t, "map", path)); got != "ac" {
		t.Errorf("truncated: %q", got)
	}
	other, otherDir := mounted(t, 2)
	write(t, otherDir, "old", nil, true)
	d.CopyTo(other)
	d.CopyTo(d)
	d.Wipe()
	cutPower(t, d)
	cutPower(t, other)
	if diff := cmp.Diff([]disk.File(nil), d.Files()); diff != "" {
		t.Errorf("after a wipe: %s", diff)
	}
	if diff := cmp.Diff([]disk.File{{Path: "a/f", Size: 2}}, other.Files()); diff != "" {
		t.Errorf("the copy: %s", diff)
	}
	if got := read(filepath.Join(otherDir, "a/f")); got != "ac" {
		t.Errorf("the copy: %q", got)
	}
	for _, err := range []error{d.Flip("a/f", 0), d.Truncate("a", 0), other.Flip("a", 0)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("not a file: %v", err)
		}
	}
	if other.Flip("a/f", 16) == nil || other.Flip("a/f", -1) == nil || other.Truncate("a/f", -1) == nil {
		t.Error("what is outside a file was changed")
	}
}

// What the kernel asks of directories is answered as any disk would.
func TestDirectories(t *testing.T) {
	_, dir := mounted(t, 1)
	for i := range 300 { // more than one answer holds
		write(t, dir, "file with a long name to fill the answer "+strconv.Itoa(i), nil, false)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 300 {
		t.Errorf("%d names: %v", len(names), err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.MkdirAll(at("a/b"), 0o700), os.Mkdir(at("c"), 0o700)); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "f", []byte("f"), false)
	write(t, dir, "g", []byte("g"), false)
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"mkdir of what is there", os.Mkdir(at("a"), 0o700), fs.ErrExist},
		{"rmdir of what is not empty", os.Remove(at("a")), unix.ENOTEMPTY},
		{"removal of nothing", os.Remove(at("x")), fs.ErrNotExist},
		{"rename of nothing", os.Rename(at("x"), at("y")), fs.ErrNotExist},
		{"rename to another directory", os.Rename(at("f"), at("a/f")), unix.EXDEV},
		{"rename over what is there", os.Rename(at("f"), at("g")), nil},
		{"rename over an empty directory", unix.Rename(at("a"), at("c")), nil},
		{"rmdir", os.Remove(at("c/b")), nil},
		{"chmod", os.Chmod(at("c"), 0o750), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	if info, err := os.Stat(at("c")); err != nil || info.Mode().Perm() != 0o750 || !info.IsDir() {
		t.Errorf("stat: %v %v", info, err)
	}
	if content, err := os.ReadFile(at("g")); err != nil || string(content) != "f" {
		t.Errorf("renamed: %q %v", content, err)
	}
}

// A disk ends although somebody uses it, and who does gets errors.
func TestCloseWithAnOpenFile(t *testing.T) {
	d, dir := mounted(t, 1)
	cmd, lines := start(t, "log", filepath.Join(dir, "raft.db"))
	if !lines.Scan() {
		t.Fatal("the helper ended")
	}
	cmd.Stderr = nil
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a process went on writing to a disk that is gone")
	}
	if err := d.PowerCut(); err == nil {
		t.Error("power was cut from a disk that is closed")
	}
	if _, err := disk.Mount(filepath.Join(dir, "nothing"), 1); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("mounted on nothing: %v", err)
	}
}
