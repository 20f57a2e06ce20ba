package fsm

import (
	"math/bits"
	"slices"
)

// ref names a used slot of a table: its number plus one. Zero names none.
type ref uint32

// pageSlots is how many slots a page has. A page of pairs is 48 KiB, which the
// allocator hands out without waste, and the addresses of the 19,532 pages of ten
// million pairs stay in a processor's cache. Larger pages would make the copy that
// a write to a shared page costs longer than the command.
const (
	pageSlots = 512
	maxPages  = 1 << 19 // 268 million slots; a state of that size fits no machine this is meant for
)

// table keeps values in pages, so that a snapshot costs a copy of the pages'
// addresses: a page that a snapshot shares is copied before it is written to.
// The lowest free slot is always the next to be used. So the pages at the end
// empty themselves and are let go, and which slot a value gets follows from the
// log alone, whether or not a replica was restored in between.
//
// T must be zero in free slots and only there.
type table[T any] struct {
	pages []*[pageSlots]T // nil if no slot of the page is used
	meta  []pageMeta
	space []uint64 // a bit for each page: it has a free slot
	first int      // no word of space before this one has a bit
	used  int

	generation uint64 // of what is written now
	shared     uint64 // pages of earlier generations are in a snapshot; zero: none is
}

type pageMeta struct {
	generation uint64
	used       [pageSlots / 64]uint64 // a bit for each slot
}

// slotRef names a slot of page n.
func slotRef(n, slot int) ref { return ref(n*pageSlots + slot + 1) } //nolint:gosec // at most maxPages

// at returns the slot for reading. It stays valid until the table is changed.
func (t *table[T]) at(r ref) *T {
	return &t.pages[(r-1)/pageSlots][(r-1)%pageSlots]
}

// edit returns the slot for writing. It stays valid until the next snapshot.
// What at returned for a slot of the same page before is a stale copy now.
func (t *table[T]) edit(r ref) *T {
	n := (r - 1) / pageSlots
	meta := &t.meta[n]
	if meta.generation < t.shared {
		clone := *t.pages[n]
		t.pages[n] = &clone
		meta.generation = t.generation
	}
	return &t.pages[n][(r-1)%pageSlots]
}

// add puts v into the lowest free slot.
func (t *table[T]) add(v T) ref {
	n := t.pageWithSpace()
	meta := &t.meta[n]
	for w, word := range meta.used {
		if free := ^word; free != 0 {
			r := slotRef(n, w*64+bits.TrailingZeros64(free))
			t.occupy(r)
			*t.edit(r) = v
			return r
		}
	}
	panic("fsm: page without the space it claims")
}

// occupy marks the slot as used; its page gets memory if it has none.
func (t *table[T]) occupy(r ref) {
	n, slot := (r-1)/pageSlots, (r-1)%pageSlots
	meta := &t.meta[n]
	if t.pages[n] == nil {
		t.pages[n] = new([pageSlots]T)
		meta.generation = t.generation
	}
	meta.used[slot/64] |= 1 << (slot % 64)
	if meta.full() {
		t.space[n/64] &^= 1 << (n % 64)
	}
	t.used++
}

// remove clears the slot.
func (t *table[T]) remove(r ref) {
	n, slot := int(r-1)/pageSlots, (r-1)%pageSlots
	meta := &t.meta[n]
	meta.used[slot/64] &^= 1 << (slot % 64)
	t.space[n/64] |= 1 << (n % 64)
	t.first = min(t.first, n/64)
	t.used--
	if meta.used == [pageSlots / 64]uint64{} {
		t.pages[n] = nil
		return
	}
	var zero T
	*t.edit(r) = zero
}

// pageWithSpace returns the number of the first page with a free slot.
func (t *table[T]) pageWithSpace() int {
	for ; t.first < len(t.space); t.first++ {
		if word := t.space[t.first]; word != 0 {
			n := t.first*64 + bits.TrailingZeros64(word)
			t.reach(n)
			return n
		}
	}
	if len(t.space) == maxPages/64 {
		panic("fsm: table full")
	}
	t.space = append(t.space, ^uint64(0))
	return t.pageWithSpace()
}

// has tells whether r names a used slot.
func (t *table[T]) has(r ref) bool {
	n, slot := (r-1)/pageSlots, (r-1)%pageSlots // of zero it makes a number that is too large
	return int(n) < len(t.meta) && t.meta[n].used[slot/64]&(1<<(slot%64)) != 0
}

// place puts v into that slot while a table is rebuilt. False: there is no such
// slot, or it is in use.
func (t *table[T]) place(r ref, v T) bool {
	if r == 0 || r > maxPages*pageSlots || t.has(r) {
		return false
	}
	n := int(r-1) / pageSlots
	for len(t.space) <= n/64 {
		t.space = append(t.space, ^uint64(0))
	}
	t.reach(n)
	t.occupy(r)
	*t.edit(r) = v
	return true
}

// reach makes the table so long that page n is in it.
func (t *table[T]) reach(n int) {
	for len(t.pages) <= n {
		t.pages = append(t.pages, nil)
		t.meta = append(t.meta, pageMeta{})
	}
}

// all calls visit for every used slot in order, until it returns false.
func (t *table[T]) all(visit func(ref, *T) bool) {
	for n, page := range t.pages {
		if page == nil {
			continue
		}
		for slot := range page {
			r := slotRef(n, slot)
			if t.has(r) && !visit(r, &page[slot]) {
				return
			}
		}
	}
}

// snapshot returns the pages as they are now. Nobody writes to them until
// unshare is called.
func (t *table[T]) snapshot() []*[pageSlots]T {
	t.generation++
	t.shared = t.generation
	return slices.Clone(t.pages)
}

// unshare says that no snapshot is held any more.
func (t *table[T]) unshare() { t.shared = 0 }

func (m *pageMeta) full() bool {
	for _, word := range m.used {
		if word != ^uint64(0) {
			return false
		}
	}
	return true
}
