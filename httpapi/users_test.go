package httpapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

func secret(s string) *realm.Secret {
	r := realm.NewSecret(s)
	return &r
}

func TestUserRequestIsPassedOn(t *testing.T) {
	var got realm.UserRequest
	w := world{putUser: func(r realm.UserRequest) (bool, error) {
		got = r
		return r.Username == "new", nil
	}}
	expose := cmp.Comparer(func(a, b realm.Secret) bool { return a.Expose() == b.Expose() })
	for _, c := range []struct {
		request, body, answer string
		want                  realm.UserRequest
	}{
		{
			"PUT /_security/user/new", `{"password":"l0ng-r4nd0m","roles":["admin","other"],"full_name":"J","email":"j@x","metadata":{ "a" : 1 }}`,
			`{"created":true}`,
			realm.UserRequest{
				Username: "new", Password: secret("l0ng-r4nd0m"), Roles: []fsm.RoleName{"admin", "other"}, FullName: new("J"),
				Email: new("j@x"), Metadata: []byte(`{"a":1}`), Enabled: true,
			},
		},
		{
			"POST /_xpack/security/user/a%2Fb+c%20d?refresh=wait_for", `{"password_hash":"$2a$10$x","roles":"r,s","full_name":null,"email":null,"enabled":false,"username":"a/b+c d"}`,
			`{"user":{"created":false},"created":false}`,
			realm.UserRequest{Username: "a/b+c d", PasswordHash: secret("$2a$10$x"), Roles: []fsm.RoleName{"r", "s"}},
		},
		{"PUT /_security/user/u", `{"roles":[]}`, `{"created":false}`, realm.UserRequest{Username: "u", Roles: []fsm.RoleName{}, Enabled: true}},
		{"PUT /_security/user/u", `{"roles":""}`, `{"created":false}`, realm.UserRequest{Username: "u", Roles: []fsm.RoleName{}, Enabled: true}},
		{"PUT /_security/user/u", `{}`, `{"created":false}`, realm.UserRequest{Username: "u", Enabled: true}},
	} {
		check(t, []call{{world: w, request: c.request, body: c.body, status: 200, want: c.answer}})
		if diff := cmp.Diff(c.want, got, expose); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.request, c.body, diff)
		}
	}
}

func TestUserRequestErrors(t *testing.T) {
	for _, c := range []struct{ body, kind, reason string }{
		{"", "parse_exception", "request body is required"},
		{`[]`, "parse_exception", "expected an object, but found token [START_ARRAY]"},
		{`{"x":1}`, "parse_exception", "failed to parse add user request. unexpected field [x]"},
		{`{"password":1}`, "parse_exception", "expected field [password] to be of type string, but found [VALUE_NUMBER] instead"},
		{`{"password_hash":null}`, "parse_exception", "expected field [password_hash] to be of type string, but found [VALUE_NULL] instead"},
		{`{"full_name":[]}`, "parse_exception", "expected field [full_name] to be of type string, but found [START_ARRAY] instead"},
		{`{"email":{}}`, "parse_exception", "expected field [email] to be of type string, but found [START_OBJECT] instead"},
		{`{"enabled":"true"}`, "parse_exception", "expected field [enabled] to be of type boolean, but found [VALUE_STRING] instead"},
		{`{"metadata":[]}`, "parse_exception", "expected field [metadata] to be of type object, but found [START_ARRAY] instead"},
		{`{"roles":null}`, "parse_exception", "could not parse [roles] field. expected a string array but found null value instead"},
		{`{"roles":1}`, "parse_exception", "could not parse [roles] field. expected a string array but found [VALUE_NUMBER] value instead"},
		{`{"roles":["a",null]}`, "parse_exception", "could not parse [roles] field. expected a string array but one of the value in the array is [VALUE_NULL]"},
		{`{"username":"jim"}`, "illegal_argument_exception", "[username] in source does not match the username provided [joe]"},
		{`{"username":1}`, "parse_exception", "expected field [username] to be of type string, but found [VALUE_NUMBER] instead"},
		{`{"metadata":{"a":1,"a":2}}`, "x_content_parse_exception", "[1:20] Duplicate field 'a'"},
	} {
		check(t, []call{{
			name: c.body, request: "PUT /_security/user/joe", body: c.body,
			status: 400, want: exception(c.kind, c.reason, "400"),
		}})
	}
}

// The use cases' own problems reach the client as they are.
func TestUserValidationErrors(t *testing.T) {
	for _, err := range []*realm.ValidationError{
		{Type: "validation_exception", Messages: []string{"password must be specified unless you are updating an existing user"}},
		{Type: "action_request_validation_exception", Messages: []string{"roles are missing"}},
		{Type: "validation_exception", Messages: []string{"passwords must be at least [6] characters long"}},
	} {
		w := world{putUser: func(realm.UserRequest) (bool, error) { return false, err }}
		check(t, []call{{
			world: w, request: "PUT /_security/user/joe", body: `{}`, status: 400,
			want: exception(err.Type, "Validation Failed: 1: "+err.Messages[0]+";", "400"),
		}})
	}
	hash := "Provided password hash uses [BCRYPT5] but the configured hashing algorithm is [BCRYPT]"
	reserved := "user [elastic] is reserved and cannot be deleted"
	self := "users may not update the enabled status of their own account"
	check(t, []call{
		{
			world:   world{putUser: func(realm.UserRequest) (bool, error) { return false, &realm.ArgumentError{Message: hash} }},
			request: "PUT /_security/user/joe", body: `{}`, status: 400, want: exception("illegal_argument_exception", hash, "400"),
		},
		{
			world:   world{deleteUser: func(fsm.Username) (bool, error) { return false, &realm.ArgumentError{Message: reserved} }},
			request: "DELETE /_security/user/elastic", status: 400, want: exception("illegal_argument_exception", reserved, "400"),
		},
		{
			world:   world{setEnabled: func(fsm.Username, bool) error { return &realm.ArgumentError{Message: self} }},
			request: "PUT /_security/user/elastic/_disable", status: 400, want: exception("illegal_argument_exception", self, "400"),
		},
	})
}

func TestGetUsers(t *testing.T) {
	w := world{users: []fsm.User{
		{Username: "elastic", Roles: []fsm.RoleName{"superuser"}, Metadata: []byte(`{"_reserved":true}`), Enabled: true},
		{Username: "joe", Roles: []fsm.RoleName{}, FullName: new("Joe"), Email: new("joe@x")},
	}}
	elasticUser := `"elastic":{"username":"elastic","roles":["superuser"],"full_name":null,"email":null,"metadata":{"_reserved":true},"enabled":true}`
	joe := `"joe":{"username":"joe","roles":[],"full_name":"Joe","email":"joe@x","metadata":{},"enabled":false}`
	check(t, []call{
		{world: w, request: "GET /_security/user", status: 200, want: `{` + elasticUser + `,` + joe + `}`},
		{world: w, request: "GET /_xpack/security/user/joe", status: 200, want: `{` + joe + `}`},
		{world: w, request: "GET /_security/user/nobody,joe,joe?with_profile_uid=true", status: 200, want: `{` + joe + `}`},
		{world: w, request: "GET /_security/user/nobody", status: 404, want: `{}`},
		{
			name: "no privilege", world: world{authorize: forbid}, request: "GET /_security/user/joe", status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/user/get] is unauthorized for user [joe] "+
				"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
	})
}

func TestDeleteUser(t *testing.T) {
	check(t, []call{
		{request: "DELETE /_security/user/joe", status: 200, want: `{"found":true}`},
		{
			world:   world{deleteUser: func(fsm.Username) (bool, error) { return false, nil }},
			request: "DELETE /_security/user/joe?refresh=true", status: 404, want: `{"found":false}`,
		},
	})
}

func TestSetPassword(t *testing.T) {
	var got string
	w := world{setPassword: func(name fsm.Username, password, hash *realm.Secret) error {
		got = string(name)
		if password != nil {
			got += " password " + password.Expose()
		}
		if hash != nil {
			got += " hash " + hash.Expose()
		}
		return nil
	}}
	for _, c := range []struct{ request, body, want string }{
		{"PUT /_security/user/joe/_password", `{"password":"n3w-s3cret"}`, "joe password n3w-s3cret"},
		{"POST /_xpack/security/user/joe/_password", `{"password_hash":"$2a$"}`, "joe hash $2a$"},
		{"POST /_security/user/_password", `{"password":"n3w-s3cret"}`, "elastic password n3w-s3cret"},
		{"PUT /_xpack/security/user/_password", `{}`, "elastic"},
	} {
		check(t, []call{{world: w, request: c.request, body: c.body, status: 200, want: `{}`}})
		if got != c.want {
			t.Errorf("%s: passed on %q, want %q", c.request, got, c.want)
		}
	}
	check(t, []call{
		{
			request: "PUT /_security/user/joe/_password", body: `{"x":1}`, status: 400,
			want: exception("parse_exception", "failed to parse change password request. unexpected field [x]", "400"),
		},
		{
			request: "PUT /_security/user/joe/_password", body: `{"password":1}`, status: 400,
			want: exception("parse_exception", "expected field [password] to be of type string, but found [VALUE_NUMBER] instead", "400"),
		},
		{request: "PUT /_security/user/joe/_password", status: 400, want: exception("parse_exception", "request body is required", "400")},
	})
}

// One's own password needs no privilege but a login: with a token, which may be
// stolen, or from a realm whose passwords are not ours, it is an action like any.
func TestOwnPasswordNeedsALogin(t *testing.T) {
	forbidden := exception("security_exception", "action [cluster:admin/xpack/security/user/change_password] is unauthorized for user [joe] "+
		"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403")
	file := elastic()
	file.Realm = fsm.Realm{Name: "default_file", Type: "file"}
	const body = `{"password":"n3w-s3cret"}`
	check(t, []call{
		{name: "own", world: world{authorize: forbid}, request: "PUT /_security/user/_password", body: body, status: 200, want: `{}`},
		{name: "own by name", world: world{authorize: forbid}, request: "PUT /_security/user/elastic/_password", body: body, status: 200, want: `{}`},
		{name: "another's", world: world{authorize: forbid}, request: "PUT /_security/user/jim/_password", body: body, status: 403, want: forbidden},
		{
			name: "own by token", world: world{authorize: forbid}, request: "PUT /_security/user/_password", body: body,
			header: authorization("Bearer tok"), status: 403, want: forbidden,
		},
		{
			name: "file realm", request: "PUT /_security/user/_password", body: body, status: 403, want: forbidden,
			world: world{authorize: forbid, authenticate: func(bool, token.Credentials) (token.Caller, error) {
				return token.Caller{Identity: file, Type: token.AuthenticationRealm}, nil
			}},
		},
	})
}

func TestSetEnabled(t *testing.T) {
	var got []any
	w := world{setEnabled: func(name fsm.Username, enabled bool) error {
		got = append(got, name, enabled)
		return nil
	}}
	check(t, []call{
		{world: w, request: "PUT /_security/user/joe/_enable", status: 200, want: `{}`},
		{world: w, request: "POST /_xpack/security/user/joe/_disable", status: 200, want: `{}`},
		{
			world: w, request: "PUT /_security/user/joe/_disable", body: `{}`, status: 400,
			want: exception("illegal_argument_exception", "request [PUT /_security/user/joe/_disable] does not support having a body", "400"),
		},
		{
			world: w, request: "PUT /_security/user/joe/_disable?refresh=never", status: 400,
			want: exception("illegal_argument_exception", "Unknown value for refresh: [never].", "400"),
		},
	})
	want := []any{fsm.Username("joe"), true, fsm.Username("joe"), false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("passed on (-want +got):\n%s", diff)
	}
}
