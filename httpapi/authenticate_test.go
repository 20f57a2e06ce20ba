package httpapi_test

import (
	"encoding/base64"
	"net/http"
	"testing"
)

func authorization(lines ...string) http.Header { return http.Header{"Authorization": lines} }

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuthenticate(t *testing.T) {
	byToken, byPassword := elasticJSON+`"token"}`, elasticJSON+`"realm"}`
	get := "GET /_security/_authenticate"
	check(t, []call{
		{name: "password", request: get, status: 200, want: byPassword},
		{name: "token", request: get, header: authorization("Bearer tok"), status: 200, want: byToken},
		{name: "path of version 6", request: "GET /_xpack/security/_authenticate", header: authorization("Bearer tok"), status: 200, want: byToken},
		{name: "scheme in capitals", request: get, header: authorization("BEARER tok"), status: 200, want: byToken},
		{name: "scheme in small letters", request: get, header: authorization("basic " + encode("elastic:changeme")), status: 200, want: byPassword},
		{name: "the same header twice", request: get, header: authorization("Bearer tok", "Bearer tok"), status: 200, want: byToken},
		{name: "slash at the end", request: get + "/", header: authorization("Bearer tok"), status: 200, want: byToken},
		{name: "no privilege needed", world: world{authorize: forbid}, request: get, header: authorization("Bearer tok"), status: 200, want: byToken},
	})
}

func TestAuthenticateRefusals(t *testing.T) {
	const target = "/_security/_authenticate?human=true"
	missing := unauthorized("missing authentication credentials for REST request ["+target+"]", "")
	expired := `"type":"security_exception","reason":"token expired","header":{"WWW-Authenticate":` +
		`"Bearer realm=\"security\", error=\"invalid_token\", error_description=\"The access token expired\""}`
	unknown := "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
	invalid := unauthorized(unknown, `,"additional_unsuccessful_credentials":"oauth2 token: invalid token"`)
	joe := func(name string) string {
		return unauthorized("unable to authenticate user ["+name+"] for REST request ["+target+"]", "")
	}
	calls := []call{
		{name: "no header", header: authorization(), want: missing},
		{name: "blank bearer", header: authorization("Bearer  "), want: missing},
		{name: "bearer alone", header: authorization("Bearer"), want: missing},
		{name: "scheme nobody knows", header: authorization("Negotiate abc"), want: missing},
		{name: "token without scheme", header: authorization("tok"), want: missing},
		{name: "expired or invalidated", header: authorization("Bearer old"), want: `{"error":{"root_cause":[{` + expired + `}],` + expired + `},"status":401}`},
		{name: "unknown", header: authorization("Bearer nobody's"), want: invalid},
		{name: "two spaces are part of the token", header: authorization("Bearer  tok"), want: invalid},
		{name: "wrong password", header: authorization("Basic " + encode("joe:x")), want: joe("joe")},
		{name: "no client (Basic Og==)", header: authorization("Basic Og=="), want: joe("")},
		{name: "name to be escaped", header: authorization("Basic " + encode("j\"\n\x01:x")), want: joe(`j\"\n\u0001`)},
		{name: "basic not base64", header: authorization("Basic ???"), want: unauthorized("invalid basic authentication header encoding", "")},
		{name: "basic without colon", header: authorization("Basic " + encode("joe")), want: unauthorized("invalid basic authentication header value", "")},
		{name: "API key", header: authorization("ApiKey " + encode("a:b")), want: unauthorized(unknown, "")},
	}
	for i := range calls {
		calls[i].request, calls[i].status, calls[i].headers = "GET "+target, 401, challenge
		if calls[i].name == "expired or invalidated" {
			calls[i].headers = map[string]string{
				"Www-Authenticate": `Bearer realm="security", error="invalid_token", error_description="The access token expired"`,
			}
		}
	}
	check(t, calls)
	check(t, []call{{
		name: "several headers", request: "GET " + target, header: authorization("Bearer tok", basic), status: 400,
		want: `{"error":"multiple values for single-valued header [Authorization].","status":400}`,
	}})
}

func TestBearerIsNoChallengeWithoutTokenService(t *testing.T) {
	c := config(&world{})
	c.TokensEnabled = false
	answer := serve(handlerOf(t, c), &call{request: "GET /", header: authorization()})
	want := []string{`Basic realm="security", charset="UTF-8"`, "ApiKey"}
	if got := answer.Header()["Www-Authenticate"]; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("challenges %q, want %q", got, want)
	}
}
