package tokentest

import (
	"fmt"
	"math"
	"strings"
)

// Action is what a client asked for.
type Action uint8

// The actions. Those from InvalidateUser on concern a whole user.
const (
	Issue Action = iota
	Refresh
	Authenticate
	InvalidateAccess
	InvalidateRefresh
	InvalidateFamily
	InvalidateUser
	SetPassword
)

// Answer is what a client got.
type Answer uint8

// The answers.
const (
	Done        Answer = iota
	Dead               // authenticate: invalidated
	Invalidated        // refresh: the refresh token was invalidated
	Reused             // refresh: used before, and the family ended
	Unknown            // no answer that tells: it may take effect later, or not
)

// Input is one operation. Tokens are named by family and generation: a login begins a
// family, a refresh of the last generation adds the next.
type Input struct {
	Action     Action
	User       string // required for Issue and for what concerns a whole user
	Family     int    // of no meaning for those
	Generation int    // below MaxGenerations
}

// MaxGenerations is how many generations of a family can be told apart. Clients stop
// refreshing before it is reached.
const MaxGenerations = 64

// Pair is an access token and its refresh token, as the client got them.
type Pair struct{ Access, Refresh string }

// Output is how an operation ended.
type Output struct {
	Answer Answer
	Pair   Pair // of Issue and Refresh that are Done

	// What InvalidateAccess and InvalidateRefresh say they ended, unless Uncounted.
	Invalidated, PreviouslyInvalidated int
	Uncounted                          bool
}

// Operation is one operation of a [History], from [History.Start] on. It belongs to
// the history.
type Operation struct {
	client  int
	in      Input
	out     Output
	call    int64
	end     int64 // never, while it is open
	dropped bool  // without effect, and told nothing
}

const never = math.MaxInt64

func (op *Operation) open() bool { return op.end == never }

// wide tells whether an operation concerns all families of a user.
func (in Input) wide() bool { return in.Action >= InvalidateUser }

// String describes an operation in reports.
func (in Input) String() string {
	verbs := [...]string{
		"issue", "refresh", "authenticate", "invalidate access", "invalidate refresh", "invalidate family",
		"invalidate user", "set password",
	}
	if in.wide() {
		return verbs[in.Action] + " " + in.User
	}
	return fmt.Sprintf("%s %d.%d", verbs[in.Action], in.Family, in.Generation)
}

// String describes an answer in reports, without secrets.
func (out Output) String() string {
	text := [...]string{"done", "dead", "invalidated", "reused", "no answer"}[out.Answer]
	if out.Invalidated != 0 || out.PreviouslyInvalidated != 0 {
		text += fmt.Sprintf(" %d+%d", out.Invalidated, out.PreviouslyInvalidated)
	}
	return text
}

// describe lists operations for a report; moment writes a time.
func describe(part []Operation, moment func(int64) string) string {
	var text strings.Builder
	for _, op := range part {
		end := "..."
		if !op.open() {
			end = moment(op.end)
		}
		fmt.Fprintf(&text, "  client %d [%s, %s] %s -> %s\n", op.client, moment(op.call), end, op.in, op.out)
	}
	return text.String()
}
