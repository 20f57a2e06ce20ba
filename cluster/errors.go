package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotProposed is wrapped by every error after which the request certainly
	// had no effect and never will. After any other error of [Client.Propose],
	// [Client.Join], [Client.Leave] and [Client.Transfer] the outcome is unknown: it may take effect
	// later, also after the peer was lost.
	ErrNotProposed = errors.New("certainly without effect")

	// ErrNotSent says that the request never left this node.
	ErrNotSent = fmt.Errorf("not sent, %w", ErrNotProposed)

	// ErrNotLeader says that the peer does not lead; see [NotLeaderError].
	ErrNotLeader = fmt.Errorf("not the leader, %w", ErrNotProposed)

	// ErrOverloaded says that the peer has too much to do to look at the request.
	ErrOverloaded = fmt.Errorf("overloaded, %w", ErrNotProposed)

	// ErrRefused says that the peer understood the request and will not do it.
	ErrRefused = fmt.Errorf("refused, %w", ErrNotProposed)

	// ErrClosed is returned for what is asked of a closed [Client] or stream layer.
	ErrClosed = fmt.Errorf("closed, %w", ErrNotSent)
)

// NotLeaderError is [ErrNotLeader] with a hint where the leader may be found.
type NotLeaderError struct {
	Leader raft.ServerAddress // empty if the peer knows none; it may be stale
}

// Error implements error.
func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return ErrNotLeader.Error() + "; no leader is known"
	}
	return ErrNotLeader.Error() + "; it may be " + string(e.Leader)
}

// Unwrap makes errors.Is find [ErrNotLeader].
func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }
