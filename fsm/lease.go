package fsm

import (
	"cmp"
	"slices"
)

// Lease lets a node answer reads from its own copy of the state for a while: once
// the node has applied the command, it may do so until Span after the moment at which
// it asked. The leader that appends it counts the time itself before it acknowledges
// a revocation that the node has not appended; see node/DESIGN.md, "Read leases".
type Lease struct {
	Header
	Holder string // the raft server id
	Boot   uint64 // counts the starts of the holder's process: after a restart old leases are void
	Number uint64 // counts the holder's requests since then
	Span   int64  // milliseconds, at most MaxLease
}

// Kind implements [Command].
func (Lease) Kind() Kind { return KindLease }

func (c Lease) code(x *codec) Command {
	x.header(&c.Header)
	x.lease(&c.Holder, &c.Boot, &c.Number, &c.Span)
	return c
}

func (x *codec) lease(holder *string, boot, number *uint64, span *int64) {
	text(x, holder, MaxNameBytes)
	x.require(*holder != "", "no holder")
	x.uint(boot, 1<<64-1)
	x.uint(number, 1<<64-1)
	x.millis(span, MaxLease)
	x.require(*span > 0, "no span")
}

func (c Lease) apply(s *State) Outcome {
	s.leases.put(ReadLease{Holder: c.Holder, Boot: c.Boot, Number: c.Number, Span: c.Span, Index: s.applied})
	return Outcome{}
}

// ReadLease is the newest lease of one holder. A new leader must assume that the
// holder uses it, whoever granted it.
type ReadLease struct {
	Holder string
	Boot   uint64
	Number uint64
	Span   int64  // milliseconds
	Index  uint64 // of the entry
}

// leases are the newest lease of each holder, in the order of their names.
type leases []ReadLease

// maxLeases bounds the memory of members that are gone. What is dropped is the one
// that was granted longest ago, before those of more members than a cluster has.
const maxLeases = 64

func (l *leases) find(holder string) (int, bool) {
	return slices.BinarySearchFunc(*l, holder, func(v ReadLease, name string) int { return cmp.Compare(v.Holder, name) })
}

// put replaces the holder's lease, unless it was asked for after this one: what a former
// process still sent, and arrives late, must not hide what the present one relies on. It
// leaves slices alone that were handed out.
func (l *leases) put(v ReadLease) {
	i, known := l.find(v.Holder)
	if known && cmp.Or(cmp.Compare(v.Boot, (*l)[i].Boot), cmp.Compare(v.Number, (*l)[i].Number)) < 0 {
		return
	}
	next := slices.Clone(*l)
	if known {
		next[i] = v
	} else {
		next = slices.Insert(next, i, v)
	}
	if len(next) > maxLeases {
		oldest := 0
		for i := range next {
			if next[i].Index < next[oldest].Index {
				oldest = i
			}
		}
		next = slices.Delete(next, oldest, oldest+1)
	}
	*l = next
}

func (v *ReadLease) code(x *codec) {
	x.lease(&v.Holder, &v.Boot, &v.Number, &v.Span)
	x.uint(&v.Index, 1<<64-1)
}

// relink refuses what put would not have made.
func (l *leases) relink(x *codec, applied uint64) {
	x.require(len(*l) <= maxLeases, "too many leases")
	for i, v := range *l {
		x.require(i == 0 || (*l)[i-1].Holder < v.Holder, "order of leases")
		x.require(v.Index <= applied, "lease of the future")
	}
}
