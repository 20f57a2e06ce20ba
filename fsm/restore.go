package fsm

import (
	"encoding/binary"
	"fmt"
	"io"
)

// restore reads a snapshot into a new state. It accepts only what a [State] could
// have written: besides the checksums it verifies every link and count, so that no
// file, however made, can crash the node later or make it loop. Memory beyond the
// state itself is one frame.
func restore(from io.Reader) (*State, error) {
	r, err := newFrameReader(from)
	if err != nil {
		return nil, err
	}
	s := newState()
	var sum summary
	for {
		section, items, err := r.next()
		if err != nil {
			return nil, err
		}
		if section == sectionEnd {
			break
		}
		x := codec{buf: items, reading: true}
		for len(x.buf) > 0 {
			s.readItem(&x, section, &sum)
		}
		if x.err != nil {
			return nil, fmt.Errorf("section %d: %w", section, x.err)
		}
	}
	s.restoreSummary(&sum)
	if s.summary() != sum {
		return nil, fmt.Errorf("%w: items are missing", ErrUnreadable)
	}
	x := codec{reading: true}
	s.relink(&x)
	return s, x.err
}

// readItem reads one item. It takes at least a byte or fails.
func (s *State) readItem(x *codec, section section, sum *summary) {
	h := s.pairs.holders
	switch section {
	case sectionSummary:
		sum.code(x)
		s.operations.done.start, s.operations.done.end = sum.operation, sum.operation
	case sectionRealms:
		readSlot(x, &h.realms, (*realm).code)
	case sectionOwners:
		readSlot(x, &h.owners, (*owner).code)
	case sectionHolders:
		readSlot(x, &h.held, (*holder).code)
	case sectionPairs:
		s.pairs.readRun(x)
	case sectionDue:
		if b := x.take(bucketSize); b != nil {
			s.pairs.due = append(s.pairs.due, bucket{binary.LittleEndian.Uint32(b), ref(binary.LittleEndian.Uint32(b[4:]))})
		}
	case sectionUsers:
		readSlot(x, &s.users.table, codeUser)
	case sectionRoles:
		readSlot(x, &s.roles.table, codeRole)
	case sectionOperations:
		if b := x.take(len(operation{})); b != nil {
			s.operations.done.push(operation(b))
		}
	case sectionAnswers:
		if b := x.take(len(answer{})); b != nil {
			s.operations.answers.push(answer(b))
		}
	case sectionLeases:
		var v ReadLease
		v.code(x)
		s.leases = append(s.leases, v)
	case sectionStaged:
		var chunk []byte
		x.chunk(&chunk)
		s.staged.add(chunk)
	case sectionEnd:
		fallthrough // not an item
	default:
		x.unreadable("no such section")
	}
}

func readSlot[T any](x *codec, t *table[T], code func(*T, *codec)) {
	var r ref
	var v T
	x.ref(&r)
	code(&v, x)
	x.require(x.err != nil || t.place(r, v), "slot out of range or used twice")
}

func (p *pairs) readRun(x *codec) {
	head := x.take(runHead)
	if head == nil {
		return
	}
	first, n := ref(binary.LittleEndian.Uint32(head)), ref(binary.LittleEndian.Uint32(head[4:]))
	x.require(first <= maxPages*pageSlots && n > 0 && n <= maxFrame, "run of pairs")
	for i := range n {
		b := x.take(pairSize)
		if b == nil {
			return
		}
		record := pair(b)
		x.require(record.used() && p.records.place(first+i, record), "pair without digest or in a used slot")
	}
}
