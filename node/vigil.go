package node

import (
	"context"
	"errors"
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
	ended chan struct{} // a connection from a peer has
	turn  time.Duration // between the candidacies of two members
	stand func()        // has raft stand for election; nil: it does so by itself only
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

// look finds out whether the leader has ended, and stands for election when it is this
// node's turn: two candidates at once would take votes from each other.
func (r *replica) look(ctx context.Context) {
	_, leader := r.raft.LeaderWithID()
	address, turn, ok := turnAfter(r.servers(), r.id, leader)
	if !ok || !r.refuses(ctx, r.addressOf(raft.Server{ID: leader, Address: address})) {
		return
	}
	pause(ctx, time.Duration(turn)*r.vigil.turn)
	if ctx.Err() != nil {
		return
	}
	if _, now := r.raft.LeaderWithID(); now != "" && now != leader {
		return
	}
	r.log.Info("the leader has ended; standing for election", "leader", leader)
	r.vigil.stand()
}

// turnAfter returns the leader's address by the configuration, and how many other voters
// stand before this one when it has ended. It is not ok if this node leads, has no vote or
// knows no leader.
func turnAfter(servers []raft.Server, self, leader raft.ServerID) (address raft.ServerAddress, turn int, ok bool) {
	if leader == self {
		return "", 0, false
	}
	for _, server := range servers {
		switch {
		case server.ID == leader:
			address = server.Address
		case server.Suffrage != raft.Voter:
		case server.ID == self:
			ok = true
		case server.ID < self:
			turn++
		}
	}
	return address, turn, ok && address != ""
}

// refuses tells whether nobody listens at an address, on a machine that answers.
func (r *replica) refuses(ctx context.Context, address raft.ServerAddress) bool {
	refused := 0
	for i := 0; i < 2*vigilProbes && ctx.Err() == nil; i++ { // the first may fail with a connection that ends just now
		probe, cancel := context.WithTimeout(ctx, vigilProbe)
		_, err := r.peers.Status(probe, address)
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
