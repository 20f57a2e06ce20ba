package token_test

import (
	"errors"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/token"
)

// idOf returns the id of a pair, as a listing has it.
func idOf(t *testing.T, n *testNode, p token.Pair) fsm.Digest {
	t.Helper()
	caller, err := n.Authenticate(t.Context(), bearer(p.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	return caller.AccessDigest
}

// TestInvalidateReach is told about two sessions of joe's, of which one was refreshed
// half a minute ago, and one of ann's that portal obtained for her.
func TestInvalidateReach(t *testing.T) {
	type story struct{ first, second, other, anns token.Pair }
	request := token.InvalidateRequest{}
	with := func(edit func(*token.InvalidateRequest, story)) func(story) token.InvalidateRequest {
		return func(s story) token.InvalidateRequest { r := request; edit(&r, s); return r }
	}
	cases := map[string]struct {
		caller  string
		request func(story) token.InvalidateRequest
		want    token.Counts
		reason  fsm.Reason
		live    string
	}{
		"pair": {"joe", with(func(r *token.InvalidateRequest, s story) {
			r.Token, r.Reach = s.second.AccessToken, fsm.ReachPair
		}), token.Counts{Invalidated: 2}, fsm.Done, "first other anns"},
		"family": {"joe", with(func(r *token.InvalidateRequest, s story) {
			r.RefreshToken, r.Reach = s.first.RefreshToken, fsm.ReachFamily
		}), token.Counts{Invalidated: 4}, fsm.Done, "other anns"},
		"everything of the caller": {"joe", with(func(r *token.InvalidateRequest, _ story) {
			r.Owner = true
		}), token.Counts{Invalidated: 6}, fsm.Done, "anns"},
		"of the caller, not what it obtained": {"portal", with(func(r *token.InvalidateRequest, _ story) {
			r.Owner = true
		}), token.Counts{}, fsm.Done, "first second other anns"},
		"of the caller, by age": {"joe", with(func(r *token.InvalidateRequest, _ story) {
			r.Owner, r.CreatedBefore = true, time.UnixMilli(newClock().Load()+1)
		}), token.Counts{Invalidated: 4}, fsm.Done, "second anns"},
		"everything": {"joe", with(func(r *token.InvalidateRequest, _ story) {
			r.All = true
		}), token.Counts{Invalidated: 8}, fsm.Done, ""},
		"everything before any time": {"joe", with(func(r *token.InvalidateRequest, _ story) {
			r.All, r.CreatedBefore = true, time.UnixMilli(-1)
		}), token.Counts{}, fsm.Done, "first second other anns"},
		"everything before the end of time": {"joe", with(func(r *token.InvalidateRequest, _ story) {
			r.All, r.CreatedBefore = true, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		}), token.Counts{Invalidated: 8}, fsm.Done, ""},
		"own only: one's own": {"joe", with(func(r *token.InvalidateRequest, s story) {
			r.RefreshToken, r.OwnOnly = s.other.RefreshToken, true
		}), token.Counts{Invalidated: 1}, fsm.Done, "first second other anns"},
		"own only: what one obtained": {"portal", with(func(r *token.InvalidateRequest, s story) {
			r.Token, r.OwnOnly = s.anns.AccessToken, true
		}), token.Counts{Invalidated: 1}, fsm.Done, "first second other"},
		"own only: another's": {"portal", with(func(r *token.InvalidateRequest, s story) {
			r.Token, r.OwnOnly = s.other.AccessToken, true
		}), token.Counts{}, fsm.NotOwned, "first second other anns"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			c := newCluster(t, 3, clock.now, nil)
			for _, user := range []fsm.Username{"joe", "ann", "portal"} {
				c.putUser(user, string(user))
			}
			n := c.nodes[0]
			var s story
			s.first, s.other = n.mustIssue("joe", "joe"), n.mustIssue("joe", "joe")
			var err error
			if s.anns, err = n.Issue(t.Context(), n.mustLogIn("portal", "portal"), passwordGrant("ann", "ann")); err != nil {
				t.Fatal(err)
			}
			clock.advance(refreshWindow)
			if s.second, err = n.Refresh(t.Context(), n.mustLogIn("joe", "joe"), token.RefreshRequest{Presented: s.first.RefreshToken}); err != nil {
				t.Fatal(err)
			}
			late := c.nodes[1]
			late.catchUp()
			got, err := late.Invalidate(t.Context(), late.mustLogIn(tc.caller, tc.caller), tc.request(s))
			if got != tc.want || reasonOf(err) != tc.reason || err != nil && tc.reason == fsm.Done {
				t.Errorf("got %+v, %v", got, err)
			}
			for i, n := range c.nodes { // P3: at every node
				live := ""
				for _, p := range []struct {
					name string
					token.Pair
				}{{"first", s.first}, {"second", s.second}, {"other", s.other}, {"anns", s.anns}} {
					if _, err := n.Authenticate(t.Context(), bearer(p.AccessToken)); err == nil {
						live += " " + p.name
					}
				}
				if len(live) > 0 && live[1:] != tc.live || live == "" && tc.live != "" {
					t.Errorf("node %d: live: %s", i, live)
				}
			}
		})
	}
}

// TestInvalidateByID: ids come from a listing, in any order, some of them twice, some
// of them long gone.
func TestInvalidateByID(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "joe")
	n := c.nodes[0]
	first, second, third := n.mustIssue("joe", "joe"), n.mustIssue("joe", "joe"), n.mustIssue("joe", "joe")
	ids := []fsm.Digest{idOf(t, n, second), {9}, idOf(t, n, first), {}, idOf(t, n, second)}
	for _, want := range []token.Counts{{Invalidated: 4}, {PreviouslyInvalidated: 4}} {
		got, err := n.Invalidate(t.Context(), n.mustLogIn("joe", "joe"), token.InvalidateRequest{IDs: ids, OwnOnly: true})
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, gone := range [][]fsm.Digest{{{}}, {{9}}} {
		got, err := n.Invalidate(t.Context(), n.mustLogIn("joe", "joe"), token.InvalidateRequest{IDs: gone})
		if err != nil || got != (token.Counts{}) {
			t.Errorf("%v: got %+v, %v", gone, got, err)
		}
	}
	if _, err := n.Authenticate(t.Context(), bearer(third.AccessToken)); err != nil {
		t.Errorf("the third: %v", err)
	}
}

// TestADeadBearerEndsNothing: the guard speaks for the caller.
func TestADeadBearerEndsNothing(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("joe", "joe")
	stolen, kept := c.nodes[0].mustIssue("joe", "joe"), c.nodes[0].mustIssue("joe", "joe")
	late := c.nodes[1]
	late.catchUp()
	caller, err := late.AuthenticateForWrite(t.Context(), bearer(stolen.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.nodes[0].Invalidate(t.Context(), c.nodes[0].mustLogIn("joe", "joe"), token.InvalidateRequest{Token: stolen.AccessToken}); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Invalidate(t.Context(), caller, token.InvalidateRequest{Owner: true}); !errors.Is(err, token.ErrStale) {
		t.Errorf("got %v", err)
	}
	if _, err := late.Authenticate(t.Context(), bearer(kept.AccessToken)); err != nil {
		t.Errorf("the other session: %v", err)
	}
}
