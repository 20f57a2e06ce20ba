package realm

import (
	"context"

	"jeton/fsm"
)

// Login is a user whose password was verified.
type Login struct {
	Identity   *fsm.Identity  // shared and immutable
	Generation fsm.Generation // of the record that was looked at; 0 in the file realm
}

// Log changes the replicated state. Safe for concurrent use.
type Log interface {
	// Propose returns the state machine's answer, or [ErrUnavailable] or
	// [ErrOverloaded]. It draws the operation id if the command has none.
	Propose(ctx context.Context, command fsm.Command) (fsm.Outcome, error)
}

// View is this node's replicated state, which may be late. Safe for concurrent
// use; what it returns is shared and immutable.
type View interface {
	User(realm fsm.RealmName, username fsm.Username) (fsm.User, bool)
	Users() []fsm.User // native users, sorted
	Role(name fsm.RoleName) (fsm.Role, bool)
	Roles() []fsm.Role // sorted
	RolesVersion() uint64
}
