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

// An operator learns whose session was broken into, and that it is over.
func TestReuseNamesTheOwner(t *testing.T) {
	for _, tc := range []struct {
		name  string
		keep  bool
		ended int
	}{
		{name: "the family ends", ended: 4},
		{name: "the family is left alive", keep: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clock := newClock()
			c := newCluster(t, 1, clock.now, func(config *token.Config) { config.KeepFamilyOnReuse = tc.keep })
			c.putUser("joe", "secret")
			n := c.nodes[0]
			pair, caller := n.mustIssue("joe", "secret"), n.mustLogIn("joe", "secret")
			if _, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); err != nil {
				t.Fatal(err)
			}
			clock.advance(refreshWindow + time.Millisecond)
			_, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken})
			reuse, ok := errors.AsType[*token.ReuseError](err)
			if !ok || reasonOf(err) != fsm.Reused {
				t.Fatalf("got %v", err)
			}
			want := &token.ReuseError{Owner: pair.Identity.Principal, Ended: tc.ended}
			if diff := cmp.Diff(want, reuse); diff != "" {
				t.Errorf("reuse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	pair := c.nodes[0].mustIssue("joe", "secret")
	for _, tc := range []struct {
		name   string
		bearer realm.Secret
		want   bool
	}{
		{"an access token", pair.AccessToken, false},
		{"a refresh token", pair.RefreshToken, true},
		{"cut short", realm.NewSecret(pair.AccessToken.Expose()[:51]), true},
		{"nothing", realm.Secret{}, true},
	} {
		if got := token.Malformed(tc.bearer); got != tc.want {
			t.Errorf("%s: malformed %v, want %v", tc.name, got, tc.want)
		}
	}
}
