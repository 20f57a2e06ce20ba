package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/token"
)

func TestSessions(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 2, clock.now, nil)
	c.putUser("joe", "joe")
	c.putUser("ann", "ann")
	n := c.nodes[0]
	names := map[fsm.Digest]string{}
	note := func(name string, p token.Pair) token.Pair {
		names[idOf(t, n, p)] = name
		clock.advance(time.Minute)
		return p
	}
	first := note("first", n.mustIssue("joe", "joe"))
	note("second", n.mustIssue("joe", "joe"))
	note("anns", n.mustIssue("ann", "ann"))
	caller := n.mustLogIn("joe", "joe")
	alone, err := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
	if err != nil {
		t.Fatal(err)
	}
	note("alone", alone)
	next, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: first.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	note("next", next)

	for name, tc := range map[string]struct {
		after time.Duration
		r     token.SessionsRequest
		want  string
		pages int
	}{
		"the caller's":                       {0, token.SessionsRequest{Owner: true, Size: 10}, "next alone second first", 1},
		"page by page":                       {0, token.SessionsRequest{Owner: true, Size: 3}, "next alone second first", 2},
		"one by one":                         {0, token.SessionsRequest{Owner: true}, "next alone second first", 4},
		"a user's":                           {0, token.SessionsRequest{Realm: fsm.RealmNative, Username: "ann", Size: 10}, "anns", 1},
		"a user's, of whatever realm":        {0, token.SessionsRequest{Username: "ann", Size: 10}, "anns", 1},
		"a realm's":                          {0, token.SessionsRequest{Realm: fsm.RealmNative, Size: 10}, "first second anns alone next", 1},
		"everybody's, and an empty page":     {0, token.SessionsRequest{Size: 5}, "first second anns alone next", 2},
		"nobody's":                           {0, token.SessionsRequest{Realm: "ldap1", Username: "joe", Size: 10}, "", 1},
		"those that are open":                {0, token.SessionsRequest{Owner: true, Active: true, Size: 10}, "next alone second first", 1},
		"without a refreshed and a dead one": {accessLifetime, token.SessionsRequest{Owner: true, Active: true, Size: 10}, "next second", 1},
	} {
		t.Run(name, func(t *testing.T) {
			late := c.nodes[1]
			late.catchUp()
			clock.advance(tc.after)
			var got []string
			pages := 0
			for more := true; more; pages++ {
				page, err := late.Sessions(t.Context(), caller, tc.r)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Sessions {
					got = append(got, names[s.ID])
					if tc.after == 0 && !s.Active {
						t.Errorf("%s is not active", names[s.ID])
					}
				}
				tc.r.After, more = page.After, page.After != ""
			}
			clock.advance(-tc.after)
			if want := strings.Fields(tc.want); !slices.Equal(want, got) || pages != tc.pages {
				t.Errorf("%d pages: %v", pages, got)
			}
		})
	}
}

// TestSessionIsDescribed: all that is shown, and who obtained it.
func TestSessionIsDescribed(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 1, clock.now, func(config *token.Config) { config.SessionLifetime = 30 * time.Hour })
	c.putUser("joe", "joe")
	c.putUser("portal", "portal")
	n := c.nodes[0]
	portal := n.mustLogIn("portal", "portal")
	pair, err := n.Issue(t.Context(), portal, passwordGrant("joe", "joe"))
	if err != nil {
		t.Fatal(err)
	}
	id, begin := idOf(t, n, pair), fsm.UnixMilli(clock.Load())
	clock.advance(time.Minute)
	if _, err := n.Refresh(t.Context(), portal, token.RefreshRequest{Presented: pair.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Invalidate(t.Context(), portal, token.InvalidateRequest{Token: pair.AccessToken}); err != nil {
		t.Fatal(err)
	}
	page, err := n.Sessions(t.Context(), portal, token.SessionsRequest{Realm: fsm.RealmNative, Username: "joe", Size: 5})
	if err != nil || len(page.Sessions) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	got := page.Sessions[1]
	want := token.Session{Listed: fsm.Listed{ID: id, Token: fsm.Token{
		Identity: got.Identity, Client: new(portal.Client()), CreatedAt: begin,
		AccessExpiresAt: begin + 20*60_000, RefreshExpiresAt: begin + 24*3_600_000, SessionEndsAt: begin + 30*3_600_000,
		AccessInvalidated: true, Refreshed: true,
	}}}
	if d := cmp.Diff(want, got); d != "" || got.Identity.Username != "joe" {
		t.Errorf("of %s (-want +got):\n%s", got.Identity.Username, d)
	}
}

func TestSessionsRefusesStrangeCursors(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "joe")
	n := c.nodes[0]
	for _, after := range []string{"x", "AAAA", strings.Repeat("A", 47), strings.Repeat("A", 49), strings.Repeat("*", 48)} {
		_, err := n.Sessions(t.Context(), n.mustLogIn("joe", "joe"), token.SessionsRequest{Size: 1, After: after})
		if !errors.Is(err, token.ErrCursor) {
			t.Errorf("%s: %v", after, err)
		}
	}
}
