package token_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

type authenticate func(*testNode, context.Context, token.Credentials) (token.Caller, error)

// bothWays are for stories that hold for answers and for writes alike.
func bothWays() map[string]authenticate {
	return map[string]authenticate{
		"for an answer": func(n *testNode, ctx context.Context, c token.Credentials) (token.Caller, error) {
			return n.Authenticate(ctx, c)
		},
		"for a write": func(n *testNode, ctx context.Context, c token.Credentials) (token.Caller, error) {
			return n.AuthenticateForWrite(ctx, c)
		},
	}
}

var joe = &fsm.Identity{
	Principal: fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
	Roles:     []fsm.RoleName{"superuser"}, Metadata: []byte(`{}`),
}

func TestATokenSpeaksForItsUserOnEveryNode(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			c := newCluster(t, 3, newClock().now, nil)
			c.putUser("joe", "secret")
			pair := c.nodes[1].mustIssue("joe", "secret")
			for i, n := range c.nodes { // nodes 1 and 2 have not seen the pair yet
				caller, err := authenticate(n, t.Context(), bearer(pair.AccessToken))
				if err != nil {
					t.Fatalf("node %d: %v", i, err)
				}
				want := token.Caller{
					Identity: joe, Type: token.AuthenticationToken, AccessDigest: caller.AccessDigest,
					Guard: fsm.Guard{Bearer: caller.AccessDigest, RolesVersion: n.RolesVersion()},
				}
				if diff := cmp.Diff(want, caller); diff != "" {
					t.Errorf("node %d: -want +got\n%s", i, diff)
				}
			}
		})
	}
}

func TestALoginCarriesWhatItRestedOn(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			c := newCluster(t, 2, newClock().now, nil)
			c.putUser("joe", "old")
			c.putUser("joe", "secret")
			n := c.nodes[1]
			caller, err := authenticate(n, t.Context(), basic("joe", "secret"))
			if err != nil {
				t.Fatal(err)
			}
			user, _ := n.User(fsm.RealmNative, "joe")
			want := token.Caller{
				Identity: joe, Type: token.AuthenticationRealm,
				Guard: fsm.Guard{
					Caller: joe.Principal, CallerGeneration: user.Generation, RolesVersion: n.RolesVersion(),
				},
			}
			if diff := cmp.Diff(want, caller); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestAClockAloneEndsNoToken: a node that can ask nobody may have a wrong clock.
// It once answered "expired" in an outage, and clients threw good sessions away.
func TestAClockAloneEndsNoToken(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			clock := newClock()
			c := newCluster(t, 1, clock.now, nil)
			c.putUser("joe", "secret")
			n := c.nodes[0]
			pair := n.mustIssue("joe", "secret")
			clock.advance(accessLifetime + time.Millisecond)
			n.confirmFault = realm.ErrUnavailable
			if _, err := authenticate(n, t.Context(), bearer(pair.AccessToken)); !errors.Is(err, token.ErrUnavailable) {
				t.Errorf("cut off: got %v", err)
			}
			n.confirmFault = nil
			if _, err := authenticate(n, t.Context(), bearer(pair.AccessToken)); !errors.Is(err, token.ErrExpired) {
				t.Errorf("confirmed: got %v", err)
			}
		})
	}
}

// TestALeaseIsForTheCallerAlone: a node that knows of every revocation of a token still
// lacks other news, and knows nothing of tokens that it does not find live.
func TestALeaseIsForTheCallerAlone(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 2, clock.now, func(config *token.Config) {
		config.KnowsRevocations = func(fsm.Digest, *fsm.Identity) bool { return true }
	})
	c.putUser("joe", "secret")
	leader, late := c.nodes[0], c.nodes[1]
	joes := leader.mustIssue("joe", "secret")
	late.catchUp()
	stolen := leader.mustIssue("joe", "secret") // late has not heard of it

	if _, err := late.Recognize(t.Context(), bearer(joes.AccessToken)); err != nil || late.confirmations.Load() != 0 {
		t.Errorf("its own caller: %v, %d confirmed reads", err, late.confirmations.Load())
	}
	caller, err := late.Authenticate(t.Context(), bearer(joes.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	if found := late.Introspect(caller, token.Presented{Token: stolen.AccessToken, Any: true}); !found.Active {
		t.Error("another token is not known after Authenticate")
	}
	if _, err := leader.Invalidate(t.Context(), caller, token.InvalidateRequest{Token: stolen.AccessToken}); err != nil {
		t.Fatal(err)
	}
	if caller, err = late.Authenticate(t.Context(), bearer(joes.AccessToken)); err != nil {
		t.Fatal(err)
	}
	if found := late.Introspect(caller, token.Presented{Token: stolen.AccessToken, Any: true}); found.Active {
		t.Error("an invalidated token is active")
	}

	fresh := leader.mustIssue("joe", "secret")
	if _, err := late.Recognize(t.Context(), bearer(fresh.AccessToken)); err != nil {
		t.Errorf("issued elsewhere: %v", err)
	}
	late.confirmFault = realm.ErrUnavailable
	clock.advance(accessLifetime + time.Millisecond)
	if _, err := late.Recognize(t.Context(), bearer(fresh.AccessToken)); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("a clock alone ended a token: %v", err)
	}
}

// TestDeathIsKnownLocally: a node that can ask nobody still refuses what it knows
// to be dead.
func TestDeathIsKnownLocally(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			clock := newClock()
			c := newCluster(t, 1, clock.now, nil)
			c.putUser("joe", "secret")
			n := c.nodes[0]
			invalidated, expired := n.mustIssue("joe", "secret"), n.mustIssue("joe", "secret")
			_, err := n.Invalidate(t.Context(), n.mustLogIn("joe", "secret"), token.InvalidateRequest{Token: invalidated.AccessToken})
			if err != nil {
				t.Fatal(err)
			}
			clock.advance(accessLifetime + time.Millisecond)
			n.mustIssue("joe", "secret") // brings the time to the log
			n.confirmFault = realm.ErrUnavailable
			for _, s := range []realm.Secret{invalidated.AccessToken, expired.AccessToken} {
				if _, err := authenticate(n, t.Context(), bearer(s)); !errors.Is(err, token.ErrExpired) {
					t.Errorf("got %v", err)
				}
			}
			if got := n.confirmations.Load(); got != 0 {
				t.Errorf("%d reads confirmed", got)
			}
		})
	}
}

func TestATokenIsValidAtTheMomentOfItsExpiryAndNotAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, time.Now, nil)
		c.putUser("joe", "secret")
		n := c.nodes[0]
		access := bearer(n.mustIssue("joe", "secret").AccessToken)
		time.Sleep(accessLifetime)
		if _, err := n.Authenticate(t.Context(), access); err != nil {
			t.Errorf("at its expiry: %v", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := n.Authenticate(t.Context(), access); !errors.Is(err, token.ErrExpired) {
			t.Errorf("a millisecond later: %v", err)
		}
	})
}

// TestATokenThatExpiresWhileTheReadIsConfirmedIsRefused: the clock is read again
// after the wait, which may be long.
func TestATokenThatExpiresWhileTheReadIsConfirmedIsRefused(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 1, clock.now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	pair := n.mustIssue("joe", "secret")
	n.onConfirm = func() { clock.advance(accessLifetime + time.Millisecond) }
	if _, err := n.Authenticate(t.Context(), bearer(pair.AccessToken)); !errors.Is(err, token.ErrExpired) {
		t.Errorf("got %v", err)
	}
}

func TestALateNodeDoesNotAnswerForWhatDiedElsewhere(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("joe", "secret")
	leader, late := c.nodes[0], c.nodes[1]
	pair := leader.mustIssue("joe", "secret")
	late.catchUp()
	caller := leader.mustLogIn("joe", "secret")
	if _, err := leader.Invalidate(t.Context(), caller, token.InvalidateRequest{Token: pair.AccessToken}); err != nil {
		t.Fatal(err)
	}

	// For a write the late state will do, because the state machine checks the guard.
	forWrite, err := late.AuthenticateForWrite(t.Context(), bearer(pair.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	_, err = late.Issue(t.Context(), forWrite, token.IssueRequest{GrantType: token.GrantClientCredentials})
	if !errors.Is(err, token.ErrStale) {
		t.Errorf("a write on a late decision: %v", err)
	}
	if _, err := late.Authenticate(t.Context(), bearer(pair.AccessToken)); !errors.Is(err, token.ErrExpired) {
		t.Errorf("an answer: %v", err)
	}
}

func TestAPasswordThatIsWrongHereMayBeRightByNow(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			c := newCluster(t, 2, newClock().now, nil)
			late := c.nodes[1]
			c.putUser("joe", "secret")
			if _, err := authenticate(late, t.Context(), basic("joe", "secret")); err != nil {
				t.Errorf("user created elsewhere: %v", err)
			}
			c.putUser("joe", "new")
			if _, err := authenticate(late, t.Context(), basic("joe", "new")); err != nil {
				t.Errorf("password changed elsewhere: %v", err)
			}
			if _, err := authenticate(late, t.Context(), basic("joe", "secret")); !errors.Is(err, realm.ErrBadCredentials) {
				t.Errorf("old password: %v", err)
			}
		})
	}
}

func TestAPasswordChangedElsewhereStopsTheWrite(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("joe", "secret")
	late := c.nodes[1]
	late.catchUp()
	c.putUser("joe", "new")
	caller, err := late.AuthenticateForWrite(t.Context(), basic("joe", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = late.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
	if !errors.Is(err, token.ErrStale) {
		t.Errorf("write: %v", err)
	}
	if _, err := late.Authenticate(t.Context(), basic("joe", "secret")); !errors.Is(err, realm.ErrBadCredentials) {
		t.Errorf("answer: %v", err)
	}
}

// TestANodeThatCannotKnowSaysSo is P6: an outage is never "invalid".
func TestANodeThatCannotKnowSaysSo(t *testing.T) {
	faults := map[string]error{
		"no quorum": realm.ErrUnavailable,
		"wrapped":   fmt.Errorf("round 7: %w", realm.ErrUnavailable),
		"deadline":  context.DeadlineExceeded,
		"cancelled": context.Canceled,
		"unnamed":   errors.New("something broke"),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, newClock().now, nil)
			c.putUser("joe", "secret")
			n := c.nodes[0]
			live := n.mustIssue("joe", "secret")
			late := c.nodes[1]
			n.confirmFault, late.confirmFault = fault, fault

			ask := func(n *testNode, what string, c token.Credentials, f authenticate) {
				t.Helper()
				if _, err := f(n, t.Context(), c); !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, fault) {
					t.Errorf("%s: %v", what, err)
				}
			}
			answer := func(n *testNode, ctx context.Context, c token.Credentials) (token.Caller, error) {
				return n.Authenticate(ctx, c)
			}
			write := func(n *testNode, ctx context.Context, c token.Credentials) (token.Caller, error) {
				return n.AuthenticateForWrite(ctx, c)
			}
			ask(n, "live token", bearer(live.AccessToken), answer)
			ask(n, "right password", basic("joe", "secret"), answer)
			ask(n, "wrong password", basic("joe", "wrong"), answer)
			ask(n, "wrong password, write", basic("joe", "wrong"), write)
			ask(late, "token not seen yet", bearer(live.AccessToken), answer)
			ask(late, "token not seen yet, write", bearer(live.AccessToken), write)
			ask(late, "user not seen yet, write", basic("joe", "secret"), write)

			if _, err := n.AuthenticateForWrite(t.Context(), bearer(live.AccessToken)); err != nil {
				t.Errorf("live token, write: %v", err)
			}
			if _, err := n.AuthenticateForWrite(t.Context(), basic("joe", "secret")); err != nil {
				t.Errorf("right password, write: %v", err)
			}
		})
	}
}

func TestUnknownTokensAreUnknownOnlyAfterAConfirmedRead(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			other := newCluster(t, 1, newClock().now, nil)
			other.putUser("joe", "secret")
			foreign := other.nodes[0].mustIssue("joe", "secret")
			n := newCluster(t, 1, newClock().now, nil).nodes[0]
			if _, err := authenticate(n, t.Context(), bearer(foreign.AccessToken)); !errors.Is(err, token.ErrUnknown) {
				t.Errorf("got %v", err)
			}
			if got := n.confirmations.Load(); got != 1 {
				t.Errorf("%d reads confirmed, want 1", got)
			}
		})
	}
}

func TestWithoutCredentials(t *testing.T) {
	for way, authenticate := range bothWays() {
		t.Run(way, func(t *testing.T) {
			n := newCluster(t, 1, newClock().now, nil).nodes[0]
			if _, err := authenticate(n, t.Context(), token.Credentials{}); !errors.Is(err, token.ErrNoCredentials) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSwitchedOff(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	pair := c.nodes[0].mustIssue("joe", "secret")
	off := c.add(func(config *token.Config) {
		config.Enabled, config.ClusterKey, config.AccessLifetime, config.RefreshLifetime = false, nil, 0, 0
	})
	off.catchUp()
	caller := off.mustLogIn("joe", "secret") // passwords still work
	if off.Enabled() {
		t.Error("enabled")
	}
	if _, err := off.Authenticate(t.Context(), bearer(pair.AccessToken)); !errors.Is(err, token.ErrUnknown) {
		t.Errorf("Authenticate: %v", err)
	}
	if _, err := off.Issue(t.Context(), caller, passwordGrant("joe", "secret")); !errors.Is(err, token.ErrDisabled) {
		t.Errorf("Issue: %v", err)
	}
	if _, err := off.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); !errors.Is(err, token.ErrDisabled) {
		t.Errorf("Refresh: %v", err)
	}
	_, err := off.Invalidate(t.Context(), caller, token.InvalidateRequest{Username: "joe"})
	if !errors.Is(err, token.ErrDisabled) {
		t.Errorf("Invalidate: %v", err)
	}
	if got := off.proposals.Load(); got != 0 {
		t.Errorf("%d proposals", got)
	}
}
