package fsm

// loader adds many refs to an index, as a restore does. It does so in batches that
// it sorts by segment first: one that is in the processor's cache takes its refs
// several times as fast as one that has to be fetched for each.
type loader struct {
	index *index
	same  func(a, b ref) bool // tells whether two refs stand for the same
	batch []hashedRef
}

type hashedRef struct {
	hash uint64
	ref  ref
}

// loadBatch takes 64 MiB, twice, if there is that much to load.
const loadBatch = 1 << 22

// load makes an empty index ready for n refs.
func (ix *index) load(n int, same func(a, b ref) bool) *loader {
	ix.reserve(n)
	return &loader{index: ix, same: same, batch: make([]hashedRef, 0, min(n, loadBatch))}
}

// add takes a ref. False: what it or one before it stands for is there already.
func (l *loader) add(r ref) bool {
	l.batch = append(l.batch, hashedRef{hash: l.index.hash(r), ref: r})
	return len(l.batch) < loadBatch || l.flush()
}

// flush adds the refs that were taken to the index. It must be called in the end.
func (l *loader) flush() bool {
	for _, v := range l.sorted() {
		if _, known := l.index.find(v.hash, func(r ref) bool { return l.same(r, v.ref) }); known {
			return false
		}
		l.index.add(v.hash, v.ref)
	}
	l.batch = l.batch[:0]
	return true
}

// sorted returns the batch in the order of the directory.
func (l *loader) sorted() []hashedRef {
	shift := 64 - l.index.depth
	next := make([]int, len(l.index.directory)+1) // where the next one of each segment goes
	for _, v := range l.batch {
		next[v.hash>>shift+1]++
	}
	for i := range next[1:] {
		next[i+1] += next[i]
	}
	sorted := make([]hashedRef, len(l.batch))
	for _, v := range l.batch {
		at := &next[v.hash>>shift]
		sorted[*at] = v
		*at++
	}
	return sorted
}
