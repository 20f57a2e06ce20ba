package token_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// acting is admin, who authenticated somehow, acting as joe.
func acting(t *testing.T, n *testNode, credentials token.Credentials) token.Caller {
	t.Helper()
	caller, err := n.AuthenticateForWrite(t.Context(), credentials)
	if err != nil {
		t.Fatal(err)
	}
	joe, err := n.RunAs(caller, "joe")
	if err != nil {
		t.Fatal(err)
	}
	return joe
}

func adminAndJoe(t *testing.T) (*testCluster, *testNode) {
	t.Helper()
	c := newCluster(t, 2, newClock().now, nil)
	c.putUser("admin", "admin")
	c.putUser("joe", "secret")
	c.putUser("eve", "eve")
	n := c.nodes[1]
	n.catchUp()
	return c, n
}

func TestRunAsCoversBothUsers(t *testing.T) {
	_, n := adminAndJoe(t)
	admin, _ := n.User(fsm.RealmNative, "admin")
	target, _ := n.User(fsm.RealmNative, "joe")
	principal := fsm.Principal{Username: "admin", Realm: joe.Realm}
	identity := *joe
	identity.RunBy = &fsm.Actor{Principal: principal, Roles: []fsm.RoleName{"superuser"}, Generation: admin.Generation}
	guard := fsm.Guard{
		Caller: joe.Principal, CallerGeneration: target.Generation, RunBy: principal, RunByGeneration: admin.Generation,
		RolesVersion: n.RolesVersion(),
	}
	for name, want := range map[string]struct {
		credentials token.Credentials
		caller      token.Caller
	}{
		"by password": {basic("admin", "admin"), token.Caller{Identity: &identity, Type: token.AuthenticationRealm, Guard: guard}},
		"by token": {
			bearer(n.mustIssue("admin", "admin").AccessToken),
			token.Caller{Identity: &identity, Type: token.AuthenticationToken, Guard: guard},
		},
	} {
		got := acting(t, n, want.credentials)
		want.caller.AccessDigest, want.caller.Guard.Bearer = got.AccessDigest, got.AccessDigest
		if diff := cmp.Diff(want.caller, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		if bearer := got.AccessDigest != (fsm.Digest{}); bearer != (name == "by token") {
			t.Errorf("%s: digest %v", name, got.AccessDigest)
		}
	}
}

func TestRunAsIsRefused(t *testing.T) {
	_, n := adminAndJoe(t)
	caller := n.mustLogIn("admin", "admin")
	for name, refused := range map[string]func() (token.Caller, error){
		"nobody":                  func() (token.Caller, error) { return n.RunAs(caller, "nobody") },
		"a chain":                 func() (token.Caller, error) { return n.RunAs(acting(t, n, basic("admin", "admin")), "eve") },
		"back to where it began":  func() (token.Caller, error) { return n.RunAs(acting(t, n, basic("admin", "admin")), "admin") },
		"a chain through a token": func() (token.Caller, error) { return n.RunAs(throughToken(t, n, nil), "eve") },
		"a narrowed token":        func() (token.Caller, error) { return n.RunAs(narrowCaller(t, n, "all"), "joe") },
	} {
		if got, err := refused(); !errors.Is(err, token.ErrRunAs) || got.Identity != nil {
			t.Errorf("%s: %v, %v", name, got.Identity, err)
		}
	}
}

// throughToken is admin as joe, by a token that joe, run by admin, obtained.
func throughToken(t *testing.T, n *testNode, scope []string) token.Caller {
	t.Helper()
	pair, err := n.Issue(t.Context(), acting(t, n, basic("admin", "admin")), token.IssueRequest{GrantType: token.GrantClientCredentials, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	caller, err := n.Authenticate(t.Context(), bearer(pair.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	return caller
}

func narrowCaller(t *testing.T, n *testNode, scope ...string) token.Caller {
	t.Helper()
	pair, err := n.Issue(t.Context(), n.mustLogIn("joe", "secret"), token.IssueRequest{GrantType: token.GrantClientCredentials, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	caller, err := n.Authenticate(t.Context(), bearer(pair.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	return caller
}

// A password that was changed between the login and run-as is no ground to act on.
func TestRunAsOfALateLoginIsStale(t *testing.T) {
	c, n := adminAndJoe(t)
	caller := n.mustLogIn("admin", "admin")
	c.putUser("admin", "new")
	n.catchUp()
	if _, err := n.RunAs(caller, "joe"); !errors.Is(err, token.ErrStale) {
		t.Errorf("got %v", err)
	}
}

// What is written for somebody who acts for another rests on both.
func TestRunAsWriteIsGuarded(t *testing.T) {
	for name, change := range map[string]func(*testCluster){
		"nothing": func(*testCluster) {},
		"actor disabled": func(c *testCluster) {
			c.mustApply(fsm.SetEnabled{Header: header(), Realm: fsm.RealmNative, Username: "admin"})
		},
		"actor deleted":       func(c *testCluster) { c.mustApply(fsm.DeleteUser{Header: header(), Username: "admin"}) },
		"actor's password":    func(c *testCluster) { c.putUser("admin", "new") },
		"user acted as":       func(c *testCluster) { c.putUser("joe", "new") },
		"a role's definition": func(c *testCluster) { c.mustApply(fsm.PutRole{Header: header(), Role: fsm.Role{Name: "any"}}) },
	} {
		t.Run(name, func(t *testing.T) {
			c, n := adminAndJoe(t)
			caller, token2 := acting(t, n, basic("admin", "admin")), throughToken(t, n, nil)
			change(c) // the node has not seen it
			for way, caller := range map[string]token.Caller{"by password": caller, "by token": token2} {
				_, err := n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
				if want := name != "nothing"; errors.Is(err, token.ErrStale) != want || !want && err != nil {
					t.Errorf("%s: %v", way, err)
				}
			}
		})
	}
}

// A token that acts for another is as good as both of them are.
func TestRunAsTokenEndsWithEither(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testCluster)
		ends   bool
	}{
		"nothing":      {func(*testCluster) {}, false},
		"another user": {func(c *testCluster) { c.putUser("eve", "new") }, false},
		"actor disabled": {func(c *testCluster) {
			c.mustApply(fsm.SetEnabled{Header: header(), Realm: fsm.RealmNative, Username: "admin"})
		}, true},
		"actor deleted":      {func(c *testCluster) { c.mustApply(fsm.DeleteUser{Header: header(), Username: "admin"}) }, true},
		"actor's password":   {func(c *testCluster) { c.putUser("admin", "new") }, true},
		"user's password":    {func(c *testCluster) { c.putUser("joe", "new") }, true},
		"user deleted":       {func(c *testCluster) { c.mustApply(fsm.DeleteUser{Header: header(), Username: "joe"}) }, true},
		"actor's roles gone": {func(c *testCluster) { c.mustApply(fsm.PutUser{Header: header(), Username: "admin", Enabled: true}) }, true},
	} {
		for way, authenticate := range bothWays() {
			t.Run(name+", "+way, func(t *testing.T) {
				c, n := adminAndJoe(t)
				pair, err := n.Issue(t.Context(), acting(t, n, basic("admin", "admin")), token.IssueRequest{GrantType: token.GrantClientCredentials})
				if err != nil {
					t.Fatal(err)
				}
				test.change(c)
				n.catchUp()
				caller, err := authenticate(n, t.Context(), bearer(pair.AccessToken))
				if errors.Is(err, token.ErrExpired) != test.ends || !test.ends && err != nil {
					t.Fatalf("got %v", err)
				}
				if !test.ends && (caller.Identity.RunBy.Username != "admin" || caller.Guard.RunBy.Username != "admin") {
					t.Errorf("it has forgotten who acts: %+v", caller)
				}
			})
		}
	}
}

// A pair is refreshed by the very client that obtained it, which is two users if one
// acts as the other.
func TestRefreshAsksForTheSameTwo(t *testing.T) {
	_, n := adminAndJoe(t)
	eve := func() token.Caller {
		caller, err := n.RunAs(n.mustLogIn("eve", "eve"), "joe")
		if err != nil {
			t.Fatal(err)
		}
		return caller
	}
	obtain := func(client token.Caller) token.RefreshRequest {
		pair, err := n.Issue(t.Context(), client, passwordGrant("eve", "eve"))
		if err != nil {
			t.Fatal(err)
		}
		if pair.Identity.RunBy != nil {
			t.Errorf("the pair of a login has an actor")
		}
		return token.RefreshRequest{Presented: pair.RefreshToken}
	}
	acted := obtain(acting(t, n, basic("admin", "admin")))
	own := obtain(n.mustLogIn("joe", "secret"))
	for name, test := range map[string]struct {
		client  token.Caller
		request token.RefreshRequest
		want    fsm.Reason
	}{
		"the user acted as":     {n.mustLogIn("joe", "secret"), acted, fsm.NotCreatingClient},
		"the actor as itself":   {n.mustLogIn("admin", "admin"), acted, fsm.NotCreatingClient},
		"another actor":         {eve(), acted, fsm.NotCreatingClient},
		"an actor, of joe's":    {acting(t, n, basic("admin", "admin")), own, fsm.NotCreatingClient},
		"the same two":          {acting(t, n, basic("admin", "admin")), acted, fsm.Done},
		"the same two by token": {throughToken(t, n, nil), acted, fsm.Done},
	} {
		_, err := n.Refresh(t.Context(), test.client, test.request)
		if reason := reasonOf(err); reason != test.want || test.want == fsm.Done && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScopeOfTokens(t *testing.T) {
	_, n := adminAndJoe(t)
	client := token.IssueRequest{GrantType: token.GrantClientCredentials}
	for name, test := range map[string]struct {
		caller      token.Caller
		asked, want []string
		refused     bool
	}{
		"nobody asked":          {n.mustLogIn("joe", "secret"), nil, nil, false},
		"full":                  {n.mustLogIn("joe", "secret"), []string{"full"}, nil, false},
		"narrowed":              {n.mustLogIn("joe", "secret"), []string{"monitor", "manage_token"}, []string{"manage_token", "monitor"}, false},
		"inherited":             {narrowCaller(t, n, "monitor"), nil, []string{"monitor"}, false},
		"narrowed again":        {narrowCaller(t, n, "monitor", "manage_token"), []string{"monitor"}, []string{"monitor"}, false},
		"widened":               {narrowCaller(t, n, "monitor"), []string{"monitor", "manage_token"}, nil, true},
		"widened to full":       {narrowCaller(t, n, "monitor"), []string{"full"}, nil, true},
		"unknown":               {n.mustLogIn("joe", "secret"), []string{"openid"}, nil, true},
		"narrowed while acting": {acting(t, n, basic("admin", "admin")), []string{"monitor"}, []string{"monitor"}, false},
		"widened while acting":  {throughToken(t, n, []string{"monitor"}), []string{"manage_token"}, nil, true},
	} {
		client.Scope = test.asked
		pair, err := n.Issue(t.Context(), test.caller, client)
		if errors.Is(err, token.ErrScope) != test.refused || !test.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if test.refused {
			continue
		}
		caller, err := n.Authenticate(t.Context(), bearer(pair.AccessToken))
		if err != nil {
			t.Fatal(err)
		}
		want := *test.caller.Identity
		want.Scope = test.want
		if diff := cmp.Diff(&want, caller.Identity); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if diff := cmp.Diff(test.want, pair.Scope); diff != "" {
			t.Errorf("%s: told (-want +got)\n%s", name, diff)
		}
	}
}

// Refreshing narrows for good, and never widens; a repetition gives what was given.
func TestRefreshNarrows(t *testing.T) {
	_, n := adminAndJoe(t)
	joe := n.mustLogIn("joe", "secret")
	refresh := func(presented realm.Secret, want []string, asked ...string) token.Pair {
		t.Helper()
		pair, err := n.Refresh(t.Context(), joe, token.RefreshRequest{Presented: presented, Scope: asked})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, pair.Scope); diff != "" {
			t.Errorf("told (-want +got)\n%s", diff)
		}
		caller, err := n.Authenticate(t.Context(), bearer(pair.AccessToken))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, caller.Identity.Scope); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		return pair
	}
	first := n.mustIssue("joe", "secret")
	second := refresh(first.RefreshToken, []string{"manage_token", "monitor"}, "monitor", "manage_token")
	again := refresh(first.RefreshToken, []string{"manage_token", "monitor"})
	if again.AccessToken != second.AccessToken {
		t.Error("the repetition has another successor")
	}
	if other := refresh(first.RefreshToken, []string{"manage_token", "monitor"}, "monitor"); other.AccessToken != second.AccessToken {
		t.Error("the repetition with another scope has another successor")
	}
	for _, wide := range []string{"all", "full", "manage_security", "openid"} {
		_, err := n.Refresh(t.Context(), joe, token.RefreshRequest{Presented: second.RefreshToken, Scope: []string{wide}})
		if !errors.Is(err, token.ErrScope) {
			t.Errorf("widened to %s: %v", wide, err)
		}
	}
	third := refresh(second.RefreshToken, []string{"monitor"}, "monitor") // nothing was consumed
	refresh(third.RefreshToken, []string{"monitor"})
}

func TestPasswordGrantIsNarrowed(t *testing.T) {
	_, n := adminAndJoe(t)
	grant := passwordGrant("joe", "secret")
	grant.Scope = []string{"monitor"}
	// By a caller with a narrow token: the password is what the pair is made of.
	pair, err := n.Issue(t.Context(), narrowCaller(t, n, "manage_token"), grant)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"monitor"}, pair.Scope); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	grant.Scope = []string{"none at all"}
	if _, err := n.Issue(t.Context(), n.mustLogIn("joe", "secret"), grant); !errors.Is(err, token.ErrScope) {
		t.Errorf("unknown: %v", err)
	}
}
