package fsm

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
	Expired           Reason = 11 // the operation's place in the memory of operations is gone; see OperationMemory
)

// Outcome is the state machine's answer to one command. Repeating the command
// (same OperationID) returns the first outcome.
type Outcome struct {
	Reason                Reason
	Existed               bool   // PutUser, PutRole: replaced; DeleteUser, DeleteRole: found
	Invalidated           uint32 // Invalidate, and what a DeleteUser/SetPassword/SetEnabled ended
	PreviouslyInvalidated uint32
	Collected             uint32 // CollectExpired
	Salt                  Salt   // Refresh: what the successor is derived with; not the command's own on repetition
}

// RefusalError is a Reason as an error.
type RefusalError struct{ Reason Reason }
