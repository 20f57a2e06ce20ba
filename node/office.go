package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
)

// takeOffice makes a new leader fit to answer for the cluster: raft announces
// leadership before the entries of earlier terms are applied.
func (r *replica) takeOffice(ctx context.Context) {
	for ctx.Err() == nil && r.leads() {
		term := r.raft.CurrentTerm()
		err := await(ctx, r.raft.Barrier(barrierTimeout))
		r.refusals.note(err)
		if err == nil && r.leads() && r.raft.CurrentTerm() == term {
			r.setClock()
			for _, granted := range r.inherited() {
				r.coverage.granted(raft.ServerID(granted.Holder), time.Duration(granted.Span)*time.Millisecond)
			}
			r.ledTo(term)
			r.leadership.wake()
			r.log.Info("leading", "term", term)
			return
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			r.log.Warn("not fit to lead yet", "term", term, "error", err)
			pause(ctx, maxRetryDelay)
		}
	}
}

// ledTo takes note of a term in which this node is fit to lead. One that was lost and won
// again while the clocks were asked may finish after its successor.
func (r *replica) ledTo(term uint64) {
	for {
		known := r.leaderTerm.Load()
		if known >= term || r.leaderTerm.CompareAndSwap(known, term) {
			return
		}
	}
}

// inOffice tells whether this node leads and is fit to: what earlier leaders
// committed is applied, and the clock agrees with the voters'. The term is that in which
// it is.
func (r *replica) inOffice() (term uint64, fit bool) {
	term = r.raft.CurrentTerm()
	return term, r.leads() && r.leaderTerm.Load() == term
}

// appendHere proposes one entry to this node's raft.
func (r *replica) appendHere(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error) {
	term, fit := r.inOffice()
	if !fit {
		return nil, fmt.Errorf("%w: this node has just been elected", errRetry)
	}
	at := fsm.UnixMilli(r.clock.Now().UnixMilli())
	if at <= 0 || at > fsm.MaxMoment {
		return nil, fmt.Errorf("the clocks of this node and its peers say %s: set them right", time.UnixMilli(int64(at)))
	}
	leases, err := leasesOf(commands)
	if err != nil {
		return nil, err
	}
	for _, lease := range leases { // before they can exist
		r.coverage.granted(raft.ServerID(lease.Holder), time.Duration(lease.Span)*time.Millisecond)
	}
	future := r.raft.Apply(fsm.AppendEntry(nil, at, commands), enqueueTimeout)
	err = await(ctx, future)
	r.refusals.note(err)
	if err != nil {
		return nil, fmt.Errorf("%w: append an entry: %w", errRetry, err)
	}
	// Of the leases before the entry this node knows if it appended it in this term. It
	// may also have lost its office and won another since it was asked.
	if r.raft.CurrentTerm() != term {
		return nil, fmt.Errorf("%w: another term has begun", errRetry)
	}
	outcomes, ok := future.Response().([]fsm.Outcome)
	if !ok || len(outcomes) != len(commands) {
		return nil, fmt.Errorf("state machine answered %T", future.Response())
	}
	for i, command := range commands {
		if revokes(command, outcomes[i]) {
			if err := r.coverage.await(ctx, term, future.Index()); err != nil {
				return nil, fmt.Errorf("%w: %w", errRetry, err)
			}
			break
		}
	}
	for _, lease := range leases {
		r.coverage.leased(raft.ServerID(lease.Holder), future.Index())
	}
	return outcomes, nil
}
