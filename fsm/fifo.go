package fsm

import "slices"

// fifoSlots is how many values a page of a fifo holds: with 24 or 28 bytes a
// value, a page is exactly one of the allocator's sizes.
const fifoSlots = 1024

// fifo keeps values in the order in which they came, each under a number that
// never changes. Pages are only appended to; so a snapshot shares them, the last
// one too, and nothing is ever copied.
type fifo[T any] struct {
	pages []*[fifoSlots]T // of the values from start on, rounded down to a page
	start uint64          // number of the oldest value
	end   uint64          // number of the next value
}

func (f *fifo[T]) len() int { return int(f.end - f.start) } //nolint:gosec // it is in memory

// at returns the value of that number, which must be there. It must not be changed.
func (f *fifo[T]) at(n uint64) *T {
	return &f.pages[n/fifoSlots-f.start/fifoSlots][n%fifoSlots]
}

// push appends a value and returns its number.
func (f *fifo[T]) push(v T) uint64 {
	n := f.end
	if int(n/fifoSlots-f.start/fifoSlots) == len(f.pages) { //nolint:gosec // it is in memory
		f.pages = append(f.pages, new([fifoSlots]T))
	}
	f.end++
	*f.at(n) = v
	return n
}

// pop forgets the oldest value.
func (f *fifo[T]) pop() {
	f.start++
	if f.start%fifoSlots == 0 {
		f.pages[0] = nil // the rest of the array keeps no page alive
		f.pages = f.pages[1:]
	}
}

// snapshot returns the values as they are now; push and pop do not change it.
func (f *fifo[T]) snapshot() fifo[T] {
	return fifo[T]{pages: slices.Clone(f.pages), start: f.start, end: f.end}
}

// search returns the number of the first value for which is holds, or end. The
// values for which it does not hold must all come before.
func (f *fifo[T]) search(is func(*T) bool) uint64 {
	low, high := f.start, f.end
	for low < high {
		middle := low + (high-low)/2
		if is(f.at(middle)) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
