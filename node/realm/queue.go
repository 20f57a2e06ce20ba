package realm

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"

	"jeton/fsm"
)

const (
	// lanes is how many sources, and how many user names, the queue can tell apart; it
	// draws at random who shares one.
	lanes = 256
	// newPasswords is the lane beside those for user names: only who may manage users is
	// in it, whatever name others flood.
	newPasswords = lanes
)

// queue hands out workers, fairly (stochastic fair queueing, with the longest queue
// dropped from): the next one gets whose source, and then whose user name, was served
// least recently, and when too many wait, the last of the source, and then of the user
// name, that most wait for is sent away. So who floods it competes with itself.
//
// It knows no users: an unknown name is treated as a known one, or being sent away
// would tell who exists.
type queue struct {
	seed maphash.Seed
	max  int // who may wait

	mu      sync.Mutex
	free    int       // workers
	waiting []*waiter // in the order of arrival; nobody while there are free workers
	sources [lanes]lane
	names   [lanes + 1]lane
	turns   uint64
}

// lane is what one source or one name makes of the queue.
type lane struct {
	waiting int
	served  uint64 // the last turn that was its own
}

// waiter is one who wants a worker.
type waiter struct {
	source, name uint64
	turn         chan error // nil: a worker is there; [ErrBusy]: sent away. One value, ever.
}

func newQueue(workers, waiting int) *queue {
	return &queue{seed: maphash.MakeSeed(), free: workers, max: waiting}
}

// Source is from where a request comes, such as a network: none can keep the others
// out of the queue. In the context of [Chain.Authenticate] it is the value of the key
// Source{}; without one, a request comes from the zero Source.
type Source netip.Prefix

// laneOf is the lane of a user name.
func (q *queue) laneOf(name fsm.Username) uint64 { return maphash.String(q.seed, string(name)) % lanes }

// acquire waits for a worker. The caller releases it.
func (q *queue) acquire(ctx context.Context, name uint64) error {
	source, _ := ctx.Value(Source{}).(Source)
	w := &waiter{
		source: maphash.Comparable(q.seed, source) % lanes,
		name:   name,
		turn:   make(chan error, 1),
	}
	q.enter(w)
	select {
	case err := <-w.turn:
		return err
	case <-ctx.Done():
		if !q.leave(w) && <-w.turn == nil {
			q.release() // its turn came just now
		}
		return fmt.Errorf("wait for a password to be hashed: %w", context.Cause(ctx))
	}
}

// enter gives w a worker or a place in the queue, or sends somebody away.
func (q *queue) enter(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free > 0 {
		q.free--
		q.serve(w)
		return
	}
	q.waiting = append(q.waiting, w)
	q.sources[w.source].waiting++
	q.names[w.name].waiting++
	if len(q.waiting) > q.max {
		q.remove(q.excess()).turn <- ErrBusy
	}
}

// excess is who comes last among those that most wait with.
func (q *queue) excess() (worst int) {
	for i, w := range q.waiting {
		source, name := q.sources[w.source].waiting, q.names[w.name].waiting
		than := q.waiting[worst]
		if most := q.sources[than.source].waiting; source > most || source == most && name >= q.names[than.name].waiting {
			worst = i
		}
	}
	return worst
}

// release gives the worker to the next one.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.free++
		return
	}
	next := 0
	for i, w := range q.waiting {
		source, name := q.sources[w.source].served, q.names[w.name].served
		than := q.waiting[next]
		if least := q.sources[than.source].served; source < least || source == least && name < q.names[than.name].served {
			next = i
		}
	}
	q.serve(q.remove(next))
}

func (q *queue) serve(w *waiter) {
	q.turns++
	q.sources[w.source].served, q.names[w.name].served = q.turns, q.turns
	w.turn <- nil
}

func (q *queue) remove(i int) *waiter {
	w := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.sources[w.source].waiting--
	q.names[w.name].waiting--
	return w
}

// leave reports whether w was still waiting.
func (q *queue) leave(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i >= 0 {
		q.remove(i)
	}
	return i >= 0
}
