package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxTape is how much of a connection is recorded.
	maxTape = 256 << 10
	// maxTapes is how many connections are played again in the end.
	maxTapes = 64
	// replayPatience is how long a node may take to end a connection on which it hears nothing more. It takes as
	// long as it likes where it is paused, and no promise is broken by that.
	replayPatience = time.Second
	// handshakeSlack is by how much what a node sends first, in answer to the same bytes, can differ: signatures are
	// not all equally long, the authorities that it names can be more by one, and an alert follows. The first that it
	// sends to a client whose handshake was complete is longer: a session ticket.
	handshakeSlack = 100
)

// tape is what a client said on one connection. Its methods may be called concurrently.
type tape struct {
	to netip.AddrPort

	mu      sync.Mutex
	more    *sync.Cond
	said    []byte
	ended   bool
	writes  int
	replied atomic.Int64 // how many bytes the node has sent
	flight  int64        // how many of them before the client said anything for the second time: the node's handshake
}

func newTape(to netip.AddrPort) *tape {
	t := &tape{to: to}
	t.more = sync.NewCond(&t.mu)
	return t
}

// Write records. It never fails: the client is not to notice.
func (t *tape) Write(said []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writes++; t.writes == 2 {
		t.flight = t.replied.Load()
	}
	t.said = append(t.said, said[:min(len(said), maxTape-len(t.said))]...)
	t.more.Broadcast()
	return len(said), nil
}

// end ends the recording.
func (t *tape) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.more.Broadcast()
}

// from returns what was said from there on, waiting for it; nothing if there is no more.
func (t *tape) from(at int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at == len(t.said) && !t.ended {
		t.more.Wait()
	}
	return t.said[at:]
}

// handshake is how much the node sent of itself at least before a client had proved anything; zero: that is not known.
func (t *tape) handshake() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flight
}

// counting counts the bytes that pass.
type counting struct {
	io.Writer
	count *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	c.count.Add(int64(len(p)))
	return c.Writer.Write(p) //nolint:wrapcheck // it only counts
}

// replayed carries a connection as it should be, and says everything that the client says on a second one, too.
func replayed(ctx context.Context, c *carrier, client net.Conn, to netip.AddrPort) {
	node, err := c.dial(ctx, to)
	if err != nil {
		return
	}
	recorded := newTape(to)
	defer c.keep(recorded)
	var ways sync.WaitGroup
	defer ways.Wait()
	defer recorded.end()
	hangUp := closedBy(ctx, node)
	defer hangUp()
	ways.Go(func() { c.play(ctx, recorded) })
	ways.Go(func() {
		_, _ = io.Copy(counting{client, &recorded.replied}, node) // how it ended the client sees
		cutOff(client)
	})
	_, _ = io.Copy(io.MultiWriter(recorded, node), client) // how it ended the node sees
}

// play says what is on a tape on a connection of its own, as it is recorded. A node that takes that for its client's, and
// answers beyond its half of a handshake, breaks a promise.
func (c *carrier) play(ctx context.Context, recorded *tape) {
	node, err := c.dial(ctx, recorded.to)
	if err != nil {
		return
	}
	defer closedBy(ctx, node)()
	c.note("replays")
	answered := make(chan int64, 1)
	go func() {
		bytes, _ := io.Copy(io.Discard, node) // it is ended in any case
		answered <- bytes
	}()
	for at, chunk := 0, recorded.from(0); len(chunk) > 0; chunk = recorded.from(at) {
		if _, err := node.Write(chunk); err != nil {
			break // the node has ended it
		}
		at += len(chunk)
	}
	timer := time.NewTimer(replayPatience)
	defer timer.Stop()
	select {
	case bytes := <-answered:
		c.note("replays that the node ended")
		c.judge(recorded, bytes)
	case <-timer.C:
		cutOff(node)
		c.judge(recorded, <-answered)
	case <-ctx.Done():
	}
}

// judge tells what a node sent in answer to a replay from what is no more than its half of a handshake.
func (c *carrier) judge(recorded *tape, answered int64) {
	if first := recorded.handshake(); first > 0 && answered > first+handshakeSlack {
		c.violate("%s answered a connection that was replayed: %d bytes, while its handshake has %d", c.node, answered, first)
	}
}

// keep keeps the tape of a connection that has ended.
func (c *carrier) keep(recorded *tape) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tapes) < maxTapes {
		c.tapes = append(c.tapes, recorded)
	}
}

// playAgain plays the tapes of whole connections, all at once.
func (c *carrier) playAgain(ctx context.Context) {
	var playing sync.WaitGroup
	for _, recorded := range c.tapes {
		playing.Go(func() { c.play(ctx, recorded) })
	}
	playing.Wait()
}
