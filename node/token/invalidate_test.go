package token_test

import (
	"errors"
	"strings"
	"testing"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

func TestInvalidateCounts(t *testing.T) {
	type counts = token.Counts
	var (
		byAccess  = func(p token.Pair) token.InvalidateRequest { return token.InvalidateRequest{Token: p.AccessToken} }
		byRefresh = func(p token.Pair) token.InvalidateRequest {
			return token.InvalidateRequest{RefreshToken: p.RefreshToken}
		}
		byUser = func(token.Pair) token.InvalidateRequest { return token.InvalidateRequest{Username: "joe"} }
	)
	cases := map[string]struct {
		requests  []func(token.Pair) token.InvalidateRequest
		want      []counts
		proposals int64
	}{
		"access token, then again": {
			[]func(token.Pair) token.InvalidateRequest{byAccess, byAccess},
			[]counts{{1, 0}, {0, 1}},
			2,
		},
		"refresh token, then again": {
			[]func(token.Pair) token.InvalidateRequest{byRefresh, byRefresh},
			[]counts{{1, 0}, {0, 1}},
			2,
		},
		"the two are independent": {
			[]func(token.Pair) token.InvalidateRequest{byAccess, byRefresh},
			[]counts{{1, 0}, {1, 0}},
			2,
		},
		"by username": {
			[]func(token.Pair) token.InvalidateRequest{byUser, byUser},
			[]counts{{2, 0}, {0, 0}},
			2,
		},
		"by username after the access token": {
			[]func(token.Pair) token.InvalidateRequest{byAccess, byUser},
			[]counts{{1, 0}, {1, 1}},
			2,
		},
		"by realm": {
			[]func(token.Pair) token.InvalidateRequest{
				func(token.Pair) token.InvalidateRequest { return token.InvalidateRequest{Realm: fsm.RealmNative} },
			},
			[]counts{{2, 0}},
			1,
		},
		"by both, one of them another": {
			[]func(token.Pair) token.InvalidateRequest{func(token.Pair) token.InvalidateRequest {
				return token.InvalidateRequest{Realm: "default_file", Username: "joe"}
			}},
			[]counts{{0, 0}},
			1,
		},
		"access token as refresh token": {
			[]func(token.Pair) token.InvalidateRequest{func(p token.Pair) token.InvalidateRequest {
				return token.InvalidateRequest{RefreshToken: p.AccessToken}
			}},
			[]counts{{0, 0}},
			0,
		},
		"refresh token as access token": {
			[]func(token.Pair) token.InvalidateRequest{func(p token.Pair) token.InvalidateRequest {
				return token.InvalidateRequest{Token: p.RefreshToken}
			}},
			[]counts{{0, 0}},
			0,
		},
		"malformed": {
			[]func(token.Pair) token.InvalidateRequest{func(token.Pair) token.InvalidateRequest {
				return token.InvalidateRequest{Token: realm.NewSecret("Zm9v")}
			}},
			[]counts{{0, 0}},
			0,
		},
		"a name that nobody can have": {
			[]func(token.Pair) token.InvalidateRequest{func(token.Pair) token.InvalidateRequest {
				return token.InvalidateRequest{Username: fsm.Username(strings.Repeat("x", fsm.MaxNameBytes+1))}
			}},
			[]counts{{0, 0}},
			0,
		},
		"unknown": { // well-formed: only the log can tell
			[]func(token.Pair) token.InvalidateRequest{func(token.Pair) token.InvalidateRequest {
				return token.InvalidateRequest{
					Token: realm.NewSecret("jat_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9zejLG"),
				}
			}},
			[]counts{{0, 0}},
			1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, newClock().now, nil)
			c.putUser("joe", "secret")
			pair := c.nodes[0].mustIssue("joe", "secret")
			n := c.nodes[1]
			caller := n.mustLogIn("joe", "secret")
			for i, request := range tc.requests {
				got, err := n.Invalidate(t.Context(), caller, request(pair))
				if err != nil || got != tc.want[i] {
					t.Errorf("request %d: %+v, %v; want %+v", i, got, err, tc.want[i])
				}
			}
			if got := n.proposals.Load(); got != tc.proposals {
				t.Errorf("%d proposals, want %d", got, tc.proposals)
			}
		})
	}
}

// TestAfterAnInvalidationNoNodeSaysValid is P3.
func TestAfterAnInvalidationNoNodeSaysValid(t *testing.T) {
	c := newCluster(t, 3, newClock().now, nil)
	c.putUser("joe", "secret")
	pair := c.nodes[0].mustIssue("joe", "secret")
	for _, n := range c.nodes {
		n.catchUp()
	}
	n := c.nodes[2]
	if _, err := n.Invalidate(t.Context(), n.mustLogIn("joe", "secret"), token.InvalidateRequest{Username: "joe"}); err != nil {
		t.Fatal(err)
	}
	for i, n := range c.nodes {
		if _, err := n.Authenticate(t.Context(), bearer(pair.AccessToken)); !errors.Is(err, token.ErrExpired) {
			t.Errorf("node %d: access token: %v", i, err)
		}
		_, err := n.Refresh(t.Context(), n.mustLogIn("joe", "secret"), token.RefreshRequest{Presented: pair.RefreshToken})
		if reasonOf(err) != fsm.TokenInvalidated {
			t.Errorf("node %d: refresh token: %v", i, err)
		}
	}
}

func TestInvalidateNeverGuessesWhatIsMeant(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	pair, caller := n.mustIssue("joe", "secret"), n.mustLogIn("joe", "secret")
	before := n.proposals.Load()
	for name, r := range map[string]token.InvalidateRequest{
		"nothing":        {},
		"two tokens":     {Token: pair.AccessToken, RefreshToken: pair.RefreshToken},
		"token, user":    {Token: pair.AccessToken, Username: "joe"},
		"refresh, realm": {RefreshToken: pair.RefreshToken, Realm: fsm.RealmNative},
	} {
		if _, err := n.Invalidate(t.Context(), caller, r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n.proposals.Load() != before {
		t.Error("proposed")
	}
}
