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
	depth     uint8
	used      int
}

type segment struct {
	depth uint8 // how many bits of the hash all its refs share
	used  int
	tags  []uint8 // zero: free
	refs  []ref
}

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
	return index{hash: hash, directory: []*segment{newSegment(0, smallSegment)}}
}

// reserve makes an empty index ready for n refs, so that it need not grow meanwhile.
func (ix *index) reserve(n int) {
	for n>>ix.depth > maxSegment*5/8 && ix.depth < maxDepth {
		ix.depth++
	}
	ix.directory = make([]*segment, 1<<ix.depth)
	for i := range ix.directory {
		ix.directory[i] = newSegment(ix.depth, nextSize(n>>ix.depth))
	}
}

func newSegment(depth uint8, size int) *segment {
	return &segment{depth: depth, tags: make([]uint8, size), refs: make([]ref, size)}
}

func (ix *index) segment(h uint64) *segment {
	return ix.directory[h>>(64-ix.depth)]
}

func tagOf(h uint64) uint8 { return max(1, uint8(h>>32)) } //nolint:gosec // a byte of it

// home is where the search for h begins.
func (s *segment) home(h uint64) int {
	return int(h & (1<<32 - 1) * uint64(len(s.refs)) >> 32) //nolint:gosec // less than the length
}

func (s *segment) next(i int) int {
	if i++; i == len(s.refs) {
		return 0
	}
	return i
}

// find returns the ref with hash h of which is holds. It is zero if there is none.
func (ix *index) find(h uint64, is func(ref) bool) (ref, bool) {
	s, tag := ix.segment(h), tagOf(h)
	for i := s.home(h); s.tags[i] != 0; i = s.next(i) {
		if s.tags[i] == tag && is(s.refs[i]) {
			return s.refs[i], true
		}
	}
	return 0, false
}

// add adds a ref that is not there.
func (ix *index) add(h uint64, r ref) {
	s := ix.segment(h)
	for s.used+1 > len(s.refs)*loadLimit/loadOf {
		ix.grow(h, s)
		s = ix.segment(h)
	}
	s.put(h, r)
	ix.used++
}

func (s *segment) put(h uint64, r ref) {
	i := s.home(h)
	for s.tags[i] != 0 {
		i = s.next(i)
	}
	s.tags[i], s.refs[i] = tagOf(h), r
	s.used++
}

// remove removes a ref that is there.
func (ix *index) remove(h uint64, r ref) {
	s := ix.segment(h)
	i := s.home(h)
	for s.refs[i] != r || s.tags[i] == 0 {
		i = s.next(i)
	}
	s.close(i, ix.hash)
	s.used--
	ix.used--
	s.shrink(ix.hash)
}

// shrink gives memory back when most of it is unused.
func (s *segment) shrink(hash func(ref) uint64) {
	if size := len(s.refs); size > smallSegment && s.used < size/4 {
		s.resize(nextSize(s.used), hash)
	}
}

// close frees slot i and moves those behind it up, so that no search ends early.
func (s *segment) close(i int, hash func(ref) uint64) {
	for j := s.next(i); s.tags[j] != 0; j = s.next(j) {
		home := s.home(hash(s.refs[j]))
		if s.distance(home, j) >= s.distance(i, j) {
			s.tags[i], s.refs[i] = s.tags[j], s.refs[j]
			i = j
		}
	}
	s.tags[i] = 0
}

// distance is how far a search goes from slot i to slot j.
func (s *segment) distance(i, j int) int {
	if j < i {
		j += len(s.refs)
	}
	return j - i
}

// grow makes room in s, to which h belongs.
func (ix *index) grow(h uint64, s *segment) {
	if len(s.refs) < maxSegment || s.depth == maxDepth {
		s.resize(nextSize(s.used+1), ix.hash)
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
	old := *s
	*s = *newSegment(old.depth, size)
	for i, tag := range old.tags {
		if tag != 0 {
			s.put(hash(old.refs[i]), old.refs[i])
		}
	}
}

// double doubles the directory: one word for each segment of two thousand slots.
func (ix *index) double() {
	directory := make([]*segment, 2*len(ix.directory))
	for i, s := range ix.directory {
		directory[2*i], directory[2*i+1] = s, s
	}
	ix.directory = directory
	ix.depth++
}

// split divides s by the next bit of the hash.
func (ix *index) split(h uint64, s *segment) {
	size := nextSize(s.used / 2)
	halves := [2]*segment{newSegment(s.depth+1, size), newSegment(s.depth+1, size)}
	for i, tag := range s.tags {
		if tag == 0 {
			continue
		}
		hash := ix.hash(s.refs[i])
		half := halves[hash>>(63-s.depth)&1]
		if half.used+1 > len(half.refs)*loadLimit/loadOf { // an uneven split
			half.resize(nextSize(half.used+1), ix.hash)
		}
		half.put(hash, s.refs[i])
	}
	for _, half := range halves {
		half.shrink(ix.hash)
	}
	span := len(ix.directory) >> s.depth // entries that point to s
	start := int(h>>(64-s.depth)) * span //nolint:gosec // at most maxDepth bits
	for i := range span {
		ix.directory[start+i] = halves[i/(span/2)]
	}
}
