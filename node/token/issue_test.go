package token_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

func TestPasswordGrant(t *testing.T) {
	clock := newClock()
	c := newCluster(t, 2, clock.now, func(config *token.Config) { config.SessionLifetime = 48 * time.Hour })
	c.putUser("admin", "admin")
	c.putUser("joe", "secret")
	n := c.nodes[1]
	pair, err := n.Issue(t.Context(), n.mustLogIn("admin", "admin"), passwordGrant("joe", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	want := token.Pair{
		AccessToken: pair.AccessToken, RefreshToken: pair.RefreshToken,
		ExpiresIn: accessLifetime, Identity: joe, Type: token.AuthenticationRealm,
	}
	if diff := cmp.Diff(want, pair, cmp.AllowUnexported(realm.Secret{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	n.catchUp()
	caller, err := n.Authenticate(t.Context(), bearer(pair.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	record, _ := n.AccessToken(caller.AccessDigest)
	now := fsm.UnixMilli(clock.now().UnixMilli())
	wantRecord := fsm.Token{
		Identity:         joe,
		Client:           &fsm.Client{Principal: fsm.Principal{Username: "admin", Realm: joe.Realm}},
		CreatedAt:        now,
		AccessExpiresAt:  now + fsm.UnixMilli(accessLifetime.Milliseconds()),
		RefreshExpiresAt: now + fsm.UnixMilli(refreshLifetime.Milliseconds()),
		SessionEndsAt:    now + fsm.UnixMilli((48 * time.Hour).Milliseconds()),
	}
	if diff := cmp.Diff(wantRecord, record); diff != "" {
		t.Errorf("record: -want +got\n%s", diff)
	}
}

func TestPasswordGrantForAUserOfAFile(t *testing.T) {
	n := newCluster(t, 1, newClock().now, nil).nodes[0]
	n.files["kept"] = "secret"
	pair := n.mustIssue("kept", "secret")
	caller, err := n.Authenticate(t.Context(), bearer(pair.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	want := fsm.Principal{Username: "kept", Realm: fsm.Realm{Name: "default_file", Type: "file"}}
	if diff := cmp.Diff(want, caller.Identity.Principal); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestClientCredentialsGrant(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	grant := token.IssueRequest{GrantType: token.GrantClientCredentials}

	login := n.mustLogIn("joe", "secret")
	first, err := n.Issue(t.Context(), login, grant)
	if err != nil {
		t.Fatal(err)
	}
	want := token.Pair{
		AccessToken: first.AccessToken, ExpiresIn: accessLifetime,
		Identity: joe, Type: token.AuthenticationRealm,
	}
	if diff := cmp.Diff(want, first, cmp.AllowUnexported(realm.Secret{})); diff != "" {
		t.Errorf("for a login: -want +got\n%s", diff)
	}

	// A token can be exchanged for another of the same user, while it lives.
	holder, err := n.AuthenticateForWrite(t.Context(), bearer(first.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.Issue(t.Context(), holder, grant)
	if err != nil {
		t.Fatal(err)
	}
	if second.Type != token.AuthenticationToken || second.Identity.Username != "joe" || !second.RefreshToken.IsZero() {
		t.Errorf("for a token: %+v", second)
	}
	caller, err := n.Authenticate(t.Context(), bearer(second.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(joe, caller.Identity); diff != "" {
		t.Errorf("the token speaks for: -want +got\n%s", diff)
	}
	if _, err := n.Invalidate(t.Context(), login, token.InvalidateRequest{Token: first.AccessToken}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Issue(t.Context(), holder, grant); !errors.Is(err, token.ErrStale) {
		t.Errorf("for a token that died: %v", err)
	}
}

func TestOtherGrantsAreNotIssued(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[0]
	caller := n.mustLogIn("joe", "secret")
	for _, grant := range []token.GrantType{"", "authorization_code", "Password", token.GrantRefreshToken} {
		if _, err := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: grant}); !errors.Is(err, token.ErrGrantType) {
			t.Errorf("%q: %v", grant, err)
		}
	}
}

func TestPasswordGrantWithAWrongPassword(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("joe", "secret")
	n := c.nodes[1]
	caller := n.mustLogIn("joe", "secret")
	for _, r := range []token.IssueRequest{passwordGrant("joe", "wrong"), passwordGrant("nobody", "secret")} {
		if _, err := n.Issue(t.Context(), caller, r); !errors.Is(err, realm.ErrBadCredentials) {
			t.Errorf("got %v", err)
		}
	}
	if got := n.proposals.Load(); got != 0 {
		t.Errorf("%d proposals", got)
	}
	n.confirmFault = realm.ErrUnavailable
	if _, err := n.Issue(t.Context(), caller, passwordGrant("joe", "wrong")); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("during an outage: %v", err)
	}
}

// TestAPasswordChangedWhileItWasVerified: the generation of the user's record
// travels with the command, so a late node cannot issue for an old password.
func TestAPasswordChangedWhileItWasVerified(t *testing.T) {
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("admin", "admin")
	c.putUser("joe", "secret")
	late := c.nodes[1]
	late.catchUp()
	c.putUser("joe", "new")
	caller := late.mustLogIn("admin", "admin")
	if _, err := late.Issue(t.Context(), caller, passwordGrant("joe", "secret")); !errors.Is(err, token.ErrStale) {
		t.Errorf("on late state: %v", err)
	}
	// What ErrStale asks for: authenticate with a confirmed read, then repeat.
	caller, err := late.Authenticate(t.Context(), basic("admin", "admin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Issue(t.Context(), caller, passwordGrant("joe", "secret")); !errors.Is(err, realm.ErrBadCredentials) {
		t.Errorf("repeated: %v", err)
	}
}

func TestRolesChangedWhileTheyWereEvaluated(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	c.mustApply(fsm.PutRole{Header: header(), Role: fsm.Role{Name: "r", Cluster: []string{"manage_token"}}})
	n := c.nodes[0]
	caller := n.mustLogIn("joe", "secret")
	c.mustApply(fsm.PutRole{Header: header(), Role: fsm.Role{Name: "r", Cluster: []string{"monitor"}}})
	if _, err := n.Issue(t.Context(), caller, passwordGrant("joe", "secret")); !errors.Is(err, token.ErrStale) {
		t.Errorf("got %v", err)
	}
}

func TestWhatAFailedProposalMeans(t *testing.T) {
	strange := errors.New("strange")
	cases := map[string]struct {
		outcome fsm.Outcome
		err     error
		want    error
	}{
		"outcome unknown":   {err: realm.ErrUnavailable, want: token.ErrUnavailable},
		"queue full":        {err: realm.ErrOverloaded, want: token.ErrOverloaded},
		"deadline":          {err: context.DeadlineExceeded, want: token.ErrUnavailable},
		"cancelled":         {err: context.Canceled, want: token.ErrUnavailable},
		"strange":           {err: strange, want: strange},
		"stale":             {outcome: fsm.Outcome{Reason: fsm.StaleDecision}, want: token.ErrStale},
		"outcome forgotten": {outcome: fsm.Outcome{Reason: fsm.Expired}, want: token.ErrUnavailable},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1, newClock().now, nil)
			c.putUser("joe", "secret")
			n := c.nodes[0]
			pair := n.mustIssue("joe", "secret")
			caller := n.mustLogIn("joe", "secret")
			n.proposeFault = func(func() (fsm.Outcome, error)) (fsm.Outcome, error) { return tc.outcome, tc.err }
			_, issued := n.Issue(t.Context(), caller, passwordGrant("joe", "secret"))
			_, minted := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
			_, refreshed := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken})
			_, invalidated := n.Invalidate(t.Context(), caller, token.InvalidateRequest{Token: pair.AccessToken})
			for what, err := range map[string]error{
				"issue": issued, "client credentials": minted, "refresh": refreshed, "invalidate": invalidated,
			} {
				if !errors.Is(err, tc.want) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// failing is a source of randomness that has none.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestNoRandomnessNoToken(t *testing.T) {
	c := newCluster(t, 1, newClock().now, nil)
	c.putUser("joe", "secret")
	pair := c.nodes[0].mustIssue("joe", "secret")
	n := c.add(func(config *token.Config) { config.Random = failing{} })
	caller := n.mustLogIn("joe", "secret")
	if _, err := n.Issue(t.Context(), caller, passwordGrant("joe", "secret")); err == nil {
		t.Error("issued")
	}
	if _, err := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials}); err == nil {
		t.Error("issued by client credentials")
	}
	if _, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: pair.RefreshToken}); err == nil {
		t.Error("refreshed")
	}
	if got := n.proposals.Load(); got != 0 {
		t.Errorf("%d proposals", got)
	}
}
