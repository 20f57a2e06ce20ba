package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// What the node will hand to New.
var (
	_ token.View   = (*fsm.FSM)(nil)
	_ token.Realms = (*realm.Chain)(nil)
)

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := token.New(token.Config{
		Enabled: true, ClusterKey: make([]byte, 31), SessionLifetime: -1, RefreshWindow: -1,
		AccessLifetime: time.Microsecond,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"no log", "no view", "no realms", "confirm", "no clock", "cluster key", "access token lifetime",
		"refresh token lifetime", "session lifetime", "refresh window",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in:\n%v", want, err)
		}
	}
	if got := strings.Count(err.Error(), "\n"); got != 9 {
		t.Errorf("want ten lines, got:\n%v", err)
	}
}

func TestTheClusterKeyIsCopied(t *testing.T) {
	key := []byte(strings.Repeat("k", 32))
	c := newCluster(t, 1, newClock().now, func(config *token.Config) { config.ClusterKey = key })
	c.putUser("joe", "secret")
	n := c.nodes[0]
	caller, issued := n.mustLogIn("joe", "secret"), n.mustIssue("joe", "secret")
	first, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	clear(key)
	again, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: issued.RefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	if diff := diffPairs(first, again); diff != "" {
		t.Errorf("-first +again\n%s", diff)
	}
}

// TestNothingPrintsASecret: whatever a request or an answer is printed with.
func TestNothingPrintsASecret(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "canary-password")
	n := c.nodes[0]
	pair := n.mustIssue("joe", "canary-password")
	caller := n.mustLogIn("joe", "canary-password")
	invalidated := token.InvalidateRequest{Token: pair.AccessToken, RefreshToken: pair.RefreshToken}
	_, wrongGrant := n.Issue(t.Context(), caller, passwordGrant("joe", "canary-wrong"))
	_, wrongTarget := n.Invalidate(t.Context(), caller, invalidated)
	_, wrongRefresh := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: realm.NewSecret("jrt_canary")})
	for _, v := range []any{
		pair, caller, invalidated, bearer(pair.AccessToken), basic("joe", "canary-password"),
		passwordGrant("joe", "canary-wrong"), wrongGrant, wrongTarget, wrongRefresh,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			printed := fmt.Sprintf(verb, v)
			for _, canary := range []string{"canary", pair.AccessToken.Expose(), pair.RefreshToken.Expose()} {
				if strings.Contains(printed, canary) {
					t.Errorf("%T printed with %s shows %q", v, verb, canary)
				}
			}
		}
	}
}
