package httpapi_test

import (
	"net/http"
	"testing"

	"jeton/fsm"
	"jeton/node/token"
)

const tokenPath = "/_security/oauth2/token"

const elasticJSON = `{"username":"elastic","roles":["superuser"],"full_name":null,"email":null,"metadata":{"_reserved":true},` +
	`"enabled":true,"authentication_realm":{"name":"reserved","type":"reserved"},` +
	`"lookup_realm":{"name":"reserved","type":"reserved"},"authentication_type":`

const adminJSON = `{"username":"test_admin","roles":["a","b"],"full_name":"T \"A\"","email":"t@a","metadata":{},` +
	`"enabled":true,"authentication_realm":{"name":"default_native","type":"native"},` +
	`"lookup_realm":{"name":"default_native","type":"native"},"authentication_type":"realm"}`

var noStore = map[string]string{"Cache-Control": "no-store"}

func TestTokenGrants(t *testing.T) {
	pair := `{"access_token":"jat_1","type":"Bearer","expires_in":1200,"refresh_token":"jrt_1"`
	password := `{"grant_type":"password","username":"test_admin","password":"x-pack-test-password"`
	check(t, []call{
		{
			request: "POST " + tokenPath, body: password + `}`,
			status: 200, want: pair + `,"authentication":` + adminJSON + `}`, headers: noStore,
		},
		{
			name: "on the path of version 6", request: "POST /_xpack/security/oauth2/token", body: password + `}`,
			status: 200, want: pair + `,"authentication":` + adminJSON + `}`, headers: noStore,
		},
		{
			name: "whatever the scope, it is full", request: "POST " + tokenPath, body: password + `,"scope":"FULL"}`,
			status: 200, want: pair + `,"scope":"full","authentication":` + adminJSON + `}`, headers: noStore,
		},
		{
			request: "POST " + tokenPath, body: `{"grant_type":"client_credentials"}`,
			status: 200, want: `{"access_token":"jat_1","type":"Bearer","expires_in":1200,"authentication":` + elasticJSON + `"realm"}}`,
			headers: noStore,
		},
		{
			name: "a token may mint a token", request: "POST " + tokenPath, body: `{"grant_type":"client_credentials"}`,
			header: http.Header{"Authorization": {"Bearer tok"}},
			status: 200, want: `{"access_token":"jat_1","type":"Bearer","expires_in":1200,"authentication":` + elasticJSON + `"token"}}`,
			headers: noStore,
		},
		{
			request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"jrt_1"}`,
			status: 200, want: `{"access_token":"jat_2","type":"Bearer","expires_in":3600,"refresh_token":"jrt_2","authentication":` +
				elasticJSON + `"token"}}`,
			headers: noStore,
		},
	})
}

func TestTokenRequestParsing(t *testing.T) {
	parse := func(reason string) string { return exception("x_content_parse_exception", reason, "400") }
	for _, c := range []struct{ body, want string }{
		{"", exception("parse_exception", "request body is required", "400")},
		{" \n", exception("parse_exception", "request body is required", "400")},
		{`{"foo":1}`, parse("[1:2] [token_request] unknown field [foo]")},
		{"{\n  \"grant_type\": \"password\",\n  \"foo\": {}}", parse("[3:3] [token_request] unknown field [foo]")},
		{`{"username": 5}`, parse("[1:14] [token_request] username doesn't support values of type: VALUE_NUMBER")},
		{`{"username":null}`, parse("[1:13] [token_request] username doesn't support values of type: VALUE_NULL")},
		{`{"username":{"a":[]}}`, parse("[1:13] [token_request] username doesn't support values of type: START_OBJECT")},
		{`{"username":["a"]}`, parse("[1:13] [token_request] username doesn't support values of type: START_ARRAY")},
		{`{"scope":true}`, parse("[1:10] [token_request] scope doesn't support values of type: VALUE_BOOLEAN")},
		{`{"grant_type":"a","grant_type":"b"}`, parse("[1:19] Duplicate field 'grant_type'")},
		{`[]`, parse("[1:1] [token_request] Expected START_OBJECT but was: START_ARRAY")},
		{`"x"`, parse("[1:1] [token_request] Expected START_OBJECT but was: VALUE_STRING")},
		{`{`, parse("[1:2] Unexpected end-of-input")},
		{`{"grant_type"`, parse("[1:14] Unexpected end-of-input")},
		{`{"grant_type":"pass`, parse("[1:15] Unexpected end-of-input")},
		{`{grant_type:1}`, parse("[1:2] Malformed JSON")},
		{`{"grant_type":"password",}`, parse("[1:26] Malformed JSON")},
		{`{"grant_type":"password"} {}`, parse("[1:27] Unexpected data after the end of the object")},
		{`{"grant_type":"password"}]`, parse("[1:26] Unexpected data after the end of the object")},
		{"{\"grant_type\":\"\xff\"}", parse("[1:1] Invalid UTF-8 in the request body")},
	} {
		check(t, []call{{name: c.body, request: "POST " + tokenPath, body: c.body, status: 400, want: c.want}})
	}
}

func TestTokenRequestValidation(t *testing.T) {
	const only = "grant_type only supports the values: [password, _kerberos, refresh_token, client_credentials]"
	for _, c := range []struct{ body, code, problems string }{
		{`{}`, "unsupported_grant_type", "1: " + only + ";"},
		{`{"grant_type":""}`, "unsupported_grant_type", "1: " + only + ";"},
		{`{"grant_type":"PASSWORD"}`, "unsupported_grant_type", "1: " + only + ";"},
		{`{"grant_type":"authorization_code"}`, "unsupported_grant_type", "1: " + only + ";"},
		{`{"grant_type":"password"}`, "invalid_request", "1: username is missing;2: password is missing;"},
		{`{"grant_type":"password","username":"u"}`, "invalid_request", "1: password is missing;"},
		{`{"grant_type":"password","username":"","password":""}`, "invalid_request", "1: username is missing;2: password is missing;"},
		{
			`{"grant_type":"password","username":"u","password":"p","refresh_token":"r"}`, "unsupported_grant_type",
			"1: refresh_token is not supported with the password grant_type;",
		},
		{
			`{"grant_type":"password","refresh_token":"","kerberos_ticket":""}`, "unsupported_grant_type",
			"1: kerberos_ticket is not supported with the password grant_type;2: refresh_token is not supported with the password grant_type;" +
				"3: username is missing;4: password is missing;",
		},
		{`{"grant_type":"refresh_token"}`, "invalid_request", "1: refresh_token is missing;"},
		{
			`{"grant_type":"refresh_token","refresh_token":"r","username":"u","password":"p"}`, "unsupported_grant_type",
			"1: username is not supported with the refresh_token grant_type;2: password is not supported with the refresh_token grant_type;",
		},
		{
			`{"grant_type":"client_credentials","username":"u"}`, "unsupported_grant_type",
			"1: username is not supported with the client_credentials grant_type;",
		},
		{
			`{"grant_type":"client_credentials","refresh_token":"r","kerberos_ticket":"k","password":"p"}`, "unsupported_grant_type",
			"1: password is not supported with the client_credentials grant_type;" +
				"2: kerberos_ticket is not supported with the client_credentials grant_type;" +
				"3: refresh_token is not supported with the client_credentials grant_type;",
		},
		{`{"grant_type":"_kerberos"}`, "invalid_request", "1: kerberos_ticket is missing;"},
		{
			`{"grant_type":"_kerberos","username":"u","password":"p","refresh_token":"r","kerberos_ticket":"k"}`, "unsupported_grant_type",
			"1: username is not supported with the _kerberos grant_type;2: password is not supported with the _kerberos grant_type;" +
				"3: refresh_token is not supported with the _kerberos grant_type;",
		},
	} {
		want := `{"error":"` + c.code + `","error_description":"Validation Failed: ` + c.problems + `"}`
		// Before authorization: also a caller who may not gets it.
		check(t, []call{{name: c.body, world: world{authorize: forbid}, request: "POST " + tokenPath, body: c.body, status: 400, want: want}})
	}
}

func TestTokenRuntimeErrors(t *testing.T) {
	const password = `{"grant_type":"password","username":"bob","password":"wrong"}`
	badUser := unauthorized("unable to authenticate user [bob] for action [cluster:admin/xpack/security/token/create]", "")
	disabled := `"type":"feature_not_enabled_exception","reason":"security tokens are not enabled","disabled.feature":"security_tokens"`
	check(t, []call{
		{request: "POST " + tokenPath, body: password, status: 401, want: badUser, headers: challenge},
		{
			request: "POST " + tokenPath, body: `{"grant_type":"_kerberos","kerberos_ticket":"k"}`, status: 401,
			want:    unauthorized("unable to authenticate user [<Kerberos Token>] for action [cluster:admin/xpack/security/token/create]", ""),
			headers: challenge,
		},
		{
			name: "no privilege to create", world: world{authorize: forbid}, request: "POST " + tokenPath, body: password, status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/token/create] is unauthorized for user [joe] "+
				"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
		{
			name: "no privilege to refresh", world: world{authorize: forbid}, request: "POST " + tokenPath,
			body: `{"grant_type":"refresh_token","refresh_token":"r"}`, status: 403,
			want: exception("security_exception", "action [cluster:admin/xpack/security/token/refresh] is unauthorized for user [joe] "+
				"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403"),
		},
		{
			name: "no credentials", request: "POST " + tokenPath, body: password, header: http.Header{"Authorization": nil}, status: 401,
			want:    unauthorized("missing authentication credentials for REST request [/_security/oauth2/token]", ""),
			headers: challenge,
		},
		{
			name:    "service disabled",
			world:   world{issue: func(token.Caller, token.IssueRequest) (token.Pair, error) { return token.Pair{}, token.ErrDisabled }},
			request: "POST " + tokenPath, body: password, status: 400,
			want: `{"error":{"root_cause":[{` + disabled + `}],` + disabled + `},"status":400}`,
		},
	})
}

func TestRefreshRefusals(t *testing.T) {
	for reason, description := range map[fsm.Reason]string{
		fsm.UnknownToken:      "could not refresh the requested token",
		fsm.RefreshExpired:    "token document has expired",
		fsm.TokenInvalidated:  "token has been invalidated",
		fsm.NotCreatingClient: "tokens must be refreshed by the creating client",
		fsm.Reused:            "token has already been refreshed more than 30 seconds in the past",
	} {
		check(t, []call{{
			name: description,
			world: world{refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) {
				return token.Pair{}, &fsm.RefusalError{Reason: reason}
			}},
			request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"r"}`,
			status: 400, want: `{"error":"invalid_grant","error_description":"` + description + `"}`,
		}})
	}
}
