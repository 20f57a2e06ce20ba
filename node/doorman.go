package node

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// stateRecovering is the state of a node that is about to go on alone; see recoverQuorum.
const stateRecovering = "Recovering"

// doorman answers what other nodes ask. Until a node has opened all that is behind its
// peerHandler, it says who it is, and that it is starting, and refuses the rest. It
// implements cluster.Handler.
type doorman struct {
	peerHandler
	hasData    bool // a log, or a snapshot
	recovering atomic.Bool
	read       atomic.Bool // the state, as far as a snapshot holds it
	open       atomic.Bool
}

var errStarting = fmt.Errorf("%w: this node is starting", cluster.ErrRefused)

// Status describes this node. Its data count before they have been read: nobody may take
// it for new. What they descend from is said as soon as it is known, so nodes that start
// together do not wait for each other.
func (d *doorman) Status(ctx context.Context) (cluster.Status, error) {
	if d.open.Load() {
		return d.peerHandler.Status(ctx)
	}
	status := d.n.identify()
	status.Bootstrapped = d.hasData
	if d.recovering.Load() {
		status.State = stateRecovering
	}
	if d.read.Load() {
		sum := d.n.replica.state.Summary()
		status.Read, status.ClusterID, status.Lineage, status.Ancestors = true, sum.ClusterID, sum.Lineage, ancestorsOf(sum)
	}
	return status, nil
}

// Propose implements cluster.Handler.
func (d *doorman) Propose(ctx context.Context, peer string, commands [][]byte) ([][]byte, error) {
	if !d.open.Load() {
		return nil, errStarting
	}
	return d.peerHandler.Propose(ctx, peer, commands)
}

// Confirm implements cluster.Handler. Of who has no vote no answer counts.
func (d *doorman) Confirm() cluster.Confirmation {
	if !d.open.Load() {
		return cluster.Confirmation{ServerID: d.n.replica.id}
	}
	return d.peerHandler.Confirm()
}

// Join implements cluster.Handler.
func (d *doorman) Join(ctx context.Context, request cluster.JoinRequest) error {
	if !d.open.Load() {
		return errStarting
	}
	return d.peerHandler.Join(ctx, request)
}

// Leave implements cluster.Handler.
func (d *doorman) Leave(ctx context.Context, id raft.ServerID) error {
	if !d.open.Load() {
		return errStarting
	}
	return d.peerHandler.Leave(ctx, id)
}

// Transfer implements cluster.Handler.
func (d *doorman) Transfer(ctx context.Context, id raft.ServerID) (raft.ServerID, error) {
	if !d.open.Load() {
		return "", errStarting
	}
	return d.peerHandler.Transfer(ctx, id)
}

// Exchange implements cluster.Handler.
func (d *doorman) Exchange(ctx, conn context.Context, question []byte) ([]byte, error) {
	if !d.open.Load() {
		return nil, errStarting
	}
	return d.peerHandler.Exchange(ctx, conn, question)
}
