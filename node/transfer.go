package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

const (
	// successorPatience is how long the voters may take to say how far they are.
	successorPatience = time.Second
	// refusalElections is for how many elections raft may refuse all writes of a leader
	// because it hands over. A transfer takes one at most.
	refusalElections = 2
	// refusalStep is the most that counts of the time between two refusals: a process
	// that was stopped and goes on has not been refused meanwhile.
	refusalStep = 250 * time.Millisecond
	// transferCheckInterval is how often a leader whose transfer failed looks whether it
	// may write again.
	transferCheckInterval = 250 * time.Millisecond
)

// transfer hands the leadership to the voter with that id, or to the one that is
// furthest if id is empty, and returns who leads then. Writes wait meanwhile. After
// an error of another kind than [cluster.ErrNotProposed] it may yet be handed over.
func (n *Node) transfer(ctx context.Context, id raft.ServerID) (raft.ServerID, error) {
	r := n.replica
	switch {
	case !r.leads():
		return "", peerHandler{n}.notLeader()
	case id == r.id:
		return r.id, nil
	case !n.transferring.CompareAndSwap(false, true):
		return "", fmt.Errorf("%w: the leadership is being handed over already", cluster.ErrRefused)
	}
	defer n.transferring.Store(false)
	// Whatever the pace of transfers, each term gets something done.
	if err := n.checkTransfer(ctx); err != nil {
		return "", fmt.Errorf("%w: this leader cannot write now: %w", cluster.ErrRefused, err)
	}
	successor, err := n.chooseSuccessor(ctx, id)
	if err != nil {
		return "", err
	}
	if err := await(ctx, r.raft.LeadershipTransferToServer(successor.ID, successor.Address)); err != nil {
		n.transferFailed.Store(true)
		return "", fmt.Errorf("%s has not taken over: %w", successor.ID, err)
	}
	n.awaitLeader(ctx)
	_, leader := r.raft.LeaderWithID()
	switch leader {
	case "":
		return "", errors.New("handed over, but no leader is known yet")
	case r.id:
		return "", fmt.Errorf("%s was not elected, this node leads again", successor.ID)
	default:
		n.log.Info("leadership handed over", "leader", leader)
		return leader, nil
	}
}

// chooseSuccessor returns who shall lead: a voter that answers now, the wanted one or
// the one whose log is longest.
func (n *Node) chooseSuccessor(ctx context.Context, wanted raft.ServerID) (successor raft.Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, successorPatience)
	defer cancel()
	var candidates []raft.Server
	var addresses []string
	for _, server := range n.replica.servers() {
		switch {
		case server.ID == n.replica.id, wanted != "" && server.ID != wanted:
		case server.Suffrage == raft.Voter:
			candidates = append(candidates, server)
			addresses = append(addresses, string(n.replica.addressOf(server)))
		case wanted != "":
			return successor, fmt.Errorf("%w: %s has no vote and cannot lead", cluster.ErrRefused, wanted)
		}
	}
	if len(candidates) == 0 {
		if wanted != "" {
			return successor, fmt.Errorf("%w: %s is not a member", cluster.ErrRefused, wanted)
		}
		return successor, fmt.Errorf("%w: there is no other voter", cluster.ErrRefused)
	}
	answers, _ := n.askStatus(ctx, addresses)
	furthest := uint64(0)
	for _, answer := range answers {
		i := slices.IndexFunc(candidates, func(s raft.Server) bool { return s.ID == answer.ServerID })
		if i >= 0 && (successor.ID == "" || answer.LastIndex > furthest) {
			successor, furthest = candidates[i], answer.LastIndex
		}
	}
	if successor.ID == "" {
		return successor, fmt.Errorf("%w: no voter that could take over answers", cluster.ErrRefused)
	}
	return successor, nil
}

// checkTransfer proves that this leader may write; raft can go on refusing it after a
// transfer that failed. See [refusals].
func (n *Node) checkTransfer(ctx context.Context) error {
	r := n.replica
	err := await(ctx, r.raft.Barrier(barrierTimeout))
	r.refusals.note(err)
	if err == nil || !r.leads() {
		n.transferFailed.Store(false)
	}
	return err
}

// checkFailedTransfer is the leader's duty after a transfer has failed, should nobody
// write.
func (n *Node) checkFailedTransfer(ctx context.Context) error {
	if n.transferFailed.Load() {
		_ = n.checkTransfer(ctx) // refusals tells if it lasts
	}
	return nil
}

// refusals notices that raft refuses every write of a leader since it takes a transfer
// of the leadership for unfinished. It can do so for ever: the goroutine that hands over
// hangs when the leader steps down at the wrong moment, also when this node leads
// again later (hashicorp/raft #696). Starting again mends it. Safe for concurrent use.
type refusals struct {
	fatal func(error)

	mu     sync.Mutex
	limit  time.Duration
	last   time.Time // of a refusal; zero: since the newest, a write was accepted or another leads
	waited time.Duration
}

// note takes note of what raft answered to a write.
func (f *refusals) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	switch {
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		if !f.last.IsZero() {
			f.waited += min(now.Sub(f.last), refusalStep)
		}
		f.last = now
		if f.waited > f.limit {
			f.fatal(fmt.Errorf("raft has refused all writes for more than %s, since a transfer of the leadership did not end (hashicorp/raft #696); "+
				"only a new start mends that, and it is safe", f.limit))
		}
	case err == nil, errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost):
		f.last, f.waited = time.Time{}, 0
	}
}

// lastContact is how long ago this node heard from a leader; a leader just has. Below
// zero: never.
func (r *replica) lastContact() time.Duration {
	at := r.raft.LastContact()
	switch {
	case r.leads():
		return 0
	case at.IsZero():
		return -time.Second
	default:
		return time.Since(at)
	}
}

// lastEntry is the term and the index of the newest entry in this node's log or
// snapshot.
func (r *replica) lastEntry() (term, index uint64) {
	stats := r.raft.Stats()
	term, _ = strconv.ParseUint(stats["last_log_term"], 10, 64)
	index, _ = strconv.ParseUint(stats["last_log_index"], 10, 64)
	return term, index
}
