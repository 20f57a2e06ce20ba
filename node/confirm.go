package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"jeton/cluster"
	"jeton/node/realm"
)

const (
	// roundTimeout bounds one round of questions; a round that failed is repeated
	// until the readers lose patience.
	roundTimeout = 2 * time.Second
	// hedgeDelay is how long the voters asked first may take before the others
	// are asked too. In health the answer of a bare quorum is enough, and every
	// question saved is capacity for requests.
	hedgeDelay = 5 * time.Millisecond
)

// errNoQuorum says that no majority of voters agreed on a term with its leader.
var errNoQuorum = errors.New("no majority of the voters confirms a leader")

// electorate is what a round of questions needs of the running member. Its
// methods may be called concurrently.
type electorate interface {
	// confirmSelf is this node's own answer.
	confirmSelf() cluster.Confirmation
	// voters returns the voters of the configuration this node has, itself
	// included if it votes, the leader first if it is known.
	voters() []voter
	// ask puts the question to one voter. The answer was made after the call; done
	// is called exactly once and does not block.
	ask(v voter, done func(cluster.Confirmation, error))
	// heard takes note of what the leader said of itself.
	heard(leader cluster.Confirmation)
	// catchUp returns when the state includes the entry that the leader named.
	catchUp(ctx context.Context, leader cluster.Confirmation) error
}

// confirmer proves that this node may answer from its own state: see DESIGN.md,
// "Confirmed reads". All reads that arrive while a round is in flight share the
// next one, which begins after the last of them arrived.
type confirmer struct {
	electorate electorate

	mu      sync.Mutex
	next    *round // collects readers; not begun
	running bool
	closed  bool
	idle    sync.WaitGroup
}

// round is one proof shared by the readers that arrived before it began.
type round struct {
	done   chan struct{}
	leader cluster.Confirmation // valid if err is nil
	err    error
}

// ConfirmRead returns nil once the state of this node includes everything that
// was acknowledged anywhere before the call. It retries until ctx ends and then
// returns [realm.ErrUnavailable]. May be called concurrently.
func (c *confirmer) ConfirmRead(ctx context.Context) error {
	for delay := retryDelay; ; delay = min(2*delay, maxRetryDelay) {
		r, err := c.join()
		if err != nil {
			return err
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return fmt.Errorf("confirm read: %w: %w", realm.ErrUnavailable, ctx.Err())
		}
		if err = r.err; err == nil {
			if err = c.electorate.catchUp(ctx, r.leader); err == nil {
				return nil
			}
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("confirm read: %w: %w", realm.ErrUnavailable, err)
		}
	}
}

// join returns the round that begins next.
func (c *confirmer) join() (*round, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("confirm read: %w: the node is shutting down", realm.ErrUnavailable)
	}
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	joined := c.next
	if !c.running {
		c.running = true
		c.idle.Go(c.run)
	}
	return joined, nil
}

// run holds rounds until nobody waits for one.
func (c *confirmer) run() {
	for {
		// Requests that are ready to run get on this round, too: under load the rounds
		// grow, and cost each of them less; an idle node loses nothing.
		runtime.Gosched()
		c.mu.Lock()
		current := c.next
		c.next = nil
		if current == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		current.leader, current.err = c.hold()
		close(current.done)
	}
}

func (c *confirmer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.idle.Wait()
}

// hold puts the question to the voters and returns the answer of the leader that a
// majority confirmed.
func (c *confirmer) hold() (cluster.Confirmation, error) {
	voters := c.electorate.voters()
	h := &hearing{electorate: c.electorate, voters: voters, poll: newPoll(voters), replies: make(chan reply, len(voters))}
	if h.poll.count(c.electorate.confirmSelf()) {
		return h.poll.leader, nil
	}
	h.ask(h.poll.missing())
	patience := time.NewTimer(hedgeDelay)
	defer patience.Stop()
	for h.open > 0 {
		select {
		case r := <-h.replies:
			if h.hear(r) {
				c.electorate.heard(h.poll.leader)
				return h.poll.leader, nil
			}
		case <-patience.C:
			if h.asked == len(voters) {
				return cluster.Confirmation{}, errNoQuorum
			}
			h.ask(len(voters))
			patience.Reset(roundTimeout)
		}
	}
	return cluster.Confirmation{}, errNoQuorum
}

// hearing is a round under way.
type hearing struct {
	electorate electorate
	voters     []voter
	poll       *poll
	replies    chan reply // room for all
	asked      int        // voters before this one have been asked
	open       int        // questions without a reply
}

// reply is what became of one question.
type reply struct {
	answer cluster.Confirmation
	err    error
}

// ask puts the question to the next n voters, as far as there are any.
func (h *hearing) ask(n int) {
	for ; h.asked < len(h.voters) && n > 0; h.asked++ {
		if h.voters[h.asked].self {
			continue
		}
		n--
		h.open++
		h.electorate.ask(h.voters[h.asked], func(answer cluster.Confirmation, err error) { h.replies <- reply{answer, err} })
	}
}

// hear counts a reply and tells whether the proof is complete. When the voters
// asked so far do not suffice, it asks the others.
func (h *hearing) hear(r reply) (complete bool) {
	h.open--
	if r.err == nil && h.poll.count(r.answer) {
		return true
	}
	if h.open == 0 {
		h.ask(len(h.voters))
	}
	return false
}
