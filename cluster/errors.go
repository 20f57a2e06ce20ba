package cluster

import (
	"errors"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotProposed is wrapped by every error after which the request certainly
	// had no effect and never will. After any other error of [Client.Propose],
	// [Client.Join], [Client.Leave] and [Client.Transfer] the outcome is unknown: it may take effect
	// later, also after the peer was lost.
	ErrNotProposed = errors.New("without effect")

	// ErrNotSent says that the request never left this node.
	ErrNotSent error = &certainError{"nothing was sent", ErrNotProposed}

	// ErrNotLeader says that the peer does not lead; see [NotLeaderError].
	ErrNotLeader error = &certainError{"not the leader", ErrNotProposed}

	// ErrOverloaded says that the peer has too much to do to look at the request.
	ErrOverloaded error = &certainError{"overloaded, try again in a moment", ErrNotProposed}

	// ErrRefused says that the peer understood the request and will not do it.
	ErrRefused error = &certainError{"refused", ErrNotProposed}

	// ErrClosed is returned for what is asked of a closed [Client] or stream layer.
	ErrClosed error = &certainError{"closed", ErrNotSent}
)

// certainError is a kind of [ErrNotProposed] that has a text of its own, for an operator.
type certainError struct {
	text string
	is   error
}

func (e *certainError) Error() string { return e.text }
func (e *certainError) Unwrap() error { return e.is }

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
