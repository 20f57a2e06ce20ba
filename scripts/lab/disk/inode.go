package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// sectorBytes is what a disk writes as a whole or not at all.
const sectorBytes = 512

// inode is a file or a directory: as programs see it, and what of that is lost when
// the power goes now.
type inode struct {
	id       uint64
	mode     uint32 // permissions
	modified time.Time
	parent   *inode // nil: of the root, and of what was removed
	lookups  uint64 // of the kernel, which may name it by its id until it forgets them

	// Of a file.
	data   []byte
	before map[int64][]byte // sectors as they were at the last sync, if changed since
	synced int64            // size at the last sync

	// Of a directory; nil for a file.
	entries map[string]*inode
	kept    map[string]*inode // entries at the last sync
	changes []change          // since then
}

// change is one step in a directory. Both names are set by a rename.
type change struct {
	gone  string
	name  string
	child *inode
}

func (c change) apply(entries map[string]*inode) {
	if c.gone != "" {
		delete(entries, c.gone)
	}
	if c.name != "" {
		entries[c.name] = c.child
	}
}

func (n *inode) isDir() bool { return n.entries != nil }

// change does one step in a directory.
func (n *inode) change(c change, now time.Time) {
	if old := n.entries[c.gone]; old != nil && old != c.child {
		old.parent = nil
	}
	if old := n.entries[c.name]; old != nil && old != c.child {
		old.parent = nil
	}
	c.apply(n.entries)
	if c.child != nil {
		c.child.parent = n
	}
	n.changes = append(n.changes, c)
	n.modified = now
}

// keepChanges makes the first changes of a directory permanent.
func (n *inode) keepChanges(count int) {
	for _, c := range n.changes[:count] {
		c.apply(n.kept)
	}
	n.changes = slices.Delete(n.changes, 0, count)
}

// keepName makes the names permanent that lead from the root to n.
func (n *inode) keepName() {
	for ; n.parent != nil; n = n.parent {
		dir := n.parent
		for i, c := range slices.Backward(dir.changes) {
			if c.child == n {
				dir.keepChanges(i + 1)
				break
			}
		}
	}
}

// remember keeps the sectors from one offset to another as they were at the last
// sync, before they are changed.
func (n *inode) remember(from, to int64) {
	for s := from / sectorBytes; s*sectorBytes < to; s++ {
		if _, changed := n.before[s]; changed {
			continue
		}
		if n.before == nil {
			n.before = map[int64][]byte{}
		}
		n.before[s] = slices.Clone(n.sector(s))
	}
}

// sector is what the file holds of a sector.
func (n *inode) sector(s int64) []byte {
	size := int64(len(n.data))
	return n.data[min(s*sectorBytes, size):min((s+1)*sectorBytes, size)]
}

func (n *inode) write(offset int64, data []byte, now time.Time) {
	end := offset + int64(len(data))
	n.remember(offset, end)
	n.data = resized(n.data, max(end, int64(len(n.data))))
	copy(n.data[offset:], data)
	n.modified = now
}

func (n *inode) resize(size int64, now time.Time) {
	n.remember(size, int64(len(n.data)))
	n.data = resized(n.data, size)
	n.modified = now
}

// resized returns data with another size, and zeros where it grew.
func resized(data []byte, size int64) []byte {
	have := int64(len(data))
	if size <= have {
		clear(data[size:]) // it may grow again
		return data[:size]
	}
	data = slices.Grow(data, int(size-have))[:size]
	clear(data[have:])
	return data
}

// sync makes a file's content permanent.
func (n *inode) sync() {
	n.before, n.synced = nil, int64(len(n.data))
}

// cutPower takes everything below a directory back to what is left of it.
func (n *inode) cutPower(chance *rand.Rand) {
	n.keepChanges(chance.IntN(len(n.changes) + 1))
	n.changes = nil
	n.entries = maps.Clone(n.kept)
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		child := n.entries[name]
		child.parent = n
		if child.isDir() {
			child.cutPower(chance)
		} else {
			child.loseSectors(chance)
		}
	}
}

func (n *inode) loseSectors(chance *rand.Rand) {
	size := int64(len(n.data))
	switch low, high := min(size, n.synced), max(size, n.synced); chance.IntN(3) {
	case 0:
		size = n.synced
	case 1:
		size = min(high, (low+chance.Int64N(high-low+1)+sectorBytes-1)/sectorBytes*sectorBytes)
	}
	lost := make([]int64, 0, len(n.before))
	for _, s := range slices.Sorted(maps.Keys(n.before)) {
		if chance.IntN(2) == 0 {
			lost = append(lost, s)
		}
	}
	n.data = resized(n.data, size)
	for _, s := range lost {
		now := n.sector(s)
		clear(now[copy(now, n.before[s]):])
	}
	n.sync()
}

// bytes is what everything at and below n takes.
func (n *inode) bytes() int64 {
	sum := int64(len(n.data))
	for _, child := range n.entries {
		sum += child.bytes()
	}
	return sum
}

// clone copies everything below a directory to another one, for good.
func (n *inode) clone(to *inode, number func() uint64) {
	for name, child := range n.entries {
		c := &inode{id: number(), mode: child.mode, modified: child.modified, parent: to}
		if child.isDir() {
			c.entries, c.kept = map[string]*inode{}, map[string]*inode{}
			child.clone(c, number)
		} else {
			c.data = slices.Clone(child.data)
			c.sync()
		}
		to.entries[name], to.kept[name] = c, c
	}
}
