package fsm

import "strconv"

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
	KindLease          Kind = 12
	KindRestoreChunk   Kind = 13
	KindRestore        Kind = 14
	KindRaiseLevel     Kind = 15
)

// commandFormat follows the kind in every encoded command. A new field is a new
// format, accepted by one release before any release writes it.
const commandFormat = 1

// Command is a change of the state, proposed by a node and applied by all. The
// commands of this package are the only implementations; they are values, never
// pointers.
type Command interface {
	Kind() Kind
	head() Header

	// code hands the fields to x in their order and returns the command, filled
	// if x is reading.
	code(x *codec) Command

	// apply changes the state. The operation is new and its guard holds.
	apply(s *State) Outcome
}

// Header is what every command carries.
type Header struct {
	Operation OperationID
	Guard     Guard
}

func (h Header) head() Header { return h }

// Guard is what the proposer's decision to allow the command rested on. A node
// decides on its own, possibly late, state; the state machine refuses the command
// with [StaleDecision], without effect, when the ground has shifted since. So a
// write needs no confirmed read before it. The zero Guard asks for nothing.
type Guard struct {
	Caller           Principal  // checked unless zero
	CallerGeneration Generation // of the caller's record when its password was verified; zero: it has none
	RunBy            Principal  // who authenticated and acts as the caller; checked unless zero
	RunByGeneration  Generation // of that user's record; zero: it has none
	Bearer           Digest     // if not zero: the caller's access token, which must be live
	RolesVersion     uint64     // if not zero: the version of the role definitions
}

// AppendCommand appends the one encoding of c to dst: kind, format, fields. It
// does not check c; what breaks a limit is refused by [DecodeCommand].
func AppendCommand(dst []byte, c Command) []byte {
	x := codec{buf: append(dst, byte(c.Kind()), commandFormat)}
	c.code(&x)
	return x.buf
}

// DecodeCommand is the inverse of [AppendCommand]. It refuses, with an error that
// wraps [ErrUnreadable], whatever it does not understand to the last byte: a
// replica that skipped something would silently hold another state than its
// peers. The command does not alias b.
func DecodeCommand(b []byte) (Command, error) {
	x := codec{buf: b, reading: true}
	if len(b) > MaxCommandBytes {
		x.unreadable("command of %d bytes", len(b))
		return nil, x.err
	}
	start := x.take(2)
	if start == nil {
		return nil, x.err
	}
	empty := newCommand(Kind(start[0]))
	if empty == nil || start[1] != commandFormat {
		x.unreadable("command kind %d, format %d", start[0], start[1])
		return nil, x.err
	}
	c := empty.code(&x)
	if err := x.end(); err != nil {
		return nil, err
	}
	return c, nil
}

// newCommand returns an empty command, or nil if there is no such kind.
func newCommand(kind Kind) Command {
	switch kind {
	case KindInitialize:
		return Initialize{}
	case KindIssue:
		return Issue{}
	case KindRefresh:
		return Refresh{}
	case KindInvalidate:
		return Invalidate{}
	case KindPutUser:
		return PutUser{}
	case KindDeleteUser:
		return DeleteUser{}
	case KindSetPassword:
		return SetPassword{}
	case KindSetEnabled:
		return SetEnabled{}
	case KindPutRole:
		return PutRole{}
	case KindDeleteRole:
		return DeleteRole{}
	case KindCollectExpired:
		return CollectExpired{}
	case KindLease:
		return Lease{}
	case KindRestoreChunk:
		return RestoreChunk{}
	case KindRestore:
		return Restore{}
	case KindRaiseLevel:
		return RaiseLevel{}
	}
	return nil
}

// String returns the command's name in lower case, for logs and metrics.
func (k Kind) String() string {
	switch k {
	case KindInitialize:
		return "initialize"
	case KindIssue:
		return "issue"
	case KindRefresh:
		return "refresh"
	case KindInvalidate:
		return "invalidate"
	case KindPutUser:
		return "put_user"
	case KindDeleteUser:
		return "delete_user"
	case KindSetPassword:
		return "set_password"
	case KindSetEnabled:
		return "set_enabled"
	case KindPutRole:
		return "put_role"
	case KindDeleteRole:
		return "delete_role"
	case KindCollectExpired:
		return "collect_expired"
	case KindLease:
		return "lease"
	case KindRestoreChunk:
		return "restore_chunk"
	case KindRestore:
		return "restore"
	case KindRaiseLevel:
		return "raise_level"
	}
	return "kind " + strconv.Itoa(int(k))
}
