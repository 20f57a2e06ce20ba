package disk

import (
	"maps"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxIO is the largest read or write in bytes that the kernel asks for at once.
	maxIO = 128 << 10
	// statfsBlocks is the size of the disk that programs are told when it has no limit.
	statfsBlocks = 1 << 20
	blockBytes   = 4096
)

// server answers the kernel. Attributes and names are never cached by it, so what the
// laboratory changes is seen at once.
type server struct {
	fuse.RawFileSystem
	disk *Disk
}

func newServer(d *Disk) *server {
	return &server{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: d}
}

// String implements fuse.RawFileSystem.
func (s *server) String() string { return "jeton-lab" }

// with runs do on a node, alone.
func (s *server) with(id uint64, do func(*inode) fuse.Status) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n := s.disk.nodes[id]
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	return do(n)
}

func (s *server) attr(n *inode, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Blksize = n.id, 1, blockBytes
	out.Uid, out.Gid = uint32(unix.Geteuid()), uint32(unix.Getegid()) //nolint:gosec // ids are not negative
	out.Mode = unix.S_IFREG | n.mode
	if n.isDir() {
		out.Mode, out.Nlink = unix.S_IFDIR|n.mode, 2
	}
	out.Size = uint64(len(n.data))
	out.Blocks = (out.Size + sectorBytes - 1) / sectorBytes
	out.SetTimes(&n.modified, &n.modified, &n.modified)
}

// entry tells the kernel of a node, which it may name from now on.
func (s *server) entry(n *inode, out *fuse.EntryOut) {
	n.lookups++
	s.disk.nodes[n.id] = n
	out.NodeId = n.id
	s.attr(n, &out.Attr)
}

// Lookup implements fuse.RawFileSystem.
func (s *server) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return s.with(header.NodeId, func(dir *inode) fuse.Status {
		n := dir.entries[name]
		if n == nil {
			return fuse.ENOENT
		}
		s.entry(n, out)
		return fuse.OK
	})
}

// Forget implements fuse.RawFileSystem.
func (s *server) Forget(id, lookups uint64) {
	s.with(id, func(n *inode) fuse.Status {
		if n.lookups -= min(lookups, n.lookups); n.lookups == 0 && n != s.disk.root {
			delete(s.disk.nodes, id)
		}
		return fuse.OK
	})
}

// GetAttr implements fuse.RawFileSystem.
func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.with(in.NodeId, func(n *inode) fuse.Status {
		s.attr(n, &out.Attr)
		return fuse.OK
	})
}

// SetAttr implements fuse.RawFileSystem.
func (s *server) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.with(in.NodeId, func(n *inode) fuse.Status {
		if size, ok := in.GetSize(); ok {
			if n.isDir() {
				return fuse.Status(unix.EISDIR)
			}
			if status := s.disk.grow(n, int64(size)-int64(len(n.data))); !status.Ok() { //nolint:gosec // the kernel's sizes fit
				return status
			}
			n.resize(int64(size), time.Now()) //nolint:gosec // see above
		}
		if mode, ok := in.GetMode(); ok {
			n.mode = mode
		}
		if modified, ok := in.GetMTime(); ok {
			n.modified = modified
		}
		s.attr(n, &out.Attr)
		return fuse.OK
	})
}

// make makes a file or a directory.
func (s *server) make(parent uint64, name string, mode uint32, directory bool, out *fuse.EntryOut) fuse.Status {
	return s.with(parent, func(dir *inode) fuse.Status {
		if dir.entries[name] != nil {
			return fuse.Status(unix.EEXIST)
		}
		n := &inode{id: s.disk.number(), mode: mode & 0o7777, modified: time.Now()}
		if directory {
			n.entries, n.kept = map[string]*inode{}, map[string]*inode{}
		}
		dir.change(change{name: name, child: n}, n.modified)
		s.entry(n, out)
		return fuse.OK
	})
}

// Mkdir implements fuse.RawFileSystem.
func (s *server) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.make(in.NodeId, name, in.Mode, true, out)
}

// Create implements fuse.RawFileSystem.
func (s *server) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return s.make(in.NodeId, name, in.Mode, false, &out.EntryOut)
}

// Unlink implements fuse.RawFileSystem.
func (s *server) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return s.with(header.NodeId, func(dir *inode) fuse.Status {
		n := dir.entries[name]
		if n == nil {
			return fuse.ENOENT
		}
		s.disk.grow(n, -int64(len(n.data)))
		dir.change(change{gone: name}, time.Now())
		return fuse.OK
	})
}

// Rmdir implements fuse.RawFileSystem.
func (s *server) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return s.with(header.NodeId, func(dir *inode) fuse.Status {
		switch n := dir.entries[name]; {
		case n == nil:
			return fuse.ENOENT
		case len(n.entries) > 0:
			return fuse.Status(unix.ENOTEMPTY)
		}
		dir.change(change{gone: name}, time.Now())
		return fuse.OK
	})
}

// Rename implements fuse.RawFileSystem.
func (s *server) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	return s.with(in.NodeId, func(dir *inode) fuse.Status {
		n, old := dir.entries[from], dir.entries[to]
		switch {
		case in.Newdir != in.NodeId:
			return fuse.Status(unix.EXDEV)
		case in.Flags&^unix.RENAME_NOREPLACE != 0:
			return fuse.EINVAL
		case n == nil:
			return fuse.ENOENT
		case old == n:
			return fuse.OK
		case old != nil && in.Flags&unix.RENAME_NOREPLACE != 0:
			return fuse.Status(unix.EEXIST)
		case old != nil && len(old.entries) > 0:
			return fuse.Status(unix.ENOTEMPTY)
		case old != nil:
			s.disk.grow(old, -int64(len(old.data)))
		}
		dir.change(change{gone: from, name: to, child: n}, time.Now())
		return fuse.OK
	})
}

// Open implements fuse.RawFileSystem.
func (s *server) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return s.with(in.NodeId, func(*inode) fuse.Status { return fuse.OK })
}

// Read implements fuse.RawFileSystem.
func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	var count int
	status := s.with(in.NodeId, func(n *inode) fuse.Status {
		count = copy(buf, n.data[min(in.Offset, uint64(len(n.data))):])
		return fuse.OK
	})
	return fuse.ReadResultData(buf[:count]), status
}

// Write implements fuse.RawFileSystem.
func (s *server) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	s.disk.mu.Lock()
	delay := s.disk.writeDelay
	s.disk.mu.Unlock()
	time.Sleep(delay)
	status := s.with(in.NodeId, func(n *inode) fuse.Status {
		offset := int64(in.Offset) //nolint:gosec // the kernel's offsets fit
		growth := max(offset+int64(len(data))-int64(len(n.data)), 0)
		if status := s.disk.grow(n, growth); !status.Ok() {
			return status
		}
		n.write(offset, data, time.Now())
		return fuse.OK
	})
	if !status.Ok() {
		return 0, status
	}
	return uint32(len(data)), fuse.OK //nolint:gosec // at most maxIO
}

// Flush implements fuse.RawFileSystem.
func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release implements fuse.RawFileSystem.
func (s *server) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// waitForDisk lets a sync take the time it takes.
func (s *server) waitForDisk() fuse.Status {
	s.disk.mu.Lock()
	delay, hang := s.disk.syncDelay, s.disk.hang
	s.disk.mu.Unlock()
	if hang != nil {
		<-hang
		return fuse.EIO
	}
	time.Sleep(delay)
	return fuse.OK
}

// Fsync implements fuse.RawFileSystem.
func (s *server) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if status := s.waitForDisk(); !status.Ok() {
		return status
	}
	return s.with(in.NodeId, func(n *inode) fuse.Status {
		n.sync()
		if !s.disk.strict {
			n.keepName()
		}
		return fuse.OK
	})
}

// FsyncDir implements fuse.RawFileSystem.
func (s *server) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if status := s.waitForDisk(); !status.Ok() {
		return status
	}
	return s.with(in.NodeId, func(n *inode) fuse.Status {
		n.keepChanges(len(n.changes))
		if !s.disk.strict {
			n.keepName()
		}
		return fuse.OK
	})
}

// OpenDir implements fuse.RawFileSystem.
func (s *server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return s.with(in.NodeId, func(*inode) fuse.Status { return fuse.OK })
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *server) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir implements fuse.RawFileSystem. The offset is the place among the sorted
// names, so who reads a directory while it changes may miss a name, or see one twice.
func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.with(in.NodeId, func(dir *inode) fuse.Status {
		names := slices.Sorted(maps.Keys(dir.entries))
		for i := in.Offset; i < uint64(len(names)); i++ {
			n := dir.entries[names[i]]
			mode := uint32(unix.S_IFREG)
			if n.isDir() {
				mode = unix.S_IFDIR
			}
			if !out.AddDirEntry(fuse.DirEntry{Mode: mode, Name: names[i], Ino: n.id, Off: i + 1}) {
				break
			}
		}
		return fuse.OK
	})
}

// Access implements fuse.RawFileSystem.
func (s *server) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// StatFs implements fuse.RawFileSystem.
func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	used := uint64(s.disk.used+blockBytes-1) / blockBytes //nolint:gosec // not negative
	out.Bsize, out.Frsize, out.NameLen = blockBytes, blockBytes, 255
	out.Blocks = max(statfsBlocks, used)
	if s.disk.limit >= 0 {
		out.Blocks = max(uint64(s.disk.limit)/blockBytes, used)
	}
	out.Bfree = out.Blocks - used
	out.Bavail = out.Bfree
	return fuse.OK
}
