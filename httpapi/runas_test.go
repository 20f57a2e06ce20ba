package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

func runAs(lines ...string) http.Header { return http.Header{"Es-Security-Runas-User": lines} }

func TestRunAsIsForbidden(t *testing.T) {
	denied := func(action string) string {
		return exception("security_exception", "action ["+action+"] is unauthorized for user [elastic] with effective roles [superuser], "+
			"because user [elastic] is unauthorized to run as [bob]", "403")
	}
	known := world{roles: []fsm.Role{{Name: "superuser", RunAs: []string{"*"}}}}
	check(t, []call{
		{
			name: "who am I", world: known, request: "GET /_security/_authenticate", header: runAs("bob"), status: 403,
			want: denied("cluster:admin/xpack/security/user/authenticate"),
		},
		{
			name: "the same line twice", world: known, request: "GET /", header: runAs("bob", "bob"), status: 403,
			want: denied("cluster:monitor/main"),
		},
		{
			name: "issue", world: known, request: "POST " + tokenPath, body: `{"grant_type":"client_credentials"}`, header: runAs("bob"), status: 403,
			want: denied("cluster:admin/xpack/security/token/create"),
		},
		{
			name: "refresh", world: known, request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"r"}`,
			header: runAs("bob"), status: 403, want: denied("cluster:admin/xpack/security/token/refresh"),
		},
		{
			name: "before the body is looked at", world: known, request: "POST " + tokenPath, body: `{`, header: runAs("bob"), status: 403,
			want: denied("cluster:admin/xpack/security/token/create"),
		},
		{
			name: "one's own name", world: known, request: "GET /_security/user", header: runAs("elastic"), status: 403,
			want: strings.ReplaceAll(denied("cluster:admin/xpack/security/user/get"), "[bob]", "[elastic]"),
		},
		{
			name: "a role that does not exist", request: "PUT /_security/user/_password", body: `{"password":"secret1"}`, header: runAs("bob"), status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/user/change_password] is unauthorized for user [elastic] "+
				"with effective roles [] (assigned roles [superuser] were not found), because user [elastic] is unauthorized to run as [bob]", "403"),
		},
		{
			name: "nobody", request: "GET /_security/_authenticate", header: runAs(""), status: 401, headers: challenge,
			want: unauthorized("unable to authenticate user [elastic] for REST request [/_security/_authenticate]", ""),
		},
		{name: "without an identity there is nothing to lay down", request: "GET /livez", header: runAs("bob"), status: 200, want: `{"live":true}`},
	})
}

// Ignoring the header would serve the request with the caller's own rights.
func TestRunAsDoesNothing(t *testing.T) {
	done := func() { t.Error("a use case was called") }
	w := &world{
		issue:       func(token.Caller, token.IssueRequest) (token.Pair, error) { done(); return token.Pair{}, nil },
		refresh:     func(token.Caller, token.RefreshRequest) (token.Pair, error) { done(); return token.Pair{}, nil },
		invalidate:  func(token.Caller, token.InvalidateRequest) (token.Counts, error) { done(); return token.Counts{}, nil },
		putUser:     func(realm.UserRequest) (bool, error) { done(); return true, nil },
		deleteUser:  func(fsm.Username) (bool, error) { done(); return true, nil },
		setPassword: func(fsm.Username, *realm.Secret, *realm.Secret) error { done(); return nil },
		setEnabled:  func(fsm.Username, bool) error { done(); return nil },
		putRole:     func(fsm.Role) (bool, error) { done(); return true, nil },
		deleteRole:  func(fsm.RoleName) (bool, error) { done(); return true, nil },
	}
	h := handlerOf(t, config(w))
	for _, c := range everyRequest() {
		c.header = runAs("bob")
		answer := serve(h, &c)
		if answer.Code != http.StatusForbidden {
			t.Errorf("%s: status %d", c.request, answer.Code)
		}
		if strings.Contains(answer.Body.String(), "action []") {
			t.Errorf("%s: the action has no name", c.request)
		}
		c.header = http.Header{"Es-Security-Runas-User": {"bob"}, "Authorization": {"Bearer x"}}
		if answer := serve(h, &c); answer.Code != http.StatusUnauthorized {
			t.Errorf("%s by nobody: status %d", c.request, answer.Code)
		}
	}
}

// A refusal of a write rests on a confirmed read: the caller's roles may have changed.
func TestRunAsRefusalIsConfirmed(t *testing.T) {
	var kinds []string
	w := &world{authenticate: asked(&kinds, someone())}
	serve(handlerOf(t, config(w)), &call{request: "DELETE /_security/user/joe", header: runAs("bob")})
	if strings.Join(kinds, " ") != "local confirmed" {
		t.Errorf("authenticated by %v", kinds)
	}
}

// asJoe is elastic acting as joe of the file realm.
func asJoe(c token.Caller, name fsm.Username) (token.Caller, error) {
	if name != "joe" {
		return token.Caller{}, token.ErrRunAs
	}
	return token.Caller{
		Type: c.Type,
		Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: "default_file", Type: "file"}},
			Roles:     []fsm.RoleName{"r"}, RunBy: &fsm.Actor{Principal: c.Identity.Principal, Roles: c.Identity.Roles},
		},
	}, nil
}

const whoIsJoe = `{"username":"joe","roles":["r"],"full_name":null,"email":null,"metadata":{},"enabled":true,` +
	`"authentication_realm":{"name":"reserved","type":"reserved"},"lookup_realm":{"name":"default_file","type":"file"},"authentication_type":`

func TestRunAsServesTheOtherUser(t *testing.T) {
	joe := func(w world) world { w.runAs = asJoe; return w }
	bearer := http.Header{"Es-Security-Runas-User": {"joe"}, "Authorization": {"Bearer tok"}}
	check(t, []call{
		{name: "who am I", world: joe(world{}), request: "GET /_security/_authenticate", header: runAs("joe"), status: 200, want: whoIsJoe + `"realm"}`},
		{name: "at the former path", world: joe(world{}), request: "GET /_xpack/security/_authenticate", header: runAs("joe"), status: 200, want: whoIsJoe + `"realm"}`},
		{name: "by token", world: joe(world{}), request: "GET /_security/_authenticate", header: bearer, status: 200, want: whoIsJoe + `"token"}`},
		{
			name: "another user", world: joe(world{roles: []fsm.Role{{Name: "superuser"}}}), request: "GET /_security/_authenticate", header: runAs("bob"), status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/user/authenticate] is unauthorized for user [elastic] "+
				"with effective roles [superuser], because user [elastic] is unauthorized to run as [bob]", "403"),
		},
		{
			name: "issue", world: joe(world{}), request: "POST " + tokenPath, body: `{"grant_type":"client_credentials"}`, header: runAs("joe"), status: 200,
			want:    `{"access_token":"jat_1","type":"Bearer","expires_in":1200,"authentication":` + whoIsJoe + `"realm"}}`,
			headers: map[string]string{"Cache-Control": "no-store"},
		},
		{
			name: "with that user's privileges", request: "GET /_security/user", header: runAs("joe"), status: 403,
			world: joe(world{authorize: func(user *fsm.Identity, action string) error {
				if user.Username != "joe" || user.RunBy.Username != "elastic" {
					t.Errorf("asked about %+v", user)
				}
				return &realm.ForbiddenError{Action: action, Username: user.RunBy.Username, RunAs: user.Username, Effective: user.Roles}
			}}),
			want: exception("security_exception", "action [cluster:admin/xpack/security/user/get] is unauthorized for user [elastic] run as [joe] "+
				"with effective roles [r]", "403"),
		},
		{
			name: "an outage", request: "GET /_security/_authenticate", header: runAs("joe"), status: 503,
			world: world{runAs: func(token.Caller, fsm.Username) (token.Caller, error) { return token.Caller{}, token.ErrUnavailable }},
			want:  outageBody(), headers: map[string]string{"Retry-After": "1"},
		},
	})
}

// Whoever may act for a user for a while must not be able to stay.
func TestRunAsChangesNoPasswordWithoutPrivilege(t *testing.T) {
	for path, want := range map[string]int{"/_security/user/_password": 403, "/_security/user/elastic/_password": 403} {
		w := &world{authorize: forbid, runAs: func(c token.Caller, _ fsm.Username) (token.Caller, error) {
			acting := *c.Identity
			acting.RunBy = &fsm.Actor{Principal: fsm.Principal{Username: "proxy"}}
			c.Identity = &acting
			return c, nil
		}}
		h := handlerOf(t, config(w))
		body := `{"password":"secret1"}`
		if answer := serve(h, &call{request: "PUT " + path, body: body, header: runAs("elastic")}); answer.Code != want {
			t.Errorf("%s: status %d", path, answer.Code)
		}
		if answer := serve(h, &call{request: "PUT " + path, body: body}); answer.Code != 200 {
			t.Errorf("%s by the user itself: status %d", path, answer.Code)
		}
	}
}

// A caller that is less than its user says so, and gets nowhere by run-as.
func TestNarrowedAndActingCallers(t *testing.T) {
	narrow := func(change func(*fsm.Identity)) world {
		return world{roles: []fsm.Role{{Name: "superuser"}}, authenticate: func(bool, token.Credentials) (token.Caller, error) {
			identity := elastic()
			identity.Scope = []string{"manage_token", "monitor"}
			change(identity)
			return token.Caller{Identity: identity, Type: token.AuthenticationToken}, nil
		}}
	}
	scoped := narrow(func(*fsm.Identity) {})
	acting := narrow(func(i *fsm.Identity) {
		i.Scope, i.RunBy = nil, &fsm.Actor{Principal: fsm.Principal{Username: "proxy", Realm: fsm.Realm{Name: "default_file", Type: "file"}}}
	})
	who := func(authenticated string) string {
		return `{"username":"elastic","roles":["superuser"],"full_name":null,"email":null,"metadata":{"_reserved":true},"enabled":true,` +
			`"authentication_realm":` + authenticated + `,"lookup_realm":{"name":"reserved","type":"reserved"},"authentication_type":"token"`
	}
	reserved := who(`{"name":"reserved","type":"reserved"}`)
	denied := func(who string) string {
		return exception("security_exception", "action [cluster:admin/xpack/security/user/authenticate] is unauthorized for user "+who+
			", because user "+strings.Fields(who)[0]+" is unauthorized to run as [bob]", "403")
	}
	check(t, []call{
		{name: "narrowed", world: scoped, request: "GET /_security/_authenticate", status: 200, want: reserved + `,"scope":["manage_token","monitor"]}`},
		{
			name: "what a narrowed caller obtains", world: scoped, request: "POST " + tokenPath, body: `{"grant_type":"client_credentials","scope":"all"}`, status: 200,
			headers: map[string]string{"Cache-Control": "no-store"},
			want:    `{"access_token":"jat_1","type":"Bearer","expires_in":1200,"scope":"manage_token monitor","authentication":` + reserved + `,"scope":["manage_token","monitor"]}}`,
		},
		{
			name: "run as, narrowed", world: scoped, request: "GET /_security/_authenticate", header: runAs("bob"), status: 403,
			want: denied("[elastic] with effective roles [superuser] and the scope [manage_token,monitor]"),
		},
		{name: "acting", world: acting, request: "GET /_security/_authenticate", status: 200, want: who(`{"name":"default_file","type":"file"}`) + "}"},
		{
			name: "run as, acting", world: acting, request: "GET /_security/_authenticate", header: runAs("bob"), status: 403,
			want: denied("[proxy] run as [elastic] with effective roles [superuser]"),
		},
	})
}

// A caller whose password is changed between its login and its acting for another user
// has not met an outage: it logs in again.
func TestRunAsOfACallerThatChanges(t *testing.T) {
	for _, request := range []string{"GET /_security/_authenticate", "DELETE /_security/user/u"} {
		attempts := 0
		w := world{runAs: func(c token.Caller, _ fsm.Username) (token.Caller, error) {
			if attempts++; attempts < 3 {
				return token.Caller{}, token.ErrStale
			}
			return c, nil
		}}
		answer := serve(handlerOf(t, config(&w)), &call{request: request, header: runAs("joe")})
		if answer.Code != http.StatusOK || attempts != 3 {
			t.Errorf("%s: status %d after %d attempts", request, answer.Code, attempts)
		}
	}
}

// No operation forgets the scope: of a token that may do nothing, its holder learns who
// it is and what it may do, and gets nothing else.
func TestTokenNarrowedToNothing(t *testing.T) {
	state := fsm.New(nil)
	roles := realm.NewRoles(nil, state)
	w := &world{
		authenticate: func(bool, token.Credentials) (token.Caller, error) {
			identity := elastic()
			identity.Scope = []string{"none"}
			return token.Caller{Identity: identity, Type: token.AuthenticationToken}, nil
		},
		authorize: func(user *fsm.Identity, action string) error {
			_, err := roles.Authorize(user, action)
			return err
		},
	}
	h := handlerOf(t, config(w))
	for _, c := range everyRequest() {
		want := http.StatusForbidden
		for _, free := range []string{"/_authenticate", "/user/_privileges", "/user/_has_privileges", "/_cat"} { // the last tells paths
			if strings.HasSuffix(c.request, free) {
				want = http.StatusOK
			}
		}
		if strings.HasSuffix(c.request, "/user/u/_has_privileges") {
			want = http.StatusForbidden
		}
		if answer := serve(h, &c); answer.Code != want {
			t.Errorf("%s: status %d, want %d", c.request, answer.Code, want)
		}
	}
}
