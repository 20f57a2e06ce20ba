package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// Limits of the proposer.
const (
	// maxInFlight is the number of batches on their way at once. Two keep the
	// disk busy while the next batch fills; more only make the batches smaller
	// (measured: four in flight commit a quarter less than two).
	maxInFlight = 2
	// maxQueued bounds the memory of proposals that wait. Past it the answer is
	// [realm.ErrOverloaded] at once: a longer queue would only be a longer wait.
	maxQueued = 16384
	// attemptTimeout is how long one attempt may take before it is made again,
	// with the same operation ids, perhaps at another leader.
	attemptTimeout = 3 * time.Second
	// usualCommandBytes is room for nearly every command.
	usualCommandBytes = 512
	// retryDelay and maxRetryDelay pace the attempts while there is no leader.
	retryDelay    = 5 * time.Millisecond
	maxRetryDelay = 100 * time.Millisecond
)

// errRetry marks a failed attempt that may be made again: every command carries
// an operation id, so an attempt whose outcome is unknown is as safe to repeat as
// one that certainly did nothing.
var errRetry = errors.New("the log cannot be reached")

// appender puts a batch of commands on the replicated log and returns one outcome
// for each. An error that wraps errRetry says that the attempt may be repeated.
type appender interface {
	append(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error)
	leads() bool
	leaderChanged() <-chan struct{}
}

// proposal is one command on its way to the log.
type proposal struct {
	ctx       context.Context // the caller's patience
	command   []byte
	forwarded bool // came from a peer: is not forwarded again
	finish    func(fsm.Outcome, error)
}

// proposer turns many callers into few large log entries. What arrives while
// batches are in flight forms the next batch: an idle node adds no latency, a
// busy one has large batches, and there is no timer. The same component works on
// the leader, where a batch becomes an entry, and elsewhere, where it becomes one
// request to the leader. All methods may be called concurrently.
type proposer struct {
	log     appender
	allowed func(fsm.Kind) error // nil: everything
	ctx     context.Context      //nolint:containedctx // the proposer's life; ends in close
	cancel  context.CancelFunc

	mu      sync.Mutex
	queue   []*proposal
	senders int
	closed  bool
	idle    sync.WaitGroup
}

func newProposer(log appender) *proposer {
	ctx, cancel := context.WithCancel(context.Background())
	return &proposer{log: log, ctx: ctx, cancel: cancel}
}

// Propose has c applied and returns the state machine's answer. Until ctx ends it
// retries across changes of leader, always with the same operation id, so c is
// applied at most once. Errors: [realm.ErrOverloaded] (certainly not applied),
// [realm.ErrUnavailable] (outcome unknown; repeating the request is safe).
func (p *proposer) Propose(ctx context.Context, c fsm.Command) (fsm.Outcome, error) {
	command := fsm.AppendCommand(make([]byte, 0, usualCommandBytes), c)
	var operation fsm.OperationID
	_, _ = rand.Read(operation[:]) // never fails
	operation.Name(command)
	// What cannot be read must not get on the log: it would stop every node.
	if _, err := fsm.DecodeCommand(command); err != nil {
		return fsm.Outcome{}, fmt.Errorf("propose: %w", err)
	}
	type answer struct {
		outcome fsm.Outcome
		err     error
	}
	answers := make(chan answer, 1)
	err := p.enqueue(&proposal{
		ctx:     ctx,
		command: command,
		finish:  func(o fsm.Outcome, err error) { answers <- answer{o, err} },
	})
	if err != nil {
		return fsm.Outcome{}, fmt.Errorf("propose: %w", err)
	}
	select {
	case a := <-answers:
		if a.err != nil {
			return fsm.Outcome{}, fmt.Errorf("propose: %w", a.err)
		}
		return a.outcome, nil
	case <-ctx.Done():
		return fsm.Outcome{}, fmt.Errorf("propose: %w: %w", realm.ErrUnavailable, ctx.Err())
	}
}

// ProposeForwarded applies commands that a peer forwarded and returns one encoded
// outcome for each, or one error for all.
func (p *proposer) ProposeForwarded(ctx context.Context, commands [][]byte) ([][]byte, error) {
	var (
		group    sync.WaitGroup
		outcomes = make([][]byte, len(commands))
		failures = make([]error, len(commands))
		batch    = make([]*proposal, len(commands))
	)
	group.Add(len(commands))
	for i, command := range commands {
		batch[i] = &proposal{ctx: ctx, command: command, forwarded: true, finish: func(o fsm.Outcome, err error) {
			outcomes[i], failures[i] = o.Append(nil), err
			group.Done()
		}}
	}
	if err := p.enqueue(batch...); err != nil {
		return nil, fmt.Errorf("propose for a peer: %w", err)
	}
	// Every proposal is finished at the latest when ctx ends, see stillWanted.
	group.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, fmt.Errorf("propose for a peer: %w", err)
		}
	}
	return outcomes, nil
}

// close refuses new proposals, gives up those on their way and waits until all
// are answered.
func (p *proposer) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.idle.Wait()
}

// enqueue is what every command goes through, on the node that makes it and on the
// leader.
func (p *proposer) enqueue(batch ...*proposal) error {
	for _, each := range batch {
		if p.allowed == nil {
			break
		}
		if err := p.allowed(fsm.Kind(each.command[0])); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("%w: the node is shutting down", realm.ErrUnavailable)
	}
	if len(p.queue)+len(batch) > maxQueued {
		p.queue = stillWanted(p.queue)
	}
	if len(p.queue)+len(batch) > maxQueued {
		return realm.ErrOverloaded
	}
	p.queue = append(p.queue, batch...)
	if p.senders < maxInFlight {
		p.senders++
		p.idle.Go(p.sendQueued)
	}
	return nil
}

// sendQueued sends batches until the queue is empty.
func (p *proposer) sendQueued() {
	for {
		batch := p.take()
		if batch == nil {
			return
		}
		p.send(batch)
	}
}

// take removes the next batch from the queue: as much as fits in one entry. It
// returns nil, and gives the sender's place back, when there is none.
func (p *proposer) take() []*proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = stillWanted(p.queue)
	if len(p.queue) == 0 {
		p.queue = nil
		p.senders--
		return nil
	}
	count, size := 0, 0
	for _, next := range p.queue {
		size += len(next.command) + commandOverheadBytes
		if count == fsm.MaxCommands || (count > 0 && size > fsm.MaxEntryBytes-entryOverheadBytes) {
			break
		}
		if count > 0 && fsm.Kind(next.command[0]) == fsm.KindRestore {
			break // the state machine gets ready for one that an entry begins with, and stops no readers
		}
		count++
	}
	batch := make([]*proposal, count)
	copy(batch, p.queue)
	rest := copy(p.queue, p.queue[count:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	return batch
}

// Upper bounds for what an entry adds to its commands.
const (
	commandOverheadBytes = 4
	entryOverheadBytes   = 64
)

// stillWanted answers the proposals whose caller has lost patience and returns
// the others.
func stillWanted(batch []*proposal) []*proposal {
	kept := batch[:0]
	for _, next := range batch {
		if err := next.ctx.Err(); err != nil {
			next.finish(fsm.Outcome{}, fmt.Errorf("%w: %w", realm.ErrUnavailable, err))
			continue
		}
		kept = append(kept, next)
	}
	clear(batch[len(kept):])
	return kept
}

// send brings one batch to the log, in as many attempts as its callers' patience
// allows.
func (p *proposer) send(batch []*proposal) {
	for delay := retryDelay; ; delay = min(2*delay, maxRetryDelay) {
		changed := p.log.leaderChanged()
		if !p.log.leads() {
			batch = failForwarded(batch)
		}
		if len(batch) == 0 {
			return
		}
		err := p.attempt(batch)
		if err == nil {
			return
		}
		if p.ctx.Err() != nil {
			err = fmt.Errorf("%w: the node is shutting down", realm.ErrUnavailable)
		}
		if !errors.Is(err, errRetry) {
			for _, each := range batch {
				each.finish(fsm.Outcome{}, err)
			}
			return
		}
		waitForLeader(batch, changed, delay)
		if batch = stillWanted(batch); len(batch) == 0 {
			return
		}
	}
}

// failForwarded sends the proposals of peers back: they look for the leader
// themselves, so a command is forwarded once at most.
func failForwarded(batch []*proposal) []*proposal {
	kept := batch[:0]
	for _, each := range batch {
		if each.forwarded {
			each.finish(fsm.Outcome{}, errNotLeader)
			continue
		}
		kept = append(kept, each)
	}
	return kept
}

// attempt sends the batch once and, if that succeeds, answers its callers.
func (p *proposer) attempt(batch []*proposal) error {
	ctx, cancel := context.WithTimeout(p.ctx, attemptTimeout)
	defer cancel()
	commands := make([][]byte, len(batch))
	for i, each := range batch {
		commands[i] = each.command
	}
	outcomes, err := p.log.append(ctx, commands)
	if err != nil {
		return err
	}
	for i, each := range batch {
		each.finish(outcomes[i], nil)
	}
	return nil
}

// waitForLeader returns when another leader is known, the delay is over or the
// whole batch has lost patience.
func waitForLeader(batch []*proposal, changed <-chan struct{}, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	var only <-chan struct{}
	if len(batch) == 1 {
		only = batch[0].ctx.Done()
	}
	select {
	case <-changed:
	case <-timer.C:
	case <-only:
	}
}
