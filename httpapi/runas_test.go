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

// A refusal of a write rests on a confirmed read: it names the caller's roles.
func TestRunAsRefusalIsConfirmed(t *testing.T) {
	var kinds []string
	w := &world{authenticate: asked(&kinds, someone())}
	serve(handlerOf(t, config(w)), &call{request: "DELETE /_security/user/joe", header: runAs("bob")})
	if strings.Join(kinds, " ") != "local confirmed" {
		t.Errorf("authenticated by %v", kinds)
	}
}
