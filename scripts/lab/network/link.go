package network

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A Link says what one direction between two hosts does to packets. The zero Link is perfect. Loss, Duplicate and Reorder
// are probabilities per packet, from 0 to 1, each drawn by itself; a TCP packet here holds up to 60,000 bytes.
type Link struct {
	Cut       bool    // nothing comes through, what is under way included
	Loss      float64 // vanishes
	Duplicate float64 // arrives twice
	Reorder   float64 // is held back for up to 20 ms more, so that later ones overtake it

	Delay  time.Duration // every packet comes later by this ...
	Jitter time.Duration // ... and by up to this more, evenly drawn, in the order in which it was sent
}

// holdBack is how long a reordered packet is held back at most.
const holdBack = 20 * time.Millisecond

// Counts is what one direction did since the network was made.
type Counts struct {
	Packets uint64 // handed to the receiving host, copies included
	Bytes   uint64 // of those packets, with their IP headers
	Dropped uint64 // lost, cut off, orphaned, too many under way, or refused by the receiving kernel
}

// A path is one direction between two hosts.
type path struct {
	to      *Host
	link    atomic.Pointer[Link]
	orphans *orphans
	line    *line // of packets that arrive later

	rng  *rand.Rand // the reader of the sending host alone draws
	last time.Time  // when the packet before is due; the reader's too

	packets, bytes, dropped atomic.Uint64
}

func newPath(to *Host, o *orphans, seed, stream uint64) *path {
	//nolint:gosec // faults are to repeat from a seed; nobody's secret
	p := &path{to: to, orphans: o, rng: rand.New(rand.NewPCG(seed, stream))}
	p.line = newLine(p)
	p.link.Store(new(Link))
	return p
}

// send judges one packet. It keeps nothing of the packet.
func (p *path) send(packet []byte) {
	link := *p.link.Load()
	switch {
	case link == Link{}: // the common case draws no chances
		p.arrive(packet)
		return
	case p.happens(link.Loss):
		p.dropped.Add(1)
		return
	}
	p.post(packet, link)
	if p.happens(link.Duplicate) {
		p.post(packet, link)
	}
}

// post sends one copy on its way: at once, or later through the line.
func (p *path) post(packet []byte, link Link) {
	wait := link.Delay
	if link.Jitter > 0 {
		wait += time.Duration(p.rng.Int64N(int64(link.Jitter)))
	}
	held := p.happens(link.Reorder)
	if wait == 0 && !held {
		p.arrive(packet)
		return
	}
	now := time.Now()
	due := now.Add(wait)
	if held {
		due = due.Add(time.Duration(p.rng.Int64N(int64(holdBack))))
	} else {
		if due.Before(p.last) {
			due = p.last
		}
		p.last = due
	}
	if !p.line.add(packet, due) {
		p.dropped.Add(1)
	}
}

// arrive hands a packet to the receiving host, unless the direction is cut or the connection an orphan.
func (p *path) arrive(packet []byte) {
	if p.link.Load().Cut || p.orphans.drops(packet) || !p.to.receive(packet) {
		p.dropped.Add(1)
		return
	}
	p.packets.Add(1)
	p.bytes.Add(uint64(len(packet)))
}

func (p *path) happens(probability float64) bool {
	return probability > 0 && p.rng.Float64() < probability
}

func (p *path) counts() Counts {
	return Counts{Packets: p.packets.Load(), Bytes: p.bytes.Load(), Dropped: p.dropped.Load()}
}
