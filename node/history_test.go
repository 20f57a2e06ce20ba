package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"jeton/fsm"
	"jeton/node/backup"
	"jeton/node/realm"
	"jeton/node/token"
	"jeton/node/token/tokentest"
)

// client is one client of the cluster, which asks any member.
type client struct {
	number  int
	sim     *sim
	history *tokentest.History
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
		if c.sim.options.restores && c.random.IntN(100) == 0 {
			c.restore(ctx)
		} else {
			c.act(ctx, c.choose())
		}
		cancel()
	}
}

// choose draws what to ask. Few families are in use at once, so that clients meet.
func (c *client) choose() tokentest.Input {
	user := fmt.Sprintf("user%d", c.random.IntN(2))
	n := c.history.Begun()
	draw := c.random.IntN(100)
	switch {
	case n == 0 || draw < 10:
		return tokentest.Input{Action: tokentest.Issue, User: user}
	case draw < 11:
		return tokentest.Input{Action: tokentest.InvalidateUser, User: user}
	case draw < 12:
		return tokentest.Input{Action: tokentest.SetPassword, User: user}
	}
	in := tokentest.Input{Family: n - 1 - c.random.IntN(min(n, 4))}
	owner, pairs := c.history.Family(in.Family)
	in.User, in.Generation = owner, max(0, len(pairs)-1-c.random.IntN(3))
	switch {
	case draw < 32:
		in.Action = tokentest.Refresh
	case draw < 46:
		in.Action = tokentest.InvalidateAccess
	case draw < 50:
		in.Action = tokentest.InvalidateRefresh
	case draw < 52:
		in.Action = tokentest.InvalidateFamily
	default:
		in.Action = tokentest.Authenticate
	}
	return in
}

// restore restores what a member has: all users as they are, and nobody's tokens.
func (c *client) restore(ctx context.Context) {
	state, err := c.p.backup(ctx)
	if err != nil {
		return
	}
	c.sim.restored.Store(true)
	var operations []*tokentest.Operation
	for _, user := range []string{"user0", "user1"} {
		operations = append(operations, c.history.Start(c.number, tokentest.Input{Action: tokentest.InvalidateUser, User: user}))
	}
	err = backup.Restore(ctx, state, backup.Restoring{Propose: c.p.proposeEncoded, From: simClusterID, Epoch: state.Summary().Epoch})
	_, refused := errors.AsType[*backup.RefusedError](err)
	for _, op := range operations {
		switch {
		case c.p.isDead(), err != nil && !refused:
			c.history.End(op, tokentest.Output{Answer: tokentest.Unknown})
		case refused: // for another one came before
			c.history.Drop(op)
		default:
			c.history.End(op, tokentest.Output{})
		}
	}
}

// act sends one request and records what came of it.
func (c *client) act(ctx context.Context, in tokentest.Input) {
	var pair tokentest.Pair
	if _, pairs := c.history.Family(in.Family); in.Generation < len(pairs) {
		pair = pairs[in.Generation]
	}
	op := c.history.Start(c.number, in)
	out, err := c.ask(ctx, in, pair)
	var recorded bool
	if out.Answer, recorded = c.classify(in, err); !recorded {
		c.history.Drop(op)
		return
	}
	c.history.End(op, out)
}

func (c *client) ask(ctx context.Context, in tokentest.Input, pair tokentest.Pair) (out tokentest.Output, err error) {
	var got token.Pair
	var counts token.Counts
	access, refresh := realm.NewSecret(pair.Access), realm.NewSecret(pair.Refresh)
	switch in.Action {
	case tokentest.Issue:
		got, err = c.p.issue(ctx, in.User)
	case tokentest.Refresh:
		got, err = c.p.refresh(ctx, in.User, refresh)
	case tokentest.Authenticate:
		err = c.p.authenticate(ctx, access)
	case tokentest.InvalidateAccess:
		counts, err = c.p.invalidate(ctx, in.User, token.InvalidateRequest{Token: access})
	case tokentest.InvalidateRefresh:
		counts, err = c.p.invalidate(ctx, in.User, token.InvalidateRequest{RefreshToken: refresh})
	case tokentest.InvalidateFamily:
		_, err = c.p.invalidate(ctx, in.User, token.InvalidateRequest{RefreshToken: refresh, Reach: fsm.ReachFamily})
	case tokentest.InvalidateUser:
		_, err = c.p.invalidate(ctx, in.User, token.InvalidateRequest{Username: fsm.Username(in.User)})
	case tokentest.SetPassword: // to the same one: it ends all tokens like any other
		_, err = c.p.node.Propose(ctx, fsm.SetPassword{Realm: fsm.RealmNative, Username: fsm.Username(in.User), Verifier: simPassword})
	}
	return tokentest.Output{
		Uncounted:   c.sim.restored.Load(), // what a restore ended is not there to be counted
		Pair:        tokentest.Pair{Access: got.AccessToken.Expose(), Refresh: got.RefreshToken.Expose()},
		Invalidated: counts.Invalidated, PreviouslyInvalidated: counts.PreviouslyInvalidated,
	}, err
}

// classify says what an error means. Nothing is recorded of a read that failed,
// of a write that certainly had no effect, and of an issue whose tokens nobody knows.
func (c *client) classify(in tokentest.Input, err error) (out tokentest.Answer, recorded bool) {
	refusal, refused := errors.AsType[*fsm.RefusalError](err)
	switch {
	case c.p.isDead(), errors.Is(err, token.ErrUnavailable):
		return tokentest.Unknown, in.Action != tokentest.Issue && in.Action != tokentest.Authenticate
	case err == nil:
		return tokentest.Done, true
	case errors.Is(err, realm.ErrOverloaded):
		return 0, false
	case in.Action == tokentest.Authenticate && errors.Is(err, token.ErrExpired),
		in.Action == tokentest.Authenticate && errors.Is(err, token.ErrUnknown) && c.sim.restored.Load():
		return tokentest.Dead, true
	case in.Action == tokentest.Refresh && refused && refusal.Reason == fsm.TokenInvalidated:
		return tokentest.Invalidated, true
	case in.Action == tokentest.Refresh && refused && refusal.Reason == fsm.UnknownToken && c.sim.restored.Load():
		// Answered from the state alone, it binds nobody until the restore is acknowledged.
		return 0, false
	case in.Action == tokentest.Refresh && refused && refusal.Reason == fsm.Reused && c.sim.options.window < 0:
		return tokentest.Reused, true
	}
	c.history.Problem("%s: impossible answer: %v", in, err)
	return 0, false
}
