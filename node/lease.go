package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/node/store"
)

const (
	// leaseRenewals is how often a lease is renewed in its span.
	leaseRenewals = 4
	// leaseIdle is how long nobody must have read here until the lease is let go. Then
	// the log of an idle cluster does not grow, and no write waits for this node.
	leaseIdle = 10 * time.Second
	// leaseMemory is how many requests for a lease may be under way.
	leaseMemory = 4 * leaseRenewals
	// leaseFarewell is the span of a node's last lease: no shorter one can be asked for.
	leaseFarewell = time.Millisecond
)

// lease is this node's right to answer reads by its own state, without asking
// anybody: until its deadline every acknowledged revocation is in this node's log.
// DESIGN.md, "Read leases", says why. Safe for concurrent use.
type lease struct {
	holder   string
	boot     uint64 // number of this process
	span     time.Duration
	bootTime func() time.Duration // grows while the machine sleeps, too
	state    *fsm.FSM
	append   func(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error)
	// name draws an operation id.
	name func() fsm.OperationID

	deadline atomic.Int64 // in boot time; zero: there is no lease
	lastRead atomic.Int64 // in boot time, a little late
	retired  atomic.Bool
	wanted   chan struct{}

	asking chan struct{} // holds a token during a request, so that none comes after the farewell

	mu     sync.Mutex
	number uint64                   // of the newest request
	asked  map[uint64]time.Duration // when each of the newest requests began
}

func newLease(id raft.ServerID, boot uint64, span time.Duration, bootTime func() time.Duration) *lease {
	return &lease{
		holder: string(id), boot: boot, span: span, bootTime: bootTime,
		wanted: make(chan struct{}, 1), asking: make(chan struct{}, 1), asked: make(map[uint64]time.Duration),
	}
}

// startsKey is where the stable store counts the starts of the node.
var startsKey = []byte("jeton/starts")

// countStart returns the number of this process of the node, which no former one had.
func countStart(stable raft.StableStore) (uint64, error) {
	former, err := stable.GetUint64(startsKey)
	if err != nil && err.Error() != store.ErrNotFound.Error() { // raft's stores have the text in common
		return 0, fmt.Errorf("read how often the node was started: %w", err)
	}
	if err := stable.SetUint64(startsKey, former+1); err != nil {
		return 0, fmt.Errorf("count the start of the node: %w", err)
	}
	return former + 1, nil
}

// holds tells whether the state and the log of this node hold every revocation that
// was acknowledged before the call. Who asks wants the lease to go on.
func (l *lease) holds() bool {
	now := int64(l.bootTime())
	// Stored now and then only, so that readers on many cores do not fight for it.
	if last := l.lastRead.Load(); last == 0 || now-last > int64(leaseIdle/leaseMemory) {
		l.lastRead.Store(now)
	}
	if now < l.deadline.Load() {
		return !l.retired.Load() // last, so that the farewell had not been asked for when the clock was read
	}
	select {
	case l.wanted <- struct{}{}:
	default:
	}
	return false
}

// keep renews the lease while there are readers, until ctx ends.
func (l *lease) keep(ctx context.Context) {
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		select {
		case <-l.wanted:
		case <-ctx.Done():
			return
		}
		for int64(l.bootTime())-l.lastRead.Load() < int64(leaseIdle) {
			pace.Reset(l.span / leaseRenewals)
			if !l.renew(ctx) {
				return
			}
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// renew asks for the lease to go on, unless it was given back. A request that fails is
// not repeated: the next one follows soon, and until then reads are confirmed by a quorum.
func (l *lease) renew(ctx context.Context) (goesOn bool) {
	ctx, cancel := context.WithTimeout(ctx, l.span)
	defer cancel()
	l.asking <- struct{}{}
	defer func() { <-l.asking }()
	if l.retired.Load() {
		return false
	}
	_ = l.ask(ctx, l.span) // what counts is what is applied, see learn
	return true
}

// retire gives the lease back before the node ends. Nothing is read by it any more, and
// what takes its place in the state is over at once, so that no revocation waits for this
// node: not at the next leader, who takes what is in the state for used, nor, once the old
// lease would have ended, at this one. It gives up when ctx ends, or the lease has.
func (l *lease) retire(ctx context.Context) {
	l.retired.Store(true)
	ctx, cancel := context.WithTimeout(ctx, l.span)
	defer cancel()
	l.asking <- struct{}{} // a request takes no longer than a span
	defer func() { <-l.asking }()
	for l.deadline.Load() > 0 && ctx.Err() == nil && l.ask(ctx, leaseFarewell) != nil {
		pause(ctx, l.span/leaseRenewals)
	}
}

// ask sends one request for a lease. Who calls it has put a token into asking.
func (l *lease) ask(ctx context.Context, span time.Duration) error {
	l.mu.Lock()
	l.number++
	number := l.number
	delete(l.asked, number-leaseMemory)
	l.asked[number] = l.bootTime() // before anybody can have heard of it
	l.mu.Unlock()
	command := fsm.AppendCommand(nil, fsm.Lease{
		Header: fsm.Header{Operation: l.name()},
		Holder: l.holder, Boot: l.boot, Number: number, Span: span.Milliseconds(),
	})
	_, err := l.append(ctx, [][]byte{command})
	return err
}

// learn takes note of the leases in the state, and tells whether one is news and still
// runs: its entry was made since it was asked for, less than a span ago.
func (l *lease) learn() (news bool) {
	for _, granted := range l.state.ReadLeases() {
		if granted.Holder != l.holder || granted.Boot != l.boot {
			continue
		}
		l.mu.Lock()
		asked, known := l.asked[granted.Number]
		l.mu.Unlock()
		end := asked + time.Duration(granted.Span)*time.Millisecond
		if known && l.extend(end) && l.bootTime() < end {
			news = true
		}
	}
	return news
}

func (l *lease) extend(deadline time.Duration) bool {
	for {
		known := l.deadline.Load()
		if known >= int64(deadline) {
			return false
		}
		if l.deadline.CompareAndSwap(known, int64(deadline)) {
			return true
		}
	}
}

// leasesOf returns the leases that commands ask for.
func leasesOf(commands [][]byte) (leases []fsm.Lease, err error) {
	for _, command := range commands {
		if len(command) == 0 || fsm.Kind(command[0]) != fsm.KindLease {
			continue
		}
		decoded, err := fsm.DecodeCommand(command)
		if err != nil {
			return nil, fmt.Errorf("request for a lease: %w", err)
		}
		if lease, ok := decoded.(fsm.Lease); ok {
			leases = append(leases, lease)
		}
	}
	return leases, nil
}
