package fsm

// Kind numbers the commands. The log outlives the binary: numbers are explicit,
// appended only, and never used again.
type Kind uint8

// The kinds of command.
const (
	KindInitialize     Kind = 1
	KindIssue          Kind = 2
	KindRefresh        Kind = 3
	KindInvalidate     Kind = 4
	KindPutUser        Kind = 5
	KindDeleteUser     Kind = 6
	KindSetPassword    Kind = 7
	KindSetEnabled     Kind = 8
	KindPutRole        Kind = 9
	KindDeleteRole     Kind = 10
	KindCollectExpired Kind = 11
)

// Command is a change of the state, proposed by a node and applied by all. The
// commands of this package are the only implementations.
type Command interface {
	Kind() Kind
}

// Header is what every command carries.
type Header struct {
	Operation OperationID
	Guard     Guard
}

// Guard is what the proposer's decision to allow the command rested on. A node
// decides on its own, possibly late, state; the state machine refuses the command
// with [StaleDecision], without effect, when the ground has shifted since. So a
// write needs no confirmed read before it. The zero Guard asks for nothing.
type Guard struct {
	Caller           Principal  // checked if CallerGeneration is not zero
	CallerGeneration Generation // of the caller's record when its password was verified
	Bearer           Digest     // if not zero: the caller's access token, which must be live
	RolesVersion     uint64     // if not zero: the version of the role definitions
}
