package fsm

import (
	"encoding/binary"
	"hash/maphash"
)

// operations remembers the first outcome of every operation for [OperationMemory]:
// a FIFO of 24 bytes each, an index over it, and a second FIFO for what only some
// outcomes have: a salt, or counts. That second one is also where the salt of a
// successor is kept; when it goes, the window of that refresh has closed for good.
type operations struct {
	done    fifo[operation]
	answers fifo[answer] // in the order of done, with the number of the operation
	index   index        // of done, by the low half of the number
	seed    maphash.Seed
}

// operation is id (16), time (6), reason (1), bits (1).
type operation [24]byte

// answer is the operation's number (8), the pair it consumed or zero (4), and
// either a salt or three counts (16).
type answer [28]byte

const (
	bitExisted = 1 << iota
	bitSalted
	bitCounted
)

func newOperations(seed maphash.Seed) *operations {
	o := &operations{seed: seed}
	o.index = newIndex(func(r ref) uint64 { return o.hash(o.at(r).id()) })
	return o
}

func (o *operations) hash(id OperationID) uint64 { return maphash.Bytes(o.seed, id[:]) }

func (o *operation) id() OperationID { return OperationID(o[:16]) }
func (o *operation) time() UnixMilli { return moment(o[16:22]) }
func (o *operation) answered() bool  { return o[23]&(bitSalted|bitCounted) != 0 }
func (a *answer) number() uint64     { return binary.LittleEndian.Uint64(a[:8]) }
func (a *answer) pair() ref          { return ref(binary.LittleEndian.Uint32(a[8:12])) }
func (a *answer) setPair(r ref)      { binary.LittleEndian.PutUint32(a[8:], uint32(r)) }
func (a *answer) salt() Salt         { return Salt(a[12:28]) }

// number returns the full number of an operation from its low half, which is all
// the index keeps.
func (o *operations) number(r ref) uint64 {
	start := o.done.start
	return start + uint64(uint32(r)-uint32(start)) //nolint:gosec // the low half is meant
}

func (o *operations) at(r ref) *operation { return o.done.at(o.number(r)) }

// find returns the number of an operation that is remembered.
func (o *operations) find(id OperationID) (uint64, bool) {
	r, ok := o.index.find(o.hash(id), func(r ref) bool { return o.at(r).id() == id })
	return o.number(r), ok
}

// recall returns the first outcome of an operation that is remembered.
func (o *operations) recall(id OperationID) (Outcome, bool) {
	n, ok := o.find(id)
	if !ok {
		return Outcome{}, false
	}
	op := o.done.at(n)
	outcome := Outcome{Reason: Reason(op[22]), Existed: op[23]&bitExisted != 0}
	if !op.answered() {
		return outcome, true
	}
	a := o.answers.at(o.answers.search(func(a *answer) bool { return a.number() >= n }))
	if op[23]&bitSalted != 0 {
		outcome.Salt = a.salt()
		return outcome, true
	}
	outcome.Invalidated = binary.LittleEndian.Uint32(a[12:])
	outcome.PreviouslyInvalidated = binary.LittleEndian.Uint32(a[16:])
	outcome.Collected = binary.LittleEndian.Uint32(a[20:])
	return outcome, true
}

// consume notes that the operation that is being applied consumed that pair's
// refresh token. remember must follow.
func (o *operations) consume(pair ref, salt Salt) {
	o.answer(pair, func(b []byte) { copy(b, salt[:]) })
}

// answer adds an answer of the operation that is being applied.
func (o *operations) answer(pair ref, fill func([]byte)) {
	var a answer
	binary.LittleEndian.PutUint64(a[:], o.done.end)
	binary.LittleEndian.PutUint32(a[8:], uint32(pair))
	fill(a[12:])
	o.answers.push(a)
}

// remember adds the outcome of the operation that was applied.
func (o *operations) remember(id OperationID, now UnixMilli, outcome Outcome) {
	var op operation
	copy(op[:], id[:])
	putMoment(op[16:22], now)
	op[22] = byte(outcome.Reason)
	if outcome.Existed {
		op[23] |= bitExisted
	}
	switch {
	case outcome.Salt != Salt{}:
		op[23] |= bitSalted
		if last := o.answers.end; last == o.answers.start || o.answers.at(last-1).number() != o.done.end {
			o.consume(0, outcome.Salt) // a repetition: the pair was consumed by another operation
		}
	case outcome.Invalidated|outcome.PreviouslyInvalidated|outcome.Collected != 0:
		op[23] |= bitCounted
		o.answer(0, func(b []byte) {
			binary.LittleEndian.PutUint32(b, outcome.Invalidated)
			binary.LittleEndian.PutUint32(b[4:], outcome.PreviouslyInvalidated)
			binary.LittleEndian.PutUint32(b[8:], outcome.Collected)
		})
	}
	n := o.done.push(op)
	o.index.add(o.hash(id), ref(n)) //nolint:gosec // the low half is meant
}

// salt returns the salt of the successor of a pair that was consumed at that moment.
func (o *operations) salt(pair ref, at UnixMilli) (Salt, bool) {
	first := o.done.search(func(op *operation) bool { return op.time() >= at })
	n := o.answers.search(func(a *answer) bool { return a.number() >= first })
	for ; n < o.answers.end; n++ {
		a := o.answers.at(n)
		if o.done.at(a.number()).time() != at {
			break
		}
		if a.pair() == pair {
			return a.salt(), true
		}
	}
	return Salt{}, false
}

// trim forgets operations that are older than [OperationMemory], at most limit of
// them, so that a long pause is not followed by a long command.
func (o *operations) trim(now UnixMilli, limit int) {
	for ; limit > 0 && o.done.len() > 0; limit-- {
		oldest := o.done.at(o.done.start)
		if oldest.time()+OperationMemory >= now {
			return
		}
		o.index.remove(o.hash(oldest.id()), ref(o.done.start)) //nolint:gosec // the low half is meant
		if o.answers.len() > 0 && o.answers.at(o.answers.start).number() == o.done.start {
			o.answers.pop()
		}
		o.done.pop()
	}
}
