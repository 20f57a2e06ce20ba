package node

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// vigilProbes is how often in a row the leader's port must refuse.
	vigilProbes = 2
	// vigilPause is between two of them.
	vigilPause = 20 * time.Millisecond
	// vigilProbe bounds one.
	vigilProbe = 500 * time.Millisecond
	// vigilTurns is how many members may stand one after the other within an election
	// timeout.
	vigilTurns = 8
)

// vigil is how a follower learns that the leader's process has ended, and what it does then.
type vigil struct {
	ended chan struct{}     // a connection from a peer has
	turn  time.Duration     // how long a candidate is left alone
	stand func(lost uint64) // see cluster.Transport.StandForElection; nil: raft stands by itself only
	dial  func(ctx context.Context, address raft.ServerAddress) error
	over  atomic.Bool // this node is ending, and stands no more

	mu      sync.Mutex
	leader  raft.ServerID // the last that was known
	leaders uint64        // so many were known, one after the other
	asked   time.Time     // when a vote was asked of this node; zero: not since then
}

// note takes note of what raft observes. It is called by raft, which waits.
func (v *vigil) note(data any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch observed := data.(type) {
	case raft.LeaderObservation:
		if observed.LeaderID != "" {
			v.leader, v.leaders, v.asked = observed.LeaderID, v.leaders+1, time.Time{}
		}
	case raft.RequestVoteRequest:
		if len(observed.ID) > 0 { // else it is of StandForElection
			v.asked = time.Now()
		}
	}
}

// peerEnded says that a connection has ended on which a peer's raft spoke to this one's.
// Does not block.
func (r *replica) peerEnded() {
	select {
	case r.vigil.ended <- struct{}{}:
	default:
	}
}

// keepVigil has this node stand for election as soon as it is plain that the leader's
// process has ended, instead of after a heartbeat timeout: its connections end and its port
// refuses. A leader that is only slow, or cut off, does neither. It ends with ctx.
func (r *replica) keepVigil(ctx context.Context) {
	if r.vigil.stand == nil {
		return
	}
	for {
		select {
		case <-r.vigil.ended:
			r.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look finds out whether the leader has ended, and sees to it then that there is another: it
// has this node stand for election in its turn, and again, until somebody leads or raft's own
// timers are about to do the same. All is looked at anew before each attempt, for an order
// to stand deposes a leader that is well.
func (r *replica) look(ctx context.Context) {
	leader, number := r.vigil.lastLeader()
	ctx, cancel := context.WithTimeout(ctx, vigilTurns*r.vigil.turn)
	defer cancel()
	var noticed, stood time.Time
	patience := r.vigil.turn
	for r.hasEnded(ctx, leader, number) {
		if noticed.IsZero() {
			noticed = time.Now()
		}
		turn, majority := r.ahead(ctx, r.servers(), leader)
		due := noticed.Add(time.Duration(turn) * patience)
		for _, election := range []time.Time{stood, r.othersElection()} {
			// Each election ends the one before, so none is disturbed while it may be under way. However
			// it was lost, not all candidates stand again at the same time.
			if next := election.Add(time.Duration(turn+1) * patience); !election.IsZero() && next.After(due) {
				due = next
			}
		}
		switch wait := time.Until(due); {
		case wait > 0:
			pause(ctx, wait)
		case !majority:
			pause(ctx, r.vigil.turn) // somebody may be coming back
		case r.responsive(ctx) && r.vigil.still(number):
			r.stand(leader)
			stood = time.Now()
			patience *= 2 // disks may be slow: an election is five synced writes
		}
	}
}

// stand has raft begin an election, and leave the one that it is in.
func (r *replica) stand(ended raft.ServerID) {
	r.log.Info("the leader has ended; standing for election", "leader", ended)
	lost := uint64(0)
	if r.raft.State() == raft.Candidate {
		lost = r.raft.CurrentTerm()
	}
	r.vigil.stand(lost)
}

// hasEnded tells whether the last known leader's process is gone, while this node may stand.
func (r *replica) hasEnded(ctx context.Context, leader raft.ServerID, number uint64) bool {
	address, ok := addressOfEnded(r.servers(), r.id, leader)
	if !ok || r.vigil.over.Load() || !r.vigil.still(number) {
		return false
	}
	return r.refuses(ctx, r.addressOf(raft.Server{ID: leader, Address: address})) && ctx.Err() == nil
}

// lastLeader is who leads, or led before an election began. The number is another with each
// leader.
func (v *vigil) lastLeader() (leader raft.ServerID, number uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.leader, v.leaders
}

// still tells whether no other leader has been known since that one.
func (v *vigil) still(number uint64) bool {
	_, now := v.lastLeader()
	return now == number
}

// addressOfEnded returns the leader's address by the configuration. It is not ok if this
// node led, has no vote or knows no leader.
func addressOfEnded(servers []raft.Server, self, leader raft.ServerID) (address raft.ServerAddress, ok bool) {
	for _, server := range servers {
		switch server.ID {
		case leader:
			address = server.Address
		case self:
			ok = server.Suffrage == raft.Voter
		}
	}
	return address, ok && address != ""
}

// ahead tells how many other voters should stand before this one when the leader has
// ended: those whose logs are longer, for only they can be sure of the votes, and of equal ones
// the first by name. Two candidates at once would take votes from each other. It tells, too,
// whether a majority answers that knows of no other leader: without one nobody can win, and would
// only use up terms, and another leader would be deposed.
func (r *replica) ahead(ctx context.Context, servers []raft.Server, ended raft.ServerID) (turn int, majority bool) {
	ctx, cancel := context.WithTimeout(ctx, r.vigil.turn)
	defer cancel()
	type answer struct{ ahead, votes bool }
	answers := make(chan answer, len(servers))
	voters, asked := 0, 0
	for _, server := range servers {
		if server.Suffrage != raft.Voter {
			continue
		}
		voters++
		if server.ID == r.id || server.ID == ended {
			continue
		}
		asked++
		go func() {
			status, err := r.peers.Status(ctx, r.addressOf(server))
			if err != nil || status.ServerID != server.ID { // it may be slow, or has ended, too
				answers <- answer{ahead: ctx.Err() != nil && server.ID < r.id}
				return
			}
			term, index := r.lastEntry()
			order := cmp.Or(cmp.Compare(status.LastTerm, term), cmp.Compare(status.LastIndex, index), cmp.Compare(r.id, server.ID))
			answers <- answer{ahead: order > 0, votes: status.LeaderID == "" || status.LeaderID == ended}
		}()
	}
	votes := 1 // its own
	for range asked {
		a := <-answers
		if a.ahead {
			turn++
		}
		if a.votes {
			votes++
		}
	}
	return turn, votes > voters/2
}

// othersElection is when another candidate asked for this node's vote, or got it; zero: not
// since a leader was known.
func (r *replica) othersElection() time.Time {
	r.vigil.mu.Lock()
	asked := r.vigil.asked
	r.vigil.mu.Unlock()
	if voted := r.raft.LastContact(); !asked.IsZero() && voted.After(asked) {
		return voted
	}
	return asked
}

// responsive tells whether raft's main loop does something now. An order to stand that it
// found later, when its disk no longer hangs, could depose another leader.
func (r *replica) responsive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, r.vigil.turn)
	defer cancel()
	_ = await(ctx, r.raft.VerifyLeader()) // who does not lead answers at once, and asks nobody
	return ctx.Err() == nil
}

// refuses tells whether nobody listens at an address, on a machine that answers.
func (r *replica) refuses(ctx context.Context, address raft.ServerAddress) bool {
	refused := 0
	for i := 0; i < 2*vigilProbes && ctx.Err() == nil; i++ { // the first may fail with a connection that ends just now
		probe, cancel := context.WithTimeout(ctx, vigilProbe)
		_, err := r.peers.Status(probe, address)
		if err != nil { // perhaps from memory: a client does not dial again and again
			err = r.vigil.dial(probe, address)
		}
		cancel()
		switch {
		case err == nil:
			return false
		case errors.Is(err, syscall.ECONNREFUSED):
			refused++
		default:
			refused = 0
		}
		if refused == vigilProbes {
			return true
		}
		pause(ctx, vigilPause)
	}
	return false
}

// dialPort connects to a port and says nothing.
func dialPort(ctx context.Context, address raft.ServerAddress) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", string(address))
	if err != nil {
		return err //nolint:wrapcheck // only its kind matters
	}
	return conn.Close() //nolint:wrapcheck // the same
}
