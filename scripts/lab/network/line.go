package network

import (
	"container/heap"
	"sync"
	"time"
)

// The bounds of what is under way in one direction: a link of the real world has short queues too.
const (
	maxUnderWay      = 20000
	maxBytesUnderWay = 64 << 20
)

// smallPacket is the size of buffer that all but bulk data fits into.
const smallPacket = 2048

// A line holds the packets of one path that arrive later, in the order in which they are due.
type line struct {
	path *path
	wake chan struct{} // something is due earlier than what was first

	mu    sync.Mutex
	queue delayed
	bytes int
	sent  uint64

	small, large sync.Pool // of *[]byte
}

// A late packet is under way. Those due at one time keep their order.
type late struct {
	due    time.Time
	number uint64
	buffer *[]byte
}

func newLine(p *path) *line {
	pool := func(size int) sync.Pool {
		return sync.Pool{New: func() any { b := make([]byte, 0, size); return &b }}
	}
	return &line{path: p, wake: make(chan struct{}, 1), small: pool(smallPacket), large: pool(maxPacket)}
}

// add keeps a copy of packet until it is due. It reports whether there was room.
func (l *line) add(packet []byte, due time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxUnderWay || l.bytes+len(packet) > maxBytesUnderWay {
		return false
	}
	buffer := l.buffer(len(packet))
	*buffer = append((*buffer)[:0], packet...)
	l.bytes += len(packet)
	l.sent++
	heap.Push(&l.queue, late{due: due, number: l.sent, buffer: buffer})
	if l.queue[0].number == l.sent {
		select {
		case l.wake <- struct{}{}:
		default: // it is to be woken already
		}
	}
	return true
}

// run delivers what is due until done is closed.
func (l *line) run(done <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if wait, more := l.deliver(); more {
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-l.wake:
		case <-done:
			return
		}
	}
}

// deliver hands on what is due. It returns how long until the next one is, if there is any.
func (l *line) deliver() (wait time.Duration, more bool) {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.mu.Unlock()
			return 0, false
		}
		if wait = time.Until(l.queue[0].due); wait > 0 {
			l.mu.Unlock()
			return wait, true
		}
		next, _ := heap.Pop(&l.queue).(late)
		l.bytes -= len(*next.buffer)
		l.mu.Unlock()
		l.path.arrive(*next.buffer)
		l.pool(cap(*next.buffer)).Put(next.buffer)
	}
}

func (l *line) buffer(size int) *[]byte {
	buffer, _ := l.pool(size).Get().(*[]byte)
	return buffer
}

func (l *line) pool(size int) *sync.Pool {
	if size <= smallPacket {
		return &l.small
	}
	return &l.large
}

// delayed is a heap of packets, the one that is due first on top.
type delayed []late

func (d *delayed) Len() int { return len(*d) }

func (d *delayed) Less(i, j int) bool {
	one, other := (*d)[i], (*d)[j]
	if !one.due.Equal(other.due) {
		return one.due.Before(other.due)
	}
	return one.number < other.number
}

func (d *delayed) Swap(i, j int) { (*d)[i], (*d)[j] = (*d)[j], (*d)[i] }

// Push implements [heap.Interface].
func (d *delayed) Push(x any) {
	if packet, ok := x.(late); ok {
		*d = append(*d, packet)
	}
}

// Pop implements [heap.Interface].
func (d *delayed) Pop() any {
	last := len(*d) - 1
	packet := (*d)[last]
	(*d)[last] = late{}
	*d = (*d)[:last]
	return packet
}
