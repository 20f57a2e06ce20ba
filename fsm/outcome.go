package fsm

import "strconv"

// Reason is a deterministic "no" of the state machine. Numbers are explicit and
// appended only: outcomes travel between nodes of different versions.
type Reason uint8

// The reasons. Descriptions of refresh refusals are Elasticsearch's.
const (
	Done              Reason = 0  // not a refusal
	StaleDecision     Reason = 1  // the Guard or a generation no longer holds: authenticate again and propose anew
	DigestTaken       Reason = 2  // a token with this digest exists already (another operation)
	UnknownToken      Reason = 3  // refresh: no such refresh token
	RefreshExpired    Reason = 4  // refresh: the refresh token or its session has expired
	TokenInvalidated  Reason = 5  // refresh: the refresh token was invalidated
	NotCreatingClient Reason = 6  // refresh: another client than the one that obtained the pair
	Reused            Reason = 7  // refresh: consumed earlier than the window allows; the family has been ended unless KeepFamily
	UnknownUser       Reason = 8  // SetPassword, SetEnabled: no such user
	PasswordRequired  Reason = 9  // PutUser without verifier for a new user
	AlreadySet        Reason = 10 // SetPassword with OnlyIfUnset; Initialize on an initialized cluster
	Expired           Reason = 11 // kept for operations known to be older than OperationMemory; no rule answers it now
	NotOwned          Reason = 12 // Invalidate: a token is not OwnedBy that user
	RestoreLost       Reason = 13 // RestoreChunk, Restore: what was brought before was abandoned, or dropped for another restore
	RestoreUnreadable Reason = 14 // RestoreChunk, Restore: what was brought is too much, damaged, or of a newer release
	RestoreForeign    Reason = 15 // Restore: the file is another cluster's, or of another cluster key
	RestoreOutdated   Reason = 16 // Restore: a recovery came before, since which nobody knows what became of the file's sessions
	RestoreAhead      Reason = 17 // Restore: the file's time, which its sessions need, is ahead of the cluster's
)

// Outcome is the state machine's answer to one command. Repeating the command
// (same OperationID) returns the first outcome.
type Outcome struct {
	Reason                Reason
	Existed               bool   // PutUser, PutRole: replaced; DeleteUser, DeleteRole: found
	Invalidated           uint32 // Invalidate, and what a PutUser, DeleteUser, SetPassword, SetEnabled or a reuse ended
	PreviouslyInvalidated uint32
	Collected             uint32 // CollectExpired
	Salt                  Salt   // Refresh: what the successor is derived with; not the command's own on repetition
}

// outcomeFormat is the first byte of every encoded outcome.
const outcomeFormat = 1

// Append appends the one encoding of o to dst.
func (o *Outcome) Append(dst []byte) []byte {
	x := codec{buf: append(dst, outcomeFormat)}
	o.code(&x)
	return x.buf
}

// Decode is the inverse of [Outcome.Append] and as strict as [DecodeCommand]: after an
// error o is zero. A reason this release does not know is no fault.
func (o *Outcome) Decode(b []byte) error {
	*o = Outcome{}
	x := codec{buf: b, reading: true}
	format := x.take(1)
	if format == nil {
		return x.err
	}
	if format[0] != outcomeFormat {
		x.unreadable("outcome format %d", format[0])
		return x.err
	}
	o.code(&x)
	if err := x.end(); err != nil {
		*o = Outcome{}
		return err
	}
	return nil
}

func (o *Outcome) code(x *codec) {
	reason := uint64(o.Reason)
	x.uint(&reason, 255)
	if x.reading {
		o.Reason = Reason(reason) //nolint:gosec // within the limit
	}
	x.flag(&o.Existed)
	x.count(&o.Invalidated)
	x.count(&o.PreviouslyInvalidated)
	x.count(&o.Collected)
	salted := o.Salt != Salt{}
	x.flag(&salted)
	if salted {
		x.raw(o.Salt[:])
		x.require(o.Salt != Salt{}, "no salt")
	}
}

// RefusalError is a Reason as an error.
type RefusalError struct{ Reason Reason }

// Error names the reason; it is for logs, not for clients.
func (e *RefusalError) Error() string { return "refused: " + e.Reason.String() }

// String describes the reason in words for logs.
func (r Reason) String() string {
	switch r {
	case Done:
		return "done"
	case StaleDecision:
		return "what the decision rested on has changed"
	case DigestTaken:
		return "a token with this digest exists"
	case UnknownToken:
		return "unknown token"
	case RefreshExpired:
		return "refresh token expired"
	case TokenInvalidated:
		return "token invalidated"
	case NotCreatingClient:
		return "not the creating client"
	case Reused:
		return "refresh token reused"
	case UnknownUser:
		return "unknown user"
	case PasswordRequired:
		return "password required"
	case AlreadySet:
		return "already set"
	case Expired:
		return "operation forgotten"
	case NotOwned:
		return "not the user's own token"
	case RestoreLost:
		return "restore abandoned or replaced"
	case RestoreUnreadable:
		return "what is to be restored cannot be read"
	case RestoreForeign:
		return "another cluster's state"
	case RestoreOutdated:
		return "another recovery came before"
	case RestoreAhead:
		return "the time of what is to be restored is ahead"
	}
	return "reason " + strconv.Itoa(int(r))
}
