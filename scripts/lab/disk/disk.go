package disk

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Disk is one mounted disk. Its methods may be called concurrently, by whoever and
// whatever programs do meanwhile.
type Disk struct {
	dir string

	// turns is held while the file system is mounted or unmounted; before mu.
	turns sync.Mutex

	mu     sync.Mutex
	chance *rand.Rand
	server *fuse.Server // nil: closed
	root   *inode
	nodes  map[uint64]*inode // that the kernel may name
	last   uint64            // id that was given
	used   int64             // bytes
	limit  int64             // bytes; negative: none
	strict bool

	writeDelay, syncDelay time.Duration
	hang                  chan struct{} // not nil: syncs hang until it is closed
}

// Mount makes an empty disk and mounts it on a directory that exists. It needs
// /dev/fuse and the right to mount: root's, or that of a user namespace's root in a mount
// namespace of its own. The caller calls [Disk.Close].
func Mount(dir string, seed uint64) (*Disk, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the directory of a disk: %w", err)
	}
	d := &Disk{dir: dir, chance: rand.New(rand.NewPCG(seed, 0x6469736b)), limit: -1} //nolint:gosec // a seed repeats a run
	d.root = &inode{id: d.number(), mode: 0o700, modified: time.Now(), entries: map[string]*inode{}, kept: map[string]*inode{}}
	if err := d.mount(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Disk) number() uint64 { d.last++; return d.last }

// mount mounts what the disk holds, as a file system that the kernel knows nothing
// of. It is put in its place when it is ready.
func (d *Disk) mount() error {
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	mounted, err := detached(device)
	if err != nil {
		return errors.Join(fmt.Errorf("make a FUSE file system: %w", err), unix.Close(device))
	}
	defer func() { _ = unix.Close(mounted) }() // once it is moved, this is no part of it
	d.mu.Lock()
	d.nodes = map[uint64]*inode{d.root.id: d.root}
	d.mu.Unlock()
	server, err := fuse.NewServer(newServer(d), "/dev/fd/"+strconv.Itoa(device), &fuse.MountOptions{
		MaxWrite:           maxIO,
		DisableReadDirPlus: true,
		Logger:             log.New(io.Discard, "", 0), // answers that come after an unmount
	})
	if err != nil {
		return fmt.Errorf("serve the disk on %s: %w", d.dir, err)
	}
	go server.Serve()
	err = refusePolls(mounted)
	if err == nil {
		err = unix.MoveMount(mounted, "", unix.AT_FDCWD, d.dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return fmt.Errorf("mount a disk on %s: %w", d.dir, err) // the server ends with the last descriptor
	}
	d.mu.Lock()
	d.server = server
	d.mu.Unlock()
	return nil
}

// detached makes a file system that the owner of device serves, and returns its root.
func detached(device int) (root int, err error) {
	options, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("fsopen: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(options)) }()
	for _, o := range [][2]string{
		{"source", "jeton-lab"},
		{"subtype", "jeton-lab"},
		{"fd", strconv.Itoa(device)},
		{"rootmode", "40000"},
		{"user_id", strconv.Itoa(unix.Geteuid())},
		{"group_id", strconv.Itoa(unix.Getegid())},
		{"max_read", strconv.Itoa(maxIO)},
	} {
		if err := unix.FsconfigSetString(options, o[0], o[1]); err != nil {
			return 0, fmt.Errorf("set %s: %w", o[0], err)
		}
	}
	if err := unix.FsconfigCreate(options); err != nil {
		return 0, fmt.Errorf("create: %w", err)
	}
	root, err = unix.Fsmount(options, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return 0, fmt.Errorf("fsmount: %w", err)
	}
	return root, nil
}

// refusePolls has the kernel learn that files here cannot be polled. Otherwise Go's
// own poller would ask when this process opens one, and keep a processor that the
// answer may need.
func refusePolls(root int) error {
	fd, err := unix.Openat(root, ".go-fuse-epoll-hack", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) //nolint:gosec // a descriptor fits
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

// unmount ends the file system for whoever still uses it: their calls fail. When it
// returns, nothing changes the disk any more.
func (d *Disk) unmount() error {
	d.mu.Lock()
	d.endHang()
	server := d.server
	d.server = nil
	d.mu.Unlock()
	if server == nil {
		return nil
	}
	// The first ends what is under way, the second the mount, even if it is in use.
	err := unix.Unmount(d.dir, unix.MNT_FORCE|unix.MNT_DETACH)
	if errors.Is(err, unix.EPERM) {
		err = unix.Unmount(d.dir, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount the disk on %s: %w", d.dir, err)
	}
	server.Wait()
	return nil
}

// Close unmounts the disk and forgets what is on it. A process that still uses it
// gets errors. Closing again does nothing.
func (d *Disk) Close() error {
	d.turns.Lock()
	defer d.turns.Unlock()
	return d.unmount()
}

func (d *Disk) closed() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.server == nil }

// errClosed says that a disk was used after its end.
var errClosed = errors.New("the disk is closed")

// PowerCut takes the power and gives it back: what was not synced is kept or lost, by
// chance, and nothing is in a cache. Syncs that hang fail. Whoever used the disk should have
// been killed before; if not, all that it does there from now on fails.
func (d *Disk) PowerCut() error {
	d.turns.Lock()
	defer d.turns.Unlock()
	if d.closed() {
		return errClosed
	}
	if err := d.unmount(); err != nil {
		return err
	}
	d.mu.Lock()
	d.root.cutPower(d.chance)
	d.used = d.root.bytes()
	d.mu.Unlock()
	return d.mount()
}

// Strict decides whether an fsync keeps only what POSIX says it must: a file's
// content, and a directory's names. Off, it also keeps the names that lead to it.
func (d *Disk) Strict(on bool) { d.mu.Lock(); d.strict = on; d.mu.Unlock() }

// Slow makes every write and every sync take that much longer. Zeros end it.
func (d *Disk) Slow(write, sync time.Duration) {
	d.mu.Lock()
	d.writeDelay, d.syncDelay = write, sync
	d.mu.Unlock()
}

// HangSyncs makes every sync hang until the returned function is called, which may be
// called more than once. Those that hung then fail with EIO and have kept nothing. A
// process that is killed meanwhile ends only then, as with a real disk.
func (d *Disk) HangSyncs() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang == nil {
		d.hang = make(chan struct{})
	}
	hang := d.hang
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.hang == hang {
			d.endHang()
		}
	}
}

func (d *Disk) endHang() {
	if d.hang != nil {
		close(d.hang)
		d.hang = nil
	}
}

// Fill leaves that many bytes on the disk for files to grow; beyond, writes fail with
// ENOSPC. What is removed can be used again.
func (d *Disk) Fill(free int64) { d.mu.Lock(); d.limit = d.used + max(free, 0); d.mu.Unlock() }

// Unlimited ends [Disk.Fill].
func (d *Disk) Unlimited() { d.mu.Lock(); d.limit = -1; d.mu.Unlock() }

// grow takes bytes for a file from what is free, or gives them back. What has been
// removed and is still open takes none.
func (d *Disk) grow(n *inode, by int64) fuse.Status {
	if n.parent == nil {
		return fuse.OK
	}
	if by > 0 && d.limit >= 0 && d.used+by > d.limit {
		return fuse.Status(unix.ENOSPC)
	}
	d.used += by
	return fuse.OK
}
