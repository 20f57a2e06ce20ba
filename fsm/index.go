package fsm

// index finds refs by a 64-bit hash of what they stand for. It is open addressing
// with five bytes a slot (a byte of the hash to avoid most visits to the value,
// and the ref), cut into segments: a directory, selected by the hash's top bits,
// points to them (extendible hashing), and a segment grows, splits and shrinks
// alone. So no change of the state ever waits for a rehash of everything, and
// removing leaves no tombstones.
//
// The index is not part of a snapshot: it follows from the tables. What it holds
// where depends on history and on the hash's random seed, and must reach no output.
type index struct {
	hash      func(ref) uint64 // of what the ref stands for
	directory []*segment       // by the top depth bits of the hash
	places    []slots          // likewise: a search goes past the segment, which would be one more cold read
	depth     uint8
	used      int
}

type segment struct {
	slots
	used  uint32
	depth uint8 // how many bits of the hash all its refs share
}

// slots are the memory of a segment.
type slots []group

// group is eight slots that are mostly in one cache line.
type group struct {
	tags [groupSlots]uint8 // zero: free
	refs [groupSlots]ref
}

const groupSlots = 8

// A segment's sizes are close to the allocator's. At 13/16 full it grows by a
// quarter to a third, or, past the last size, splits: between 0.6 and 0.81 of the
// slots are in use, whatever the growth.
const (
	maxSegment   = 2048
	maxDepth     = 20 // bits 44 to 63 select the segment, 32 to 39 are the tag, 0 to 31 the place
	loadLimit    = 13
	loadOf       = 16
	smallSegment = 64
)

func newIndex(hash func(ref) uint64) index {
	first := newSegment(0, smallSegment)
	return index{hash: hash, directory: []*segment{first}, places: []slots{first.slots}}
}

// reserve makes an empty index ready for n refs, so that it need not grow meanwhile.
func (ix *index) reserve(n int) {
	for n>>ix.depth > maxSegment*5/8 && ix.depth < maxDepth {
		ix.depth++
	}
	ix.directory, ix.places = make([]*segment, 1<<ix.depth), make([]slots, 1<<ix.depth)
	for i := range ix.directory {
		s := newSegment(ix.depth, nextSize(n>>ix.depth))
		ix.directory[i], ix.places[i] = s, s.slots
	}
}

func newSegment(depth uint8, size int) *segment {
	return &segment{depth: depth, slots: newSlots(size)}
}

func newSlots(size int) slots { return make(slots, size/groupSlots) }

func (ix *index) segment(h uint64) *segment {
	return ix.directory[h>>(64-ix.depth)]
}

func tagOf(h uint64) uint8 { return max(1, uint8(h>>32)) } //nolint:gosec // a byte of it

// size is the number of slots.
func (s slots) size() int { return len(s) * groupSlots }

// full tells whether one more ref is too much.
func (s *segment) full() bool { return int(s.used)+1 > s.size()*loadLimit/loadOf }

// home is where the search for h begins.
func (s slots) home(h uint64) int {
	return int(h & (1<<32 - 1) * uint64(s.size()) >> 32) //nolint:gosec // less than the size
}

func (s slots) next(i int) int {
	if i++; i == s.size() {
		return 0
	}
	return i
}

// at returns what is in slot i. A tag of zero: nothing.
func (s slots) at(i int) (tag uint8, r ref) {
	g := &s[i/groupSlots]
	return g.tags[i%groupSlots], g.refs[i%groupSlots]
}

func (s slots) set(i int, tag uint8, r ref) {
	g := &s[i/groupSlots]
	g.tags[i%groupSlots], g.refs[i%groupSlots] = tag, r
}

// all calls visit with the ref in each slot in use.
func (s slots) all(visit func(ref)) {
	for i := range s.size() {
		if tag, r := s.at(i); tag != 0 {
			visit(r)
		}
	}
}

// find returns the ref with hash h of which is holds. It is zero if there is none.
func (ix *index) find(h uint64, is func(ref) bool) (ref, bool) {
	s, wanted := ix.places[h>>(64-ix.depth)], tagOf(h)
	for i := s.home(h); ; i = s.next(i) {
		tag, r := s.at(i)
		if tag == wanted && is(r) {
			return r, true
		}
		if tag == 0 {
			return 0, false
		}
	}
}

// add adds a ref that is not there.
func (ix *index) add(h uint64, r ref) {
	s := ix.segment(h)
	for s.full() {
		ix.grow(h, s)
		s = ix.segment(h)
	}
	s.put(h, r)
	ix.used++
}

func (s *segment) put(h uint64, r ref) {
	i := s.home(h)
	for tag, _ := s.at(i); tag != 0; tag, _ = s.at(i) {
		i = s.next(i)
	}
	s.set(i, tagOf(h), r)
	s.used++
}

// remove removes a ref that is there.
func (ix *index) remove(h uint64, r ref) {
	s := ix.segment(h)
	i := s.home(h)
	for tag, held := s.at(i); tag == 0 || held != r; tag, held = s.at(i) {
		i = s.next(i)
	}
	s.close(i, ix.hash)
	s.used--
	ix.used--
	if s.shrink(ix.hash) {
		ix.publish(h, s)
	}
}

// shrink gives memory back when most of it is unused, and tells whether it did.
func (s *segment) shrink(hash func(ref) uint64) bool {
	if s.size() <= smallSegment || int(s.used) >= s.size()/4 {
		return false
	}
	s.resize(nextSize(int(s.used)), hash)
	return true
}

// publish has searches find s, to which h belongs, where it is now.
func (ix *index) publish(h uint64, s *segment) {
	span := len(ix.directory) >> s.depth // entries that lead to s
	start := int(h>>(64-s.depth)) * span //nolint:gosec // at most maxDepth bits
	for i := start; i < start+span; i++ {
		ix.directory[i], ix.places[i] = s, s.slots
	}
}

// close frees slot i and moves those behind it up, so that no search ends early.
func (s slots) close(i int, hash func(ref) uint64) {
	for j := s.next(i); ; j = s.next(j) {
		tag, r := s.at(j)
		if tag == 0 {
			break
		}
		if home := s.home(hash(r)); s.distance(home, j) >= s.distance(i, j) {
			s.set(i, tag, r)
			i = j
		}
	}
	s.set(i, 0, 0)
}

// distance is how far a search goes from slot i to slot j.
func (s slots) distance(i, j int) int {
	if j < i {
		j += s.size()
	}
	return j - i
}

// grow makes room in s, to which h belongs.
func (ix *index) grow(h uint64, s *segment) {
	if s.size() < maxSegment || s.depth == maxDepth {
		s.resize(nextSize(int(s.used)+1), ix.hash)
		ix.publish(h, s)
		return
	}
	if s.depth == ix.depth {
		ix.double()
	}
	ix.split(h, s)
}

// nextSize is the smallest size that holds n refs and leaves room for more.
func nextSize(n int) int {
	for size := smallSegment; ; size *= 2 {
		for _, fit := range [...]int{size, size + size/4, size + size/2} {
			if n < fit*loadLimit/loadOf-fit/16 {
				return fit
			}
		}
	}
}

func (s *segment) resize(size int, hash func(ref) uint64) {
	old := s.slots
	s.slots, s.used = newSlots(size), 0
	old.all(func(r ref) { s.put(hash(r), r) })
}

// double doubles the directory: 32 bytes for each segment of two thousand slots.
func (ix *index) double() {
	directory, places := make([]*segment, 2*len(ix.directory)), make([]slots, 2*len(ix.directory))
	for i, s := range ix.directory {
		directory[2*i], directory[2*i+1] = s, s
		places[2*i], places[2*i+1] = s.slots, s.slots
	}
	ix.directory, ix.places = directory, places
	ix.depth++
}

// split divides s by the next bit of the hash.
func (ix *index) split(h uint64, s *segment) {
	size := nextSize(int(s.used) / 2)
	halves := [2]*segment{newSegment(s.depth+1, size), newSegment(s.depth+1, size)}
	s.all(func(r ref) {
		hash := ix.hash(r)
		half := halves[hash>>(63-s.depth)&1]
		if half.full() { // an uneven split
			half.resize(nextSize(int(half.used)+1), ix.hash)
		}
		half.put(hash, r)
	})
	for bit, half := range halves {
		half.shrink(ix.hash)
		ix.publish(h&^(1<<(63-s.depth))|uint64(bit)<<(63-s.depth), half)
	}
}
