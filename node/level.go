package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/realm"
)

// errLevel says that not all members understand a command yet.
var errLevel = errors.New("not all nodes of the cluster understand this yet")

// levels is what this release understands of the command set. Tests pretend to be other
// releases.
type levels struct {
	highest uint64
	of      func(fsm.Kind) uint64 // from which level on a kind may be proposed
}

// beyond is why a node ends whose cluster has gone further than it can.
func (l *levels) beyond(level uint64) error {
	return fmt.Errorf("the cluster has reached command-set level %d, and this release of jeton understands %d at most: "+
		"install the release that this node ran before, or a later one; there is no way back", level, l.highest)
}

// allows refuses commands that some member might not understand.
func (r *replica) allows(kind fsm.Kind) error {
	if needs, has := r.levels.of(kind), r.state.Level(); needs > has {
		return fmt.Errorf("%w: %w: %s needs command-set level %d and the cluster has %d; it rises when every member runs a release that knows it",
			realm.ErrUnavailable, errLevel, kind, needs, has)
	}
	return nil
}

// newProposer returns a proposer that refuses what some member might not understand.
func (r *replica) newProposer() *proposer {
	p := newProposer(r)
	p.allowed = r.allows
	return p
}

// raiseLevel is the leader's duty to have the cluster use what all members, with a vote
// or without, have just said that they understand. Nobody joins meanwhile.
func (n *Node) raiseLevel(ctx context.Context, p *pilot) error {
	release, err := n.lockJoining(ctx)
	if err != nil {
		return err
	}
	defer release()
	level := p.understood(n.replica.servers())
	if level <= n.replica.state.Level() {
		return nil
	}
	command := fsm.AppendCommand(nil, fsm.RaiseLevel{Level: level})
	var operation fsm.OperationID
	_, _ = rand.Read(operation[:]) // never fails
	operation.Name(command)
	// In this term of office or not at all: the next leader may have let in others.
	if _, err := n.replica.appendHere(ctx, [][]byte{command}); err != nil {
		return fmt.Errorf("raise the command-set level to %d: %w", level, err)
	}
	n.log.Info("all members understand more: the command-set level was raised", "level", level)
	return nil
}

// lockJoining waits until nobody joins and the level is not being raised: the leader
// decides one after the other who must understand what is proposed.
func (n *Node) lockJoining(ctx context.Context) (release func(), err error) {
	select {
	case n.joining <- struct{}{}:
		return func() { <-n.joining }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another node is joining: %w", cluster.ErrOverloaded, ctx.Err())
	}
}

// understood is the highest level that every one of the members understands, 0 if one of
// them has not answered the last time it was asked.
func (p *pilot) understood(members []raft.Server) (level uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, member := range members {
		seen := p.contacts[member.ID]
		if seen == nil || seen.silence > 0 {
			return 0
		}
		if i == 0 || seen.level < level {
			level = seen.level
		}
	}
	return level
}
