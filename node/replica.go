package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/realm"
)

const (
	// enqueueTimeout bounds how long raft's main loop may take to accept an entry.
	enqueueTimeout = time.Second
	// barrierTimeout bounds one attempt of a new leader to apply what its
	// predecessors committed.
	barrierTimeout = 10 * time.Second
	// catchUpPoll is how often a reader that waits for an entry looks whether it can
	// be applied.
	catchUpPoll = 2 * time.Millisecond
)

// errNotLeader says that this node does not lead; nothing was proposed.
var errNotLeader = fmt.Errorf("%w: %w", errRetry, cluster.ErrNotLeader)

// peers asks the other members: a *cluster.Client, whose errors it has. Its methods
// may be called concurrently.
type peers interface {
	Propose(ctx context.Context, address raft.ServerAddress, commands [][]byte) ([][]byte, cluster.Confirmation, error)
	StartConfirm(address raft.ServerAddress, done func(cluster.Confirmation, error))
	Join(ctx context.Context, address raft.ServerAddress, request cluster.JoinRequest) error
	Status(ctx context.Context, address raft.ServerAddress) (cluster.Status, error)
}

// replica is this node's copy of the log and the state, and its view of who
// leads. Its methods may be called concurrently.
type replica struct {
	id     raft.ServerID
	raft   *raft.Raft
	state  *fsm.FSM
	meter  *meter // the same, as raft sees it
	peers  peers
	levels *levels
	// learnCommit is cluster.Transport's; nil: raft hears of commits by itself.
	learnCommit func(leader raft.ServerID, address raft.ServerAddress, term, index, entryTerm uint64)
	addresses   *addressBook
	nameOf      func(raft.ServerID) string // of a member, by its certificate; empty if it is not known
	clock       *clusterClock
	coverage    *coverage
	refusals    *refusals
	lease       *lease                 // nil: reads are always confirmed by a quorum
	logs        raft.LogStore          // raft's, only to be read
	pending     *pendingLog            // nil without lease
	inherited   func() []fsm.ReadLease // what a new leader must reckon with: the state's
	log         hclog.Logger

	applied    broadcast // the state machine applied an entry
	vigil      vigil
	leadership broadcast     // another leader, or none, is known
	leaderTerm atomic.Uint64 // the newest term this node led with its barrier done

	notify   chan bool // raft.Config.NotifyCh: raft waits until it is read
	observer *raft.Observer
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// newReplica returns an empty replica. It is of use once peers are set and it was
// started. fatal is called when it cannot go on.
func newReplica(id raft.ServerID, addresses *addressBook, log hclog.Logger, fatal func(error)) *replica {
	r := &replica{id: id, addresses: addresses, log: log, notify: make(chan bool, 8)}
	r.vigil.ended = make(chan struct{}, 1)
	r.state = fsm.New(r.stateApplied)
	r.levels = &levels{highest: fsm.Level, of: fsm.Kind.Level}
	r.meter = &meter{FSM: r.state, levels: r.levels, now: time.Now, fatal: fatal}
	r.clock = newClusterClock(wallTime, bootTime, func() int64 { return int64(r.state.Now()) })
	r.coverage = newCoverage(id, bootTime)
	r.refusals = &refusals{fatal: fatal}
	r.inherited = r.state.ReadLeases
	return r
}

// useLease makes the replica ask for leases of that span. It comes before start. The
// process is told from former ones by its number, which stable keeps.
func (r *replica) useLease(span time.Duration, bootTime func() time.Duration, stable raft.StableStore) error {
	boot, err := countStart(stable)
	if err != nil {
		return err
	}
	r.coverage.bootTime = bootTime
	r.lease = newLease(r.id, boot, span, bootTime)
	r.lease.state, r.lease.append = r.state, r.append
	r.lease.name = func() (operation fsm.OperationID) {
		_, _ = rand.Read(operation[:]) // never fails
		return operation
	}
	return nil
}

// start starts raft, whose NotifyCh must be notify, and begins to follow the
// leadership. The caller closes first the replica, then raft.
func (r *replica) start(config *raft.Config, s *stores, transport raft.Transport) (err error) {
	logs := s.logs
	r.logs = logs
	if r.lease != nil {
		if r.pending, err = newPendingLog(logs, r.state); err != nil {
			return err
		}
		logs = r.pending
	}
	r.refusals.limit = refusalElections * (config.HeartbeatTimeout + config.ElectionTimeout)
	r.raft, err = raft.NewRaft(config, r.meter, logs, s.stable, s.snapshots, transport)
	if level := r.meter.beyond.Load(); level > 0 {
		return r.levels.beyond(level) // the snapshot's, which is why raft has not started
	}
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	r.watch()
	return nil
}

// watch begins to follow the leadership; close ends it.
func (r *replica) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	changes := make(chan raft.Observation, 16)
	r.observer = raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		r.vigil.note(o.Data)
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		default:
			return false
		}
	})
	r.raft.RegisterObserver(r.observer)
	if address, leader := r.raft.LeaderWithID(); leader != "" { // which it may have been told before
		r.vigil.note(raft.LeaderObservation{LeaderAddr: address, LeaderID: leader})
	}
	r.running.Go(func() { r.keepVigil(ctx) })
	r.running.Go(func() {
		for {
			select {
			case <-changes:
				r.leadership.wake()
			case <-ctx.Done():
				return
			}
		}
	})
	r.running.Go(func() {
		for {
			select {
			case leads := <-r.notify:
				if leads {
					r.running.Go(func() { r.takeOffice(ctx) })
				}
			case <-ctx.Done():
				return
			}
		}
	})
}

// close stops following the leadership. The members of the struct are closed by
// those who opened them.
func (r *replica) close() {
	r.raft.DeregisterObserver(r.observer)
	r.stop()
	r.running.Wait()
}

// leads tells whether this node believes that it leads. The belief can be wrong:
// it is good for choosing a way, never for answering a client.
func (r *replica) leads() bool { return r.raft.State() == raft.Leader }

func (r *replica) leaderChanged() <-chan struct{} { return r.leadership.wait() }

// append puts the commands on the log: as one entry if this node leads, else by
// one request to the leader.
func (r *replica) append(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error) {
	if r.leads() {
		return r.appendHere(ctx, commands)
	}
	// A request to a leader that has been replaced is given up at once.
	changed := r.leadership.wait()
	address, id := r.raft.LeaderWithID()
	if address == "" || id == r.id {
		return nil, fmt.Errorf("%w: no leader is known", errRetry)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-changed:
			cancel()
		case <-stop:
		}
	}()
	address = r.addressOf(raft.Server{ID: id, Address: address})
	encoded, leader, err := r.peers.Propose(ctx, address, commands)
	switch {
	case errors.Is(err, cluster.ErrOverloaded):
		return nil, fmt.Errorf("forward to the leader: %w", realm.ErrOverloaded)
	case err != nil:
		return nil, fmt.Errorf("%w: forward to the leader: %w", errRetry, err)
	case len(encoded) != len(commands):
		return nil, fmt.Errorf("%w: the leader answered %d of %d commands", errRetry, len(encoded), len(commands))
	}
	if leader.Leader {
		r.learn(leader) // whoever gets the token may show it here next
	}
	outcomes := make([]fsm.Outcome, len(encoded))
	for i, b := range encoded {
		if err = outcomes[i].Decode(b); err != nil {
			return nil, fmt.Errorf("read the leader's answer: %w", err)
		}
	}
	return outcomes, nil
}

// await waits for a future of raft, which by itself may never come, no longer
// than ctx.
func await(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("outcome unknown: %w", ctx.Err())
	}
}

// stateApplied is called by the state machine after each entry.
func (r *replica) stateApplied(index uint64) {
	if r.pending != nil {
		r.pending.applied(index)
		if r.lease.learn() && !r.leads() {
			// The leader stamped the entry a moment ago. Nothing else may tell us the time.
			r.clock.leaderSaid(int64(r.state.Now()))
		}
	}
	r.applied.wake()
}

// knowsRevocations tells whether this node's state includes every revocation of that
// access token, or of its identity's rights, which was acknowledged before the call. If not, or
// if it cannot tell, a confirmed read finds out.
func (r *replica) knowsRevocations(access fsm.Digest, identity *fsm.Identity) bool {
	return r.lease != nil && r.lease.holds() && !r.pending.concerns(access, identity)
}

// catchUp returns when the state includes the command entry that the leader named.
func (r *replica) catchUp(ctx context.Context, leader cluster.Confirmation) error {
	for r.state.Applied() < leader.Applied {
		applied := r.applied.wait()
		if r.state.Applied() >= leader.Applied {
			break
		}
		timer := time.NewTimer(catchUpPoll)
		select {
		case <-applied:
		case <-timer.C:
			r.learn(leader) // the entry may have arrived meanwhile
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for entry %d: %w", leader.Applied, ctx.Err())
		}
		timer.Stop()
	}
	return nil
}

// confirmSelf is this node's answer to the question of a confirmed read.
func (r *replica) confirmSelf() cluster.Confirmation {
	term := r.raft.CurrentTerm()
	leads := r.leads() && r.leaderTerm.Load() == term
	servers := r.servers()
	answer := cluster.Confirmation{ServerID: r.id, Term: term, NowUnixMilli: r.clock.own()}
	for _, server := range servers {
		if server.ID == r.id && server.Suffrage == raft.Voter {
			answer.Voter = true
		}
	}
	if leads {
		answer.Leader = true
		applied := r.meter.applied()
		answer.Applied, answer.AppliedTerm = applied.index, applied.term
		answer.Voters = cluster.Fingerprint(raft.Configuration{Servers: servers})
		answer.NowUnixMilli = r.clock.Now().UnixMilli()
		// The term only grows: if it still is the same, this node led it all along.
		answer.Leader = r.raft.CurrentTerm() == term
	}
	return answer
}

// voters returns the voters this node knows, the leader first.
func (r *replica) voters() []voter {
	servers := r.servers()
	_, leader := r.raft.LeaderWithID()
	voters := make([]voter, 0, len(servers))
	for _, server := range servers {
		if server.Suffrage != raft.Voter {
			continue
		}
		voters = append(voters, voter{id: server.ID, address: r.addressOf(server), self: server.ID == r.id})
		if last := len(voters) - 1; server.ID == leader {
			voters[0], voters[last] = voters[last], voters[0]
		}
	}
	return voters
}

// addressOf is where a member is: by its own word if it has moved.
func (r *replica) addressOf(server raft.Server) raft.ServerAddress {
	if moved := r.addresses.addressOf(server.ID); moved != "" {
		return moved
	}
	return server.Address
}

func (r *replica) ask(v voter, done func(cluster.Confirmation, error)) {
	r.peers.StartConfirm(v.address, done)
}

// heard takes note of what the leader of the newest term said of itself.
func (r *replica) heard(leader cluster.Confirmation) {
	if leader.ServerID == r.id {
		return
	}
	r.clock.leaderSaid(leader.NowUnixMilli)
	r.learn(leader)
}

// learn has raft apply what the leader said is committed, if the log has it.
func (r *replica) learn(leader cluster.Confirmation) {
	behind := r.state.Applied() < leader.Applied && leader.Applied <= r.raft.LastIndex()
	if !behind || r.learnCommit == nil || leader.AppliedTerm == 0 || r.raft.CurrentTerm() != leader.Term {
		return
	}
	if address, id := r.raft.LeaderWithID(); id == leader.ServerID {
		r.learnCommit(id, address, leader.Term, leader.Applied, leader.AppliedTerm)
	}
}

// servers returns the members of the newest configuration this node has.
func (r *replica) servers() []raft.Server {
	future := r.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}
