package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
)

// How much later than the holder itself the leader believes a lease to end. Only the
// rates of clocks matter: NTP slews by 0.05 %, quartz drifts by less.
const (
	leaseDrift  = 50                    // a fiftieth, for each of two clocks
	leaseMargin = 50 * time.Millisecond // for whatever rounds times
)

// coverage is what a leader knows of the nodes that may read by a lease: until when
// each may, and how far each has appended the leader's log. It makes a revocation
// wait until all of them know of it, or may not read any more. Safe for concurrent use.
type coverage struct {
	self     raft.ServerID
	bootTime func() time.Duration

	mu      sync.Mutex
	holders map[raft.ServerID]*holder
	changed broadcast
}

// holder is one node that may hold a lease. It stays known when it is removed from
// the cluster: nobody can tell it so.
type holder struct {
	until    time.Duration // in boot time
	lease    uint64        // index of its newest lease
	term     uint64        // of the leader whose log it appended
	appended uint64        // so far
}

func newCoverage(self raft.ServerID, bootTime func() time.Duration) *coverage {
	return &coverage{self: self, bootTime: bootTime, holders: make(map[raft.ServerID]*holder)}
}

func (c *coverage) holder(id raft.ServerID) *holder {
	h := c.holders[id]
	if h == nil {
		h = &holder{}
		c.holders[id] = h
	}
	return h
}

// granted says that a node may get a lease. It must be called before an entry with
// the lease can exist, and by a new leader for every lease in the state.
func (c *coverage) granted(id raft.ServerID, span time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holder(id)
	h.until = max(h.until, c.bootTime()+span+2*span/leaseDrift+leaseMargin)
}

// leased says where the newest lease of a node is in the log.
func (c *coverage) leased(id raft.ServerID, index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holder(id)
	h.lease = max(h.lease, index)
}

// appended says that a node has, on its disk, the log of a term's leader up to index.
func (c *coverage) appended(id raft.ServerID, term, index uint64) {
	c.mu.Lock()
	h := c.holder(id)
	if term > h.term {
		h.term, h.appended = term, 0
	}
	news := term == h.term && index > h.appended
	if news {
		h.appended = index
	}
	c.mu.Unlock()
	if news {
		c.changed.wake()
	}
}

// keepsUp tells whether a node may get another lease: it has appended the last one.
// Writes would wait in vain for one that does not keep up.
func (c *coverage) keepsUp(id raft.ServerID, term uint64) bool {
	if id == c.self {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holders[id]
	return h != nil && h.term == term && h.appended >= h.lease
}

// await returns when no node can read without knowing of the entry at index, which
// this leader appended in that term. It waits no longer than the leases that there are
// when it is called: a later one takes effect where the entry is known.
func (c *coverage) await(ctx context.Context, term, index uint64) error {
	open := c.open()
	for {
		changed := c.changed.wait()
		next := c.uncovered(open, term, index)
		if next == 0 {
			return nil
		}
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for the holders of read leases: %w", ctx.Err())
		}
		timer.Stop()
	}
}

// open returns until when each other node may read by a lease granted so far.
func (c *coverage) open() map[raft.ServerID]time.Duration {
	now := c.bootTime()
	c.mu.Lock()
	defer c.mu.Unlock()
	var open map[raft.ServerID]time.Duration
	for id, h := range c.holders {
		if id != c.self && h.until >= now {
			if open == nil {
				open = make(map[raft.ServerID]time.Duration, len(c.holders))
			}
			open[id] = h.until
		}
	}
	return open
}

// uncovered drops from open whom the entry is known to, and who may not read any more.
// It returns how long the first of the others may; 0 if there is none.
func (c *coverage) uncovered(open map[raft.ServerID]time.Duration, term, index uint64) (next time.Duration) {
	now := c.bootTime()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, until := range open {
		h := c.holders[id]
		if now > until || h.term == term && h.appended >= index {
			delete(open, id)
			continue
		}
		if left := until - now + 1; next == 0 || left < next {
			next = left
		}
	}
	return next
}

// revokes tells whether a command that was applied took something from somebody, or
// whether its outcome tells of something that was taken: whoever hears that a token is
// invalidated must not find it accepted afterwards.
func revokes(command []byte, outcome fsm.Outcome) bool {
	return fsm.Kind(command[0]).Revokes() || outcome.Reason == fsm.Reused || outcome.Reason == fsm.TokenInvalidated
}

// waitsForReaders tells whether the answer to a command will wait for the holders of read
// leases, as far as is known here; see revokes. Such commands have a proposer of their own, so that
// the others do not wait with them.
func (r *replica) waitsForReaders(c fsm.Command) bool {
	if refresh, ok := c.(fsm.Refresh); ok {
		t, found := r.state.RefreshToken(refresh.Presented)
		return found && t.RefreshInvalidated
	}
	return c.Kind().Revokes()
}
