package fsm

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTableAgainstMap adds, changes and removes, with snapshots in between that
// must not change.
func TestTableAgainstMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var table table[int]
		want := map[ref]int{}
		type shot struct {
			pages []*[pageSlots]int
			want  map[ref]int
		}
		var shots []shot
		for range rapid.IntRange(1, 50).Draw(rt, "steps") {
			many := rapid.IntRange(1, 2*pageSlots).Draw(rt, "many")
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				for range many {
					v := len(want) + 1
					r := table.add(v)
					if _, used := want[r]; used || table.has(r) != true {
						rt.Fatalf("slot %d used twice", r)
					}
					want[r] = v
				}
			case 2:
				for _, r := range slices.Sorted(maps.Keys(want))[:min(many, len(want))] {
					table.remove(r)
					delete(want, r)
				}
			case 3:
				for r := range want {
					*table.edit(r) += many
					want[r] += many
				}
			case 4:
				shots = append(shots, shot{table.snapshot(), maps.Clone(want)})
			}
		}
		if len(want) != table.used {
			rt.Fatalf("used: want %d, got %d", len(want), table.used)
		}
		got := map[ref]int{}
		table.all(func(r ref, v *int) bool { got[r] = *v; return true })
		if d := cmp.Diff(want, got); d != "" {
			rt.Fatalf("-want +got:\n%s", d)
		}
		for _, s := range shots {
			for n, page := range s.pages {
				for slot := range pageSlots {
					if page != nil && page[slot] != s.want[ref(n*pageSlots+slot+1)] {
						rt.Fatal("a snapshot changed")
					}
				}
			}
		}
	})
}

// TestTableUsesTheLowestSlot: so pages at the end become free.
func TestTableUsesTheLowestSlot(t *testing.T) {
	t.Parallel()
	var table table[int]
	for range 70 * pageSlots { // more than one word of the map of space
		table.add(1)
	}
	for _, r := range []ref{70 * pageSlots, 300, 5} {
		table.remove(r)
	}
	for _, want := range []ref{5, 300, 70 * pageSlots, 70*pageSlots + 1} {
		if got := table.add(1); got != want {
			t.Errorf("want slot %d, got %d", want, got)
		}
	}
	for r := ref(1); r <= pageSlots; r++ {
		table.remove(r)
	}
	if table.pages[0] != nil {
		t.Error("an empty page is kept")
	}
	if table.has(0) || table.has(1) || !table.has(pageSlots+1) || table.has(1<<31) {
		t.Error("has")
	}
}

func TestTableCopiesOnlyWhatIsShared(t *testing.T) {
	t.Parallel()
	var table table[int]
	r := table.add(1)
	before := table.pages[0]
	*table.edit(r) = 2
	if table.pages[0] != before {
		t.Error("copied without a snapshot")
	}
	shot := table.snapshot()
	*table.edit(r) = 3
	if table.pages[0] == before || shot[0][0] != 2 {
		t.Error("wrote to what a snapshot shares")
	}
	copied := table.pages[0]
	*table.edit(r) = 4
	if table.pages[0] != copied {
		t.Error("copied twice")
	}
	table.snapshot()
	table.unshare()
	*table.edit(r) = 5
	if table.pages[0] != copied {
		t.Error("copied for a snapshot that is gone")
	}
}

func TestTablePlace(t *testing.T) {
	t.Parallel()
	var table table[int]
	for _, c := range []struct {
		r    ref
		want bool
	}{{0, false}, {20_000, true}, {20_000, false}, {maxPages*pageSlots + 1, false}, {1, true}} {
		if got := table.place(c.r, 7); got != c.want {
			t.Errorf("place(%d): want %v, got %v", c.r, c.want, got)
		}
	}
	if got := table.add(8); got != 2 || *table.at(20_000) != 7 {
		t.Errorf("next slot %d", got)
	}
}

// hashed is an index over numbers, with a hash of the test's choice.
type hashed struct {
	index
	values []uint64
}

func newHashed(hash func(uint64) uint64) *hashed {
	h := &hashed{}
	h.index = newIndex(func(r ref) uint64 { return hash(h.values[r]) })
	return h
}

func (h *hashed) has(v uint64, hash func(uint64) uint64) bool {
	_, ok := h.find(hash(v), func(r ref) bool { return h.values[r] == v })
	return ok
}

// TestIndex fills an index until segments have split several times, thins it out
// and empties it. A bad hash costs time, not answers.
func TestIndex(t *testing.T) {
	t.Parallel()
	mix := func(v uint64) uint64 { v ^= v >> 31; v *= 0x9e3779b97f4a7c15; return v ^ v>>29 }
	hashes := map[string]struct {
		n    uint64
		hash func(uint64) uint64
	}{
		"good hash":            {100_000, mix},
		"few different":        {3_000, func(v uint64) uint64 { return mix(v % 500) }},
		"half in one segment":  {20_000, func(v uint64) uint64 { return mix(v) >> (v % 2 * 8) }},
		"all in one place":     {1_000, func(uint64) uint64 { return 0 }},
		"never a split to use": {4_000, func(v uint64) uint64 { return mix(v) >> maxDepth }},
	}
	for name, c := range hashes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHashed(c.hash)
			for v := range c.n {
				h.values = append(h.values, v)
				h.add(c.hash(v), ref(v))
			}
			check := func(has func(uint64) bool) {
				t.Helper()
				used := 0
				for v := range c.n + 100 {
					want := v < c.n && has(v)
					if got := h.has(v, c.hash); got != want {
						t.Fatalf("has(%d): want %v, got %v", v, want, got)
					}
					if want {
						used++
					}
				}
				if h.used != used {
					t.Errorf("used: want %d, got %d", used, h.used)
				}
				for i, s := range h.directory {
					if place := h.places[i]; len(place) != len(s.slots) || &place[0] != &s.slots[0] {
						t.Fatalf("entry %d of the directory leads to another place than its segment's", i)
					}
				}
			}
			check(func(uint64) bool { return true })
			for v := range c.n {
				if v%10 != 0 {
					h.remove(c.hash(v), ref(v))
				}
			}
			check(func(v uint64) bool { return v%10 == 0 })
			for v := uint64(0); v < c.n; v += 10 {
				h.remove(c.hash(v), ref(v))
			}
			check(func(uint64) bool { return false })
			for _, s := range h.directory {
				if s.size() > smallSegment {
					t.Fatalf("an empty segment of %d slots", s.size())
				}
			}
		})
	}
}

// TestIndexIsFull: the memory of a pair counts on it.
func TestIndexIsFull(t *testing.T) {
	t.Parallel()
	mix := func(v uint64) uint64 { v *= 0x9e3779b97f4a7c15; return (v ^ v>>32) * 0xd6e8feb86659fd93 }
	h := newHashed(mix)
	slots := func() (n int) {
		seen := map[*segment]bool{}
		for _, s := range h.directory {
			if !seen[s] {
				n += s.size()
			}
			seen[s] = true
		}
		return n
	}
	for v := range uint64(200_000) {
		h.values = append(h.values, v)
		h.add(mix(v), ref(v))
		if v > 20_000 && v%1000 == 0 && float64(h.used)/float64(slots()) < 0.58 {
			t.Fatalf("%d refs in %d slots", h.used, slots())
		}
	}
}

func TestIndexLoad(t *testing.T) {
	t.Parallel()
	mix := func(v uint64) uint64 { v *= 0x9e3779b97f4a7c15; return (v ^ v>>32) * 0xd6e8feb86659fd93 }
	h := newHashed(mix)
	const n = 50_000
	for v := range uint64(n) {
		h.values = append(h.values, v)
	}
	l := h.load(n, func(a, b ref) bool { return h.values[a] == h.values[b] })
	segments := len(h.directory)
	for v := range ref(n) {
		l.add(v)
	}
	if !l.flush() {
		t.Fatal("something twice")
	}
	if len(h.directory) != segments {
		t.Errorf("grew from %d to %d segments", segments, len(h.directory))
	}
	for v := range uint64(n) {
		if !h.has(v, mix) {
			t.Fatalf("%d is missing", v)
		}
	}
	h.values = append(h.values, 7)
	if l.add(n); l.flush() || h.used != n {
		t.Error("added twice")
	}
}

func TestFIFOAgainstSlice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		begin := rapid.Uint64Range(0, 3*fifoSlots).Draw(rt, "start")
		f := fifo[uint64]{start: begin, end: begin}
		var want []uint64
		var shot fifo[uint64]
		var shotWant []uint64
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			n := rapid.IntRange(0, 2*fifoSlots).Draw(rt, "n")
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0:
				for range n {
					if number := f.push(f.end * 3); number*3 != *f.at(number) {
						rt.Fatal("push")
					}
					want = append(want, (f.end-1)*3)
				}
			case 1:
				for range min(n, len(want)) {
					f.pop()
					want = want[1:]
				}
			case 2:
				shot, shotWant = f.snapshot(), slices.Clone(want)
			}
		}
		compare := func(f *fifo[uint64], want []uint64) {
			if f.len() != len(want) {
				rt.Fatalf("length: want %d, got %d", len(want), f.len())
			}
			for i, v := range want {
				if got := *f.at(f.start + uint64(i)); got != v {
					rt.Fatalf("value %d: want %d, got %d", i, v, got)
				}
			}
			if len(f.pages) > len(want)/fifoSlots+2 {
				rt.Fatalf("%d pages for %d values", len(f.pages), len(want))
			}
		}
		compare(&f, want)
		compare(&shot, shotWant)
		limit := rapid.Uint64Range(0, 12*fifoSlots*3).Draw(rt, "search")
		wantAt, _ := slices.BinarySearch(want, limit)
		if got := f.search(func(v *uint64) bool { return *v >= limit }); got != f.start+uint64(wantAt) {
			rt.Fatalf("search: want %d, got %d", f.start+uint64(wantAt), got)
		}
	})
}

// TestOperationNumbersBeyond32Bits: the index keeps the low half only.
func TestOperationNumbersBeyond32Bits(t *testing.T) {
	t.Parallel()
	s := newState()
	o := s.operations
	o.done.start, o.done.end = 1<<33-2, 1<<33-2
	for i := range byte(5) {
		o.remember(OperationID{i, 1}, start, Outcome{Reason: Reason(i)})
	}
	for i := range byte(5) {
		if got, ok := o.recall(OperationID{i, 1}); !ok || got.Reason != Reason(i) {
			t.Errorf("operation %d: %v, %v", i, got, ok)
		}
	}
	o.trim(start+OperationMemory+1, 3)
	if _, ok := o.recall(OperationID{2, 1}); ok {
		t.Error("operation 2 was not forgotten")
	}
	if got, ok := o.recall(OperationID{3, 1}); !ok || got.Reason != 3 {
		t.Errorf("operation 3: %v, %v", got, ok)
	}
}

func TestSaltOfConsumption(t *testing.T) {
	t.Parallel()
	o := newState().operations
	for i := range byte(4) {
		o.consume(ref(i+1), Salt{i + 1})
		o.remember(OperationID{i, 1}, start+UnixMilli(i/2), Outcome{Salt: Salt{i + 1}})
	}
	for _, c := range []struct {
		pair ref
		at   UnixMilli
		want Salt
	}{
		{1, start, Salt{1}},
		{2, start, Salt{2}},
		{4, start + 1, Salt{4}},
		{3, start, Salt{}},     // of another moment
		{4, start + 2, Salt{}}, // of a later moment
		{9, start, Salt{}},
	} {
		if got, ok := o.salt(c.pair, c.at); got != c.want || ok != (c.want != Salt{}) {
			t.Errorf("pair %d at %d: want %v, got %v", c.pair, c.at-start, c.want, got)
		}
	}
}

func TestPairRecord(t *testing.T) {
	t.Parallel()
	n := newPair{
		access: fill[Digest](1), refresh: fill[Digest](0x41), holder: 1<<28 - 1, createdAt: MaxMoment,
		accessExpires: MaxMoment + MaxAccessLifetime, refreshExpires: MaxMoment + MaxRefreshLifetime,
		sessionEnds: MaxMoment + MaxRefreshLifetime - 1, predecessor: 77,
	}
	p := n.record()
	p.set(refreshed)
	p.set(refreshInvalidated)
	got := newPair{
		access: p.access(), refresh: p.refresh(), holder: p.holder(), createdAt: p.createdAt(), accessExpires: p.accessExpires(),
		refreshExpires: p.refreshExpires(), sessionEnds: p.sessionEnds(), predecessor: p.linked(linkPredecessor),
	}
	if d := cmp.Diff(n, got, cmp.AllowUnexported(newPair{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if !p.is(refreshed) || !p.is(refreshInvalidated) || p.is(accessInvalidated) || p.flags()&^knownFlags != 0 {
		t.Errorf("flags %b", p.flags())
	}
	// The last moment a log can have plus the longest life still has its bucket.
	if want := uint32((MaxMoment + MaxRefreshLifetime + Retention) >> bucketBits); p.dueBucket() != want {
		t.Errorf("bucket: want %d, got %d", want, p.dueBucket())
	}
}
