package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// action is what a client asked for.
type action uint8

const (
	doIssue action = iota
	doRefresh
	doAuthenticate
	doInvalidateAccess
	doInvalidateRefresh
	doInvalidateFamily
	doInvalidateUser
	doSetPassword
)

// answer is what a client got.
type answer uint8

const (
	answerDone        answer = iota
	answerDead               // authenticate: invalidated
	answerInvalidated        // refresh: the refresh token was invalidated
	answerReused             // refresh: used before, the family ended
	answerNone               // the outcome is not known: it may take effect later, or not
)

// input and output are one operation of a history. Tokens are named by family
// and generation: a login begins a family, a refresh adds a generation.
type input struct {
	action     action
	user       string
	family     int // of no meaning for what concerns a whole user
	generation int
}

type output struct {
	answer answer
	counts token.Counts
}

// history is what clients saw, each operation with its interval in real time.
type history struct {
	mu         sync.Mutex
	clock      int64
	families   []*family
	operations []porcupine.Operation
	problems   []string
}

// family is what clients know of the tokens that come of one login.
type family struct {
	user  string
	pairs []token.Pair // by generation
}

func (h *history) problem(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problemLocked(format, args...)
}

func (h *history) problemLocked(format string, args ...any) {
	h.problems = append(h.problems, fmt.Sprintf(format, args...))
}

func (h *history) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	return h.clock
}

// add records an operation that began at that moment and ends now.
func (h *history) add(client int, called int64, in input, out output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	returned := h.clock
	if out.answer == answerNone {
		returned = math.MaxInt64
	}
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: called, Return: returned})
}

// begin adds a family for a new pair.
func (h *history) begin(user string, pair token.Pair) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.families = append(h.families, &family{user: user, pairs: []token.Pair{pair}})
	return len(h.families) - 1
}

// succeed notes the successor of a pair, of which there is one, ever.
func (h *history) succeed(in input, pair token.Pair) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.families[in.family]
	if in.generation+1 == len(f.pairs) {
		f.pairs = append(f.pairs, pair)
		return
	}
	known := f.pairs[in.generation+1]
	if known.AccessToken.Expose() != pair.AccessToken.Expose() || known.RefreshToken.Expose() != pair.RefreshToken.Expose() {
		h.problemLocked("family %d: two different successors of generation %d", in.family, in.generation)
	}
}

// client is one client of the cluster, which asks any member.
type client struct {
	number  int
	sim     *sim
	history *history
	random  *rand.Rand
	p       *incarnation // whom it asks this time
}

// run sends requests until stop.
func (c *client) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(c.random.IntN(30)) * time.Millisecond):
		}
		c.p = c.sim.members[c.random.IntN(len(c.sim.members))].running()
		if c.p == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(50+c.random.IntN(1500))*time.Millisecond)
		c.act(ctx, c.choose())
		cancel()
	}
}

// choose draws what to ask. Few families are in use at once, so that clients meet.
func (c *client) choose() input {
	h := c.history
	h.mu.Lock()
	defer h.mu.Unlock()
	user := fmt.Sprintf("user%d", c.random.IntN(2))
	n := len(h.families)
	draw := c.random.IntN(100)
	switch {
	case n == 0 || draw < 10:
		return input{action: doIssue, user: user}
	case draw < 11:
		return input{action: doInvalidateUser, user: user}
	case draw < 12:
		return input{action: doSetPassword, user: user}
	}
	in := input{family: n - 1 - c.random.IntN(min(n, 4))}
	f := h.families[in.family]
	in.user, in.generation = f.user, max(0, len(f.pairs)-1-c.random.IntN(3))
	switch {
	case draw < 32:
		in.action = doRefresh
	case draw < 46:
		in.action = doInvalidateAccess
	case draw < 50:
		in.action = doInvalidateRefresh
	case draw < 52:
		in.action = doInvalidateFamily
	default:
		in.action = doAuthenticate
	}
	return in
}

// act sends one request and records what came of it.
func (c *client) act(ctx context.Context, in input) {
	h := c.history
	var pair token.Pair
	if in.action != doIssue && in.action != doInvalidateUser && in.action != doSetPassword {
		h.mu.Lock()
		pair = h.families[in.family].pairs[in.generation]
		h.mu.Unlock()
	}
	called := h.now()
	out, err := output{}, error(nil)
	var got token.Pair
	switch in.action {
	case doIssue:
		got, err = c.p.issue(ctx, in.user)
	case doRefresh:
		got, err = c.p.refresh(ctx, in.user, pair.RefreshToken)
	case doAuthenticate:
		err = c.p.authenticate(ctx, pair.AccessToken)
	case doInvalidateAccess:
		out.counts, err = c.p.invalidate(ctx, in.user, token.InvalidateRequest{Token: pair.AccessToken})
	case doInvalidateRefresh:
		out.counts, err = c.p.invalidate(ctx, in.user, token.InvalidateRequest{RefreshToken: pair.RefreshToken})
	case doInvalidateFamily:
		_, err = c.p.invalidate(ctx, in.user, token.InvalidateRequest{RefreshToken: pair.RefreshToken, Reach: fsm.ReachFamily})
	case doInvalidateUser:
		_, err = c.p.invalidate(ctx, in.user, token.InvalidateRequest{Username: fsm.Username(in.user)})
	case doSetPassword: // to the same one: it ends all tokens like any other
		_, err = c.p.node.Propose(ctx, fsm.SetPassword{Realm: fsm.RealmNative, Username: fsm.Username(in.user), Verifier: simPassword})
	}
	var recorded bool
	if out.answer, recorded = c.classify(in, err); !recorded {
		return
	}
	if out.answer == answerDone && in.action == doIssue {
		in.family = h.begin(in.user, got)
	}
	if out.answer == answerDone && in.action == doRefresh {
		h.succeed(in, got)
	}
	h.add(c.number, called, in, out)
}

// classify says what an error means. Nothing is recorded of a read that failed,
// of a write that certainly had no effect, and of an issue whose tokens nobody knows.
func (c *client) classify(in input, err error) (out answer, recorded bool) {
	refusal, refused := errors.AsType[*fsm.RefusalError](err)
	switch {
	case c.p.isDead(), errors.Is(err, token.ErrUnavailable):
		return answerNone, in.action != doIssue && in.action != doAuthenticate
	case err == nil:
		return answerDone, true
	case errors.Is(err, realm.ErrOverloaded):
		return 0, false
	case in.action == doAuthenticate && errors.Is(err, token.ErrExpired):
		return answerDead, true
	case in.action == doRefresh && refused && refusal.Reason == fsm.TokenInvalidated:
		return answerInvalidated, true
	case in.action == doRefresh && refused && refusal.Reason == fsm.Reused && c.sim.options.window < 0:
		return answerReused, true
	}
	c.history.problem("%s: impossible answer: %v", in, err)
	return 0, false
}

// String describes an operation in reports.
func (in input) String() string {
	verbs := []string{"issue", "refresh", "authenticate", "invalidate access", "invalidate refresh", "invalidate family", "invalidate user", "set password"}
	if in.action >= doInvalidateUser {
		return verbs[in.action] + " " + in.user
	}
	return fmt.Sprintf("%s %d.%d", verbs[in.action], in.family, in.generation)
}

func (out output) String() string {
	answers := []string{"done", "dead", "invalidated", "reused", "no answer"}
	text := answers[out.answer]
	if out.counts != (token.Counts{}) {
		text += fmt.Sprintf(" %d+%d", out.counts.Invalidated, out.counts.PreviouslyInvalidated)
	}
	return text
}

// kills tells whether an operation may end an access token.
func (in input) kills(f int, user string, generation int, reuseKills bool) bool {
	switch in.action {
	case doInvalidateUser, doSetPassword:
		return in.user == user
	case doInvalidateAccess:
		return in.family == f && in.generation == generation
	case doInvalidateFamily:
		return in.family == f
	case doRefresh:
		return in.family == f && reuseKills
	case doIssue, doAuthenticate, doInvalidateRefresh:
	}
	return false
}

// check returns what is wrong with the history; window is the refresh window.
func (h *history) check(window time.Duration) []string {
	problems := h.problems
	for f, fam := range h.families {
		var part []porcupine.Operation
		for _, op := range h.operations {
			in := op.Input.(input)
			switch {
			case in.action >= doInvalidateUser:
				if in.user != fam.user {
					continue
				}
			case in.family != f:
				continue
			case in.action == doAuthenticate && op.Output.(output).answer == answerDead:
				// Until a kill is acknowledged either answer is right, so "dead" binds
				// nobody; but somebody must have asked for it.
				if !h.killed(op, fam.user, window < 0) {
					problems = append(problems, fmt.Sprintf("%s: refused, and nobody invalidated it", in))
				}
				continue
			}
			part = append(part, op)
		}
		if result := porcupine.CheckOperationsTimeout(familyModel(window < 0), part, 20*time.Second); result != porcupine.Ok {
			problems = append(problems, fmt.Sprintf("family %d: linearizable: %s\n%s", f, result, describe(part)))
		}
	}
	return problems
}

// killed tells whether anything that began before an operation ended may have
// ended its token.
func (h *history) killed(op porcupine.Operation, user string, reuseKills bool) bool {
	dead := op.Input.(input)
	for _, other := range h.operations {
		if other.Call < op.Return && other.Input.(input).kills(dead.family, user, dead.generation, reuseKills) {
			return true
		}
	}
	return false
}

func describe(part []porcupine.Operation) string {
	var text strings.Builder
	for _, op := range part {
		returned := fmt.Sprint(op.Return)
		if op.Return == math.MaxInt64 {
			returned = "..."
		}
		fmt.Fprintf(&text, "  client %d [%d, %s] %s -> %s\n", op.ClientId, op.Call, returned, op.Input, op.Output)
	}
	return text.String()
}
