package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// shownStory is a session of joe's that portal obtained for him, refreshed once.
type shownStory struct {
	clock         *clock
	nodes         []*testNode
	first, second token.Pair
}

func newShownStory(t *testing.T) *shownStory {
	t.Helper()
	s := &shownStory{clock: newClock()}
	c := newCluster(t, 2, s.clock.now, nil)
	for _, user := range []fsm.Username{"joe", "ann", "portal"} {
		c.putUser(user, string(user))
	}
	s.nodes = c.nodes
	n := c.nodes[0]
	portal := n.mustLogIn("portal", "portal")
	grant := passwordGrant("joe", "joe")
	grant.Scope = []string{"monitor"}
	var err error
	if s.first, err = n.Issue(t.Context(), portal, grant); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(time.Minute)
	if s.second, err = n.Refresh(t.Context(), portal, token.RefreshRequest{Presented: s.first.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	return s
}

// live tells which tokens of the story can still be used.
func (s *shownStory) live(t *testing.T) (names string) {
	t.Helper()
	s.nodes[1].catchUp()
	caller := s.nodes[1].mustLogIn("ann", "ann")
	for _, shown := range []struct {
		name   string
		secret realm.Secret
	}{
		{"access1 ", s.first.AccessToken},
		{"refresh1 ", s.first.RefreshToken},
		{"access2 ", s.second.AccessToken},
		{"refresh2 ", s.second.RefreshToken},
	} {
		if s.nodes[1].Introspect(caller, token.Presented{Token: shown.secret, Any: true}).Active {
			names += shown.name
		}
	}
	return names
}

// RFC 7662, 2.2.
func TestIntrospect(t *testing.T) {
	s := newShownStory(t)
	n := s.nodes[0]
	caller, err := n.Authenticate(t.Context(), basic("joe", "joe"))
	if err != nil {
		t.Fatal(err)
	}
	bearing, err := n.Authenticate(t.Context(), bearer(s.second.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	identity := *caller.Identity
	identity.Scope = []string{"monitor"}
	client := fsm.Client{Principal: n.mustLogIn("portal", "portal").Identity.Principal}
	now := s.clock.now()
	access := token.Introspection{
		Active: true, Pair: bearing.AccessDigest, Identity: &identity, Client: client, IssuedAt: now, ExpiresAt: now.Add(accessLifetime),
	}
	refresh := token.Introspection{
		Active: true, RefreshToken: true, Identity: &identity, Client: client, IssuedAt: now, ExpiresAt: now.Add(refreshLifetime),
	}
	ann, portal := n.mustLogIn("ann", "ann"), n.mustLogIn("portal", "portal")
	for name, tc := range map[string]struct {
		caller token.Caller
		shown  token.Presented
		want   token.Introspection
	}{
		"access token":               {ann, token.Presented{Token: s.second.AccessToken, Any: true}, access},
		"refresh token":              {ann, token.Presented{Token: s.second.RefreshToken, Any: true}, refresh},
		"a used refresh token":       {ann, token.Presented{Token: s.first.RefreshToken, Any: true}, token.Introspection{}},
		"nothing":                    {ann, token.Presented{Any: true}, token.Introspection{}},
		"garbage":                    {ann, token.Presented{Token: realm.NewSecret("jat_x"), Any: true}, token.Introspection{}},
		"another's":                  {ann, token.Presented{Token: s.second.AccessToken, Own: true}, token.Introspection{}},
		"the owner's":                {caller, token.Presented{Token: s.second.RefreshToken, Own: true}, refresh},
		"the client's":               {portal, token.Presented{Token: s.second.AccessToken, Own: true}, access},
		"the owner's, not permitted": {caller, token.Presented{Token: s.second.AccessToken}, token.Introspection{}},
		"the token itself":           {bearing, token.Presented{Token: s.second.AccessToken}, access},
		"its refresh token":          {bearing, token.Presented{Token: s.second.RefreshToken}, token.Introspection{}},
	} {
		if diff := cmp.Diff(tc.want, n.Introspect(tc.caller, tc.shown)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	s.clock.advance(accessLifetime)
	if got := s.live(t); got != "access2 refresh2 " {
		t.Errorf("at the moment of expiry: %s", got)
	}
	s.clock.advance(time.Millisecond)
	if got := s.live(t); got != "refresh2 " {
		t.Errorf("after it: %s", got)
	}
	s.clock.advance(refreshLifetime - accessLifetime)
	if got := s.live(t); got != "" {
		t.Errorf("in the end: %s", got)
	}
}

// RFC 7009, 2.1: an access token ends alone, a refresh token takes along all that came
// of the same login; only of one's own, unless with the privilege.
func TestRevoke(t *testing.T) {
	const all = "access1 access2 refresh2 "
	for name, tc := range map[string]struct {
		caller   string
		shown    func(*shownStory) token.Presented
		want     token.Counts
		err      error
		live     string
		proposed int64
	}{
		"access token of the owner": {
			"joe", func(s *shownStory) token.Presented { return token.Presented{Token: s.second.AccessToken, Own: true} },
			token.Counts{Invalidated: 1},
			nil, "access1 refresh2 ", 1,
		},
		"refresh token of the client": {
			"portal", func(s *shownStory) token.Presented { return token.Presented{Token: s.second.RefreshToken, Own: true} },
			token.Counts{Invalidated: 4},
			nil, "", 1,
		},
		"a used refresh token": {
			"joe", func(s *shownStory) token.Presented { return token.Presented{Token: s.first.RefreshToken, Own: true} },
			token.Counts{Invalidated: 4},
			nil, "", 1,
		},
		"another's": {
			"ann", func(s *shownStory) token.Presented { return token.Presented{Token: s.second.RefreshToken, Own: true} },
			token.Counts{},
			nil, all, 1,
		},
		"another's, with the privilege": {
			"ann", func(s *shownStory) token.Presented { return token.Presented{Token: s.second.RefreshToken, Any: true} },
			token.Counts{Invalidated: 4},
			nil, "", 1,
		},
		"not even one's own": {
			"joe", func(s *shownStory) token.Presented { return token.Presented{Token: s.second.RefreshToken} },
			token.Counts{},
			token.ErrUnknown, all, 0,
		},
		"no token": {
			"joe", func(*shownStory) token.Presented { return token.Presented{Token: realm.NewSecret("x"), Any: true} },
			token.Counts{},
			token.ErrUnknown, all, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShownStory(t)
			if got := s.live(t); got != all {
				t.Fatalf("before: %s", got)
			}
			n := s.nodes[1] // which is late
			caller := n.mustLogIn(tc.caller, tc.caller)
			before := n.proposals.Load()
			got, err := n.Revoke(t.Context(), caller, tc.shown(s))
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%+v, %v, want %+v, %v", got, err, tc.want, tc.err)
			}
			if got := s.live(t); got != tc.live {
				t.Errorf("live: %s, want %s", got, tc.live)
			}
			if proposed := n.proposals.Load() - before; proposed != tc.proposed {
				t.Errorf("%d proposals, want %d", proposed, tc.proposed)
			}
		})
	}
}

// CVE-2020-15223: what is not known to have happened is not reported as done. And a
// caller that is no more revokes nothing.
func TestRevokeFails(t *testing.T) {
	s := newShownStory(t)
	n := s.nodes[0]
	joe := n.mustLogIn("joe", "joe")
	shown := token.Presented{Token: s.second.RefreshToken, Own: true}
	n.proposeFault = func(func() (fsm.Outcome, error)) (fsm.Outcome, error) { return fsm.Outcome{}, realm.ErrUnavailable }
	if _, err := n.Revoke(t.Context(), joe, shown); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("without a quorum: %v", err)
	}
	n.proposeFault = nil
	n.cluster.putUser("joe", "another password") // which ends his sessions
	if _, err := n.Revoke(t.Context(), joe, shown); !errors.Is(err, token.ErrStale) {
		t.Errorf("a caller that is no more: %v", err)
	}
}

// A switched off token service knows no token, and cannot end one for good.
func TestNothingShownWithoutTokenService(t *testing.T) {
	c := newCluster(t, 1, newClock().now, func(config *token.Config) { config.Enabled = false })
	c.putUser("joe", "joe")
	n := c.nodes[0]
	joe := n.mustLogIn("joe", "joe")
	shown := token.Presented{Token: realm.NewSecret("x"), Any: true}
	if _, err := n.Revoke(t.Context(), joe, shown); !errors.Is(err, token.ErrDisabled) {
		t.Errorf("revoke: %v", err)
	}
	if got := n.Introspect(joe, shown); got.Active {
		t.Errorf("introspect: %+v", got)
	}
}
