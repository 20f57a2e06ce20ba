package disk_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	boltstore "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"jeton/node/store"
	"jeton/scripts/lab/disk"
)

// helperVariable makes the test program a process that uses a disk.
const helperVariable = "JETON_DISK_TEST_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperVariable); role != "" {
		if err := help(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func help(role string, args []string) error {
	switch role {
	case "log":
		return appendForEver(args[0], false)
	case "log without syncs":
		return appendForEver(args[0], true)
	case "append":
		return appendToStore(args[0])
	case "reopen":
		said, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return err
		}
		return reopenStore(args[0], said)
	case "verify":
		last, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return err
		}
		return verifyLog(args[0], last)
	case "map":
		return printMapped(args[0])
	case "sync":
		f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		fmt.Println("open")
		return f.Sync()
	default:
		return errors.New("no such role")
	}
}

// appendForEver appends to a log and says so after each entry.
func appendForEver(path string, noSync bool) error {
	store, err := boltstore.New(boltstore.Options{Path: path, NoSync: noSync, BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
	if err != nil {
		return err
	}
	last, err := store.LastIndex()
	if err != nil {
		return err
	}
	for index := last + 1; ; index++ {
		if err := store.StoreLog(&raft.Log{Index: index, Data: content(index)}); err != nil {
			return err
		}
		if index%100 == 0 { // pages are freed and used again, as after snapshots
			if err := store.DeleteRange(1, index-50); err != nil {
				return err
			}
		}
		fmt.Println(index)
	}
}

// appendToStore does the same with a node's own store, which it makes.
func appendToStore(dir string) error {
	log, err := store.OpenLog(filepath.Join(dir, "raft.db"))
	if err != nil {
		return err
	}
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	for index := last + 1; ; index++ {
		if err := log.StoreLog(&raft.Log{Index: index, Data: content(index)}); err != nil {
			return err
		}
		if index%100 == 0 {
			if err := log.DeleteRange(1, index-50); err != nil {
				return err
			}
		}
		fmt.Println(index)
	}
}

// reopenStore opens it again: a loss of power is no damage.
func reopenStore(dir string, said uint64) error {
	log, err := store.OpenLog(filepath.Join(dir, "raft.db"))
	if err != nil {
		return err
	}
	if last, err := log.LastIndex(); last < said || err != nil {
		return fmt.Errorf("entry %d was synced, and the log ends at %d: %w", said, last, err)
	}
	return log.Close()
}

func content(index uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%08d", index), 50+int(index%200))
}

// verifyLog opens the log and reads it: all that was said to be there must be.
func verifyLog(path string, said uint64) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error { return errors.Join(collect(tx.Check())...) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	store, err := boltstore.NewBoltStore(path)
	if err != nil {
		return err
	}
	first, err := store.FirstIndex()
	if err != nil {
		return err
	}
	last, err := store.LastIndex()
	if err != nil {
		return err
	}
	if last < said {
		return fmt.Errorf("entry %d was synced, and the log ends at %d", said, last)
	}
	for index := first; index <= last && index > 0; index++ {
		var entry raft.Log
		if err := store.GetLog(index, &entry); err != nil {
			return err
		}
		if !bytes.Equal(entry.Data, content(index)) {
			return fmt.Errorf("entry %d is not what was stored", index)
		}
	}
	fmt.Println(last)
	return store.Close()
}

func collect(errs <-chan error) (all []error) {
	for err := range errs {
		all = append(all, err)
	}
	return all
}

// printMapped prints a file as a process sees it that maps it.
func printMapped(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(mapped)
	return err
}

// helper is another process; its end is awaited when the test ends.
func helper(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+role)
	return cmd
}

// run returns what a helper printed; it must end well.
func run(t *testing.T, role string, args ...string) []byte {
	t.Helper()
	out, err := output(t, role, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// output returns what a helper printed, and what it complained about.
func output(t *testing.T, role string, args ...string) ([]byte, error) {
	t.Helper()
	var complaints bytes.Buffer
	cmd := helper(t, role, args...)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", role, args, err, complaints.String())
	}
	return out, nil
}

// start starts a helper and returns its lines.
func start(t *testing.T, role string, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := helper(t, role, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// mounted returns a disk and where it is mounted.
func mounted(t *testing.T, seed uint64) (*disk.Disk, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := disk.Mount(dir, seed)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skipf("no FUSE for us here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
			t.Errorf("still mounted: %v", err)
		}
	})
	return d, dir
}

func write(t *testing.T, dir, name string, content []byte, sync bool) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func cutPower(t *testing.T, d *disk.Disk) {
	t.Helper()
	if err := d.PowerCut(); err != nil {
		t.Fatal(err)
	}
}
