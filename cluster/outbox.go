package cluster

import (
	"sync"
)

// maxQueued bounds the bytes that wait for a connection to take them. Past it the
// peer is not reading.
const maxQueued = 4 << 20

// outbox writes frames from many goroutines to one connection without a goroutine
// of its own: who comes while nobody writes becomes the writer, and what is queued
// while it writes goes out together in its next write.
//
// Lock mu, append to out, call flushLocked (which unlocks).
type outbox struct {
	mu      sync.Mutex
	flushed sync.Cond          // what waited was handed over or written, or the box is closed
	write   func([]byte) error // called by one goroutine at a time, without mu
	broken  func(err error)    // called once after a failed write, without mu
	out     []byte             // waiting
	spare   []byte             // the buffer that is not out
	writing bool
	closed  bool
	handed  uint64 // bytes ever given to write
}

func (o *outbox) init(write func([]byte) error, broken func(error)) {
	o.write, o.broken = write, broken
	o.flushed.L = &o.mu
}

// offset is where the next byte appended will be in the stream. Bytes from handed
// on have certainly not been sent.
func (o *outbox) offset() uint64 { return o.handed + uint64(len(o.out)) }

// flushLocked writes what waits, unless somebody else is doing so, and unlocks.
func (o *outbox) flushLocked() {
	if o.writing || o.closed || len(o.out) == 0 {
		o.mu.Unlock()
		return
	}
	o.writing = true
	for len(o.out) > 0 && !o.closed {
		batch := o.out
		o.out, o.spare = o.spare[:0], nil
		o.handed += uint64(len(batch))
		o.flushed.Broadcast()
		o.mu.Unlock()
		err := o.write(batch)
		o.mu.Lock()
		if cap(batch) <= maxSpare {
			o.spare = batch
		}
		if err != nil {
			o.writing = false
			o.flushed.Broadcast()
			o.mu.Unlock()
			o.broken(err)
			return
		}
	}
	o.writing = false
	o.flushed.Broadcast()
	o.mu.Unlock()
}

// maxSpare is the largest buffer kept between writes: one large batch should not
// hold its memory for the life of a connection.
const maxSpare = 64 << 10

// drainLocked waits, with mu held, until little enough waits to be written. Only a
// reader that answers by itself calls it: as long as the peer does not take its
// answers, its questions are not read.
func (o *outbox) drainLocked() {
	for o.writing && !o.closed && len(o.out) > maxSpare {
		o.flushed.Wait()
	}
}

// closeLocked drops what waits.
func (o *outbox) closeLocked() {
	o.closed = true
	o.out = nil
	o.flushed.Broadcast()
}
