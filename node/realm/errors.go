package realm

import (
	"errors"
	"strconv"
	"strings"

	"jeton/fsm"
)

// Errors without details. Compare with [errors.Is].
var (
	// ErrUnavailable means that the outcome is not known: no leader, no quorum, or
	// the deadline came first. Repeating is safe.
	ErrUnavailable = errors.New("unavailable")
	// ErrOverloaded means that the proposal was refused unseen: too many are pending.
	ErrOverloaded = errors.New("overloaded")
	// ErrBusy means that too many passwords wait to be hashed on this node.
	ErrBusy = errors.New("too many password verifications are pending")
	// ErrBadCredentials means unknown user, wrong password, or disabled user; which
	// of them is not told.
	ErrBadCredentials = errors.New("bad credentials")
	// ErrStale means that the [fsm.Guard] of a write no longer held when it was
	// applied, and nothing was changed: authenticate, authorize, and propose again.
	ErrStale = errors.New("the decision to allow this request is out of date")
)

// ValidationError is a request with problems, all of them reported at once.
type ValidationError struct {
	Type     string // Elasticsearch's: action_request_validation_exception or validation_exception
	Messages []string
}

// invalid is a problem that Elasticsearch finds while it reads or executes a request.
func invalid(messages ...string) error {
	return &ValidationError{Type: "validation_exception", Messages: messages}
}

// invalidAction is for problems that it finds when it checks the request as a whole.
// It is nil without messages.
func invalidAction(messages ...string) error {
	if len(messages) == 0 {
		return nil
	}
	return &ValidationError{Type: "action_request_validation_exception", Messages: messages}
}

// Error is Elasticsearch's text: "Validation Failed: 1: first;2: second;".
func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString("Validation Failed: ")
	for i, message := range e.Messages {
		b.WriteString(strconv.Itoa(i + 1))
		b.WriteString(": ")
		b.WriteString(message)
		b.WriteByte(';')
	}
	return b.String()
}

// ArgumentError is a request that Elasticsearch answers with
// illegal_argument_exception.
type ArgumentError struct{ Message string }

// Error implements error.
func (e *ArgumentError) Error() string { return e.Message }

// ForbiddenError is an action that the user's roles do not allow, or the scope of its
// token.
type ForbiddenError struct {
	Action     string
	Username   fsm.Username   // who authenticated
	RunAs      fsm.Username   // as whom it acts; empty: as itself
	Effective  []fsm.RoleName // the roles that exist of the one acted as, sorted
	Unknown    []fsm.RoleName // those that do not exist, sorted
	Scope      []string       // of the token; nil: not narrowed
	Privileges []string       // cluster privileges that would allow it, least first
}

// Error is Elasticsearch's text, and the scope, which Elasticsearch does not have.
func (e *ForbiddenError) Error() string {
	var b strings.Builder
	b.WriteString("action [" + e.Action + "] is unauthorized for user [" + string(e.Username) + "]")
	if e.RunAs != "" {
		b.WriteString(" run as [" + string(e.RunAs) + "]")
	}
	b.WriteString(" with effective roles [" + joinRoles(e.Effective) + "]")
	if len(e.Unknown) > 0 {
		b.WriteString(" (assigned roles [" + joinRoles(e.Unknown) + "] were not found)")
	}
	if e.Scope != nil {
		b.WriteString(" and the scope [" + strings.Join(e.Scope, ",") + "]")
	}
	if len(e.Privileges) > 0 {
		b.WriteString(", this action is granted by the cluster privileges [" + strings.Join(e.Privileges, ",") + "]")
	}
	return b.String()
}

func joinRoles(names []fsm.RoleName) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = string(name)
	}
	return strings.Join(parts, ",")
}
