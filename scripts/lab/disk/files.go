package disk

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// File is one file on a disk.
type File struct {
	Path string // from the root of the disk, with slashes
	Size int64  // bytes
}

// Files lists all files in the order of their paths.
func (d *Disk) Files() []File {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.root.files("", nil)
}

func (n *inode) files(at string, found []File) []File {
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		child, p := n.entries[name], path.Join(at, name)
		if child.isDir() {
			found = child.files(p, found)
		} else {
			found = append(found, File{p, int64(len(child.data))})
		}
	}
	return found
}

// find returns a file.
func (d *Disk) find(name string) (*inode, error) {
	n := d.root
	for part := range strings.SplitSeq(path.Clean(name), "/") {
		if n = n.entries[part]; n == nil {
			break
		}
	}
	if n == nil || n.isDir() {
		return nil, &fs.PathError{Op: "find on the disk", Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// change runs do on a file, alone, and has the kernel forget what it knows of it.
func (d *Disk) change(name string, do func(*inode) error) error {
	d.mu.Lock()
	n, err := d.find(name)
	if err == nil {
		err = do(n)
	}
	server := d.server
	d.mu.Unlock()
	if err == nil && server != nil {
		// Without the lock: the kernel waits for what is under way. That it does not
		// know the file is no failure.
		_ = server.InodeNotify(n.id, 0, 0)
	}
	return err
}

// Read returns the content of a file.
func (d *Disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(n.data), nil
}

// Flip turns one bit of a file, for good; bit counts from the file's first. It fails
// beyond the end.
func (d *Disk) Flip(name string, bit int64) error {
	return d.change(name, func(n *inode) error {
		if bit < 0 || bit/8 >= int64(len(n.data)) {
			return fmt.Errorf("flip bit %d of %s, which has %d bytes", bit, name, len(n.data))
		}
		n.data[bit/8] ^= 1 << (bit % 8)
		return nil
	})
}

// Truncate gives a file another size, for good.
func (d *Disk) Truncate(name string, size int64) error {
	return d.change(name, func(n *inode) error {
		if size < 0 {
			return fmt.Errorf("truncate %s to %d bytes", name, size)
		}
		d.used += size - int64(len(n.data))
		n.resize(size, time.Now())
		n.sync()
		return nil
	})
}

// Wipe removes everything, for good.
func (d *Disk) Wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	d.used = 0
}

func (d *Disk) clear() {
	d.root.entries, d.root.kept, d.root.changes = map[string]*inode{}, map[string]*inode{}, nil
}

// CopyTo replaces everything on another disk by what programs see on this one, for
// good.
func (d *Disk) CopyTo(other *Disk) {
	if d == other {
		return
	}
	d.mu.Lock()
	copied := &inode{entries: map[string]*inode{}, kept: map[string]*inode{}}
	d.root.clone(copied, func() uint64 { return 0 })
	d.mu.Unlock()

	other.mu.Lock()
	defer other.mu.Unlock()
	other.clear()
	copied.clone(other.root, other.number)
	other.used = other.root.bytes()
}
