package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

func introspection() token.Introspection {
	identity := joe()
	identity.Scope = []string{"manage_token", "monitor"}
	return token.Introspection{
		Active: true, Pair: fsm.Digest{0xfb, 0xff}, Identity: identity, Client: fsm.Client{Principal: elastic().Principal},
		IssuedAt: time.Unix(1_700_000_000, 5), ExpiresAt: time.Unix(1_700_001_200, 999_999_999),
	}
}

// RFC 7662, 2.
func TestIntrospection(t *testing.T) {
	const path, body, inactive = "/oauth2/introspect", "token=t&token_type_hint=x", `{"active":false}`
	const tail = `,"exp":1700001200,"iat":1700000000,"roles":["r"],"realm":"default_native","authentication_type":"token"}`
	const access = `{"active":true,"scope":"manage_token monitor","client_id":"elastic","username":"joe","sub":"default_native/joe",` +
		`"jti":"-_8AAAAAAAAAAAAAAAAAAAAAAAAAAAAA","token_type":"Bearer"` + tail
	refresh, full := introspection(), introspection()
	refresh.RefreshToken, refresh.Pair = true, fsm.Digest{}
	full.Identity.Scope = nil
	full.Identity.RunBy = &fsm.Actor{Principal: elastic().Principal}
	unavailable := func(bool, token.Credentials) (token.Caller, error) { return token.Caller{}, realm.ErrUnavailable }
	expired := map[string]string{"Www-Authenticate": `Bearer realm="security", error="invalid_token", error_description="The access token expired"`}
	unknown := map[string]string{"Www-Authenticate": `Bearer realm="security", error="invalid_token", error_description="The access token is unknown or malformed"`}
	checkOAuth2(t, []post{
		{name: "2.2 access token", path: path, header: authorization(basic), body: body, world: oauth2World{introspect: introspection()}, status: 200, want: access},
		{name: "2.2 refresh token", path: path, header: authorization(basic), body: body, world: oauth2World{introspect: refresh}, status: 200, want: `{"active":true,"scope":"manage_token monitor","client_id":"elastic","username":"joe","sub":"default_native/joe","token_type":"refresh_token"` + tail},
		{name: "run as", path: path, header: authorization(basic), body: body, world: oauth2World{introspect: full}, status: 200, want: `{"active":true,"scope":"full","client_id":"elastic","username":"joe","sub":"default_native/joe","jti":"-_8AAAAAAAAAAAAAAAAAAAAAAAAAAAAA","token_type":"Bearer","exp":1700001200,"iat":1700000000,"act":{"sub":"reserved/elastic"},"roles":["r"],"realm":"default_native","authentication_type":"token"}`},
		{name: "2.2 unknown", path: path, header: authorization(basic), body: body, status: 200, want: inactive},
		{name: "2.1 JSON and client_secret_post", path: path, header: jsonType(nil), body: `{"token":"t","client_id":"joe","client_secret":"secret"}`, status: 200, want: inactive},
		{name: "2.1 bearer", path: path, header: authorization("Bearer tok"), body: body, world: oauth2World{introspect: introspection()}, status: 200, want: access},
		{name: "2.3 expired bearer", path: path, header: authorization("Bearer old"), body: body, status: 401, want: oauth2Error("invalid_token", "token expired"), headers: expired},
		{name: "2.3 unknown bearer", path: path, header: authorization("Bearer x"), body: body, status: 401, want: oauth2Error("invalid_token", "the access token is unknown or malformed"), headers: unknown},
		{name: "2.3 wrong secret", path: path, header: authorization("Basic " + encode("joe:x")), body: body, status: 401, want: oauth2Error("invalid_client", "unknown client, or wrong client secret"), headers: basicChallenge},
		{name: "2.1 nobody", path: path, body: body, status: 401, want: oauth2Error("invalid_client", "the client does not authenticate"), headers: basicChallenge},
		{name: "2.1 no token", path: path, header: authorization(basic), body: "token=", status: 400, want: oauth2Error("invalid_request", "the parameter token is missing")},
		{name: "an outage", path: path, header: authorization("Bearer tok"), body: body, world: oauth2World{world: world{authenticate: unavailable}}, status: 503, want: oauth2Error("temporarily_unavailable", "unable to perform requested action: "+outage), headers: map[string]string{"Retry-After": "1"}},
	})
}

// What a caller may ask about, and end: with the privilege all, else what is its own,
// unless its token is too narrow for that.
func TestWhatMayBeShown(t *testing.T) {
	var shown []token.Presented
	w := &oauth2World{shown: &shown, world: world{authenticate: func(confirmed bool, c token.Credentials) (token.Caller, error) {
		if c.Scheme == token.SchemeBearer {
			narrow := joe()
			narrow.Scope = []string{"monitor"}
			return token.Caller{Identity: narrow, Type: token.AuthenticationToken}, nil
		}
		return oauth2Login(confirmed, c)
	}}}
	c := oauth2Config(w)
	c.OAuth2.PublicClients = true
	h := handlerOf(t, c)
	for _, line := range []string{basic, "Basic " + encode("joe:secret"), "Bearer tok", ""} {
		for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
			p := post{path: path, body: "token=t", header: http.Header{}}
			if line != "" {
				p.header = authorization(line)
			}
			h.ServeHTTP(httptest.NewRecorder(), p.request())
		}
	}
	var got []string
	for _, p := range shown {
		got = append(got, fmt.Sprintf("%s own=%t any=%t", p.Token.Expose(), p.Own, p.Any))
	}
	want := []string{
		"t own=true any=true", "t own=true any=true", // elastic
		"t own=true any=false", "t own=true any=false", // joe
		"t own=false any=false", // a narrowed token of joe's, which cannot revoke
		"t own=true any=false",  // a public client, which cannot introspect
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// RFC 7009, 2.
func TestRevocation(t *testing.T) {
	const path, body = "/oauth2/revoke", "token=t&token_type_hint=refresh_token"
	failing := func(err error) oauth2World {
		return oauth2World{revoke: func(token.Caller) error { return err }}
	}
	header, retry := authorization(basic), map[string]string{"Retry-After": "1"}
	const unable = "unable to perform requested action: " + outage
	checkOAuth2(t, []post{
		{name: "2.2 revoked", path: path, header: header, body: body, status: 200, want: `{}`},
		{name: "2.2 an unknown type hint is ignored", path: path, header: header, body: "token=t&token_type_hint=x&token_type_hint=y", status: 200, want: `{}`},
		{name: "2.2 no token at all", path: path, header: header, body: "token=garbage", world: failing(token.ErrUnknown), status: 200, want: `{}`},
		{name: "2.1 JSON and client_secret_post", path: path, header: jsonType(nil), body: `{"token":"t","client_id":"joe","client_secret":"secret"}`, status: 200, want: `{}`},
		{name: "2.1 public client", path: path, public: true, body: "token=t&client_id=app", status: 200, want: `{}`},
		{name: "2.1 public client, switched off", path: path, body: "token=t&client_id=app", status: 401, want: oauth2Error("invalid_client", "the client does not authenticate"), headers: basicChallenge},
		{name: "2.1 wrong secret", path: path, header: authorization("Basic " + encode("joe:x")), body: body, status: 401, want: oauth2Error("invalid_client", "unknown client, or wrong client secret"), headers: basicChallenge},
		{name: "2.1 a bearer is no client", path: path, header: authorization("Bearer tok"), body: body, status: 401, want: oauth2Error("invalid_client", "the client must authenticate with client_secret_basic or client_secret_post"), headers: basicChallenge},
		{name: "2.1 no token", path: path, header: header, status: 400, want: oauth2Error("invalid_request", "the parameter token is missing")},
		{name: "2.1 two tokens", path: path, header: header, body: "token=a&token=b", status: 400, want: oauth2Error("invalid_request", "the parameter token is given more than once")},
		{name: "2.2.1 unavailable is never 200", path: path, header: header, body: body, world: failing(realm.ErrUnavailable), status: 503, want: oauth2Error("temporarily_unavailable", unable), headers: retry},
		{name: "2.2.1 overloaded", path: path, header: header, body: body, world: failing(realm.ErrOverloaded), status: 503, want: oauth2Error("temporarily_unavailable", "rejected execution: too many writes are pending: "+repeat), headers: retry},
		{name: "2.2.1 failed", path: path, header: header, body: body, world: failing(errors.New("disk full")), status: 500, want: oauth2Error("server_error", "internal server error")},
		{name: "2.2.1 no tokens", path: path, header: header, body: body, world: failing(token.ErrDisabled), status: 400, want: oauth2Error("unsupported_token_type", "security tokens are not enabled")},
	})
}

// A write under /oauth2 is as sure of its caller as any other: what the state machine
// has not decided is repeated with a confirmed read.
func TestOAuth2WritesAreRepeatedUnlessDecided(t *testing.T) {
	local, both := []string{"local"}, []string{"local", "confirmed"}
	for _, c := range []struct {
		path, body string
		err        error
		want       []string
	}{
		{"/oauth2/revoke", "token=t", nil, local},
		{"/oauth2/revoke", "token=t", realm.ErrUnavailable, local},
		{"/oauth2/revoke", "token=t", token.ErrUnknown, both},
		{"/oauth2/revoke", "", nil, both},
		{"/oauth2/token", grantClient, nil, local},
		{"/oauth2/token", "grant_type=x", nil, both},
		{"/oauth2/introspect", "token=t", nil, []string{"confirmed"}},
	} {
		for _, header := range []http.Header{authorization(basic), nil} {
			var got []string
			w := &oauth2World{revoke: func(token.Caller) error { return c.err }}
			w.authenticate = asked(&got, someone())
			p := post{path: c.path, header: header, body: c.body}
			if header == nil {
				p.body += "&" + clientPost
			}
			handlerOf(t, oauth2Config(w)).ServeHTTP(httptest.NewRecorder(), p.request())
			if !slices.Equal(got, c.want) {
				t.Errorf("%s %s with %v: authenticated by %v, want %v", c.path, p.body, c.err, got, c.want)
			}
		}
	}
}

func TestStaleRevocationIsRepeated(t *testing.T) {
	attempts := 0
	w := &oauth2World{revoke: func(token.Caller) error {
		if attempts++; attempts < 4 {
			return realm.ErrStale
		}
		return nil
	}}
	answer := httptest.NewRecorder()
	p := post{path: "/oauth2/revoke", body: "token=t&" + clientPost}
	handlerOf(t, oauth2Config(w)).ServeHTTP(answer, p.request())
	if answer.Code != http.StatusOK || attempts != 4 {
		t.Errorf("status %d after %d attempts", answer.Code, attempts)
	}
}

// RFC 8414, 2 and 3.
func TestMetadata(t *testing.T) {
	get := func(c httpapi.OAuth2, path string) *httptest.ResponseRecorder {
		config := config(&world{})
		config.OAuth2 = c
		answer := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "evil.example.org"
		handlerOf(t, config).ServeHTTP(answer, r)
		return answer
	}
	metadata := func(issuer string, methods ...string) map[string]any {
		list := func(values ...string) []any {
			all := []any{}
			for _, v := range values {
				all = append(all, v)
			}
			return all
		}
		return map[string]any{
			"issuer":         issuer,
			"token_endpoint": issuer + "/oauth2/token", "token_endpoint_auth_methods_supported": list(methods...),
			"revocation_endpoint": issuer + "/oauth2/revoke", "revocation_endpoint_auth_methods_supported": list(methods...),
			"introspection_endpoint": issuer + "/oauth2/introspect", "introspection_endpoint_auth_methods_supported": list("client_secret_basic", "client_secret_post", "Bearer"),
			"grant_types_supported": list("password", "client_credentials", "refresh_token"), "response_types_supported": list(),
		}
	}
	const server, openID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	const root, tenant = "https://id.example.org", "https://example.org/a/b"
	public := metadata(root, "client_secret_basic", "client_secret_post", "none")
	for _, c := range []struct {
		oauth2 httpapi.OAuth2
		path   string
		want   map[string]any
	}{
		{httpapi.OAuth2{Issuer: root}, server, metadata(root, "client_secret_basic", "client_secret_post")},
		{httpapi.OAuth2{Issuer: root}, openID, metadata(root, "client_secret_basic", "client_secret_post")},
		{httpapi.OAuth2{Issuer: root, PublicClients: true}, openID, public},
		{httpapi.OAuth2{Issuer: tenant}, server + "/a/b", metadata(tenant, "client_secret_basic", "client_secret_post")},
		{httpapi.OAuth2{Issuer: tenant}, openID + "/a/b", metadata(tenant, "client_secret_basic", "client_secret_post")},
		{httpapi.OAuth2{Issuer: tenant}, "/a/b" + openID, metadata(tenant, "client_secret_basic", "client_secret_post")},
		{httpapi.OAuth2{Issuer: tenant}, server, metadata(tenant, "client_secret_basic", "client_secret_post")},
	} {
		answer := get(c.oauth2, c.path)
		var got map[string]any
		if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Code != http.StatusOK {
			t.Errorf("%s: status %d, body %s", c.path, answer.Code, answer.Body)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s of %s: -want +got\n%s", c.path, c.oauth2.Issuer, diff)
		}
		if cache := answer.Header().Get("Cache-Control"); cache != "public, max-age=300" {
			t.Errorf("%s: Cache-Control: %s", c.path, cache)
		}
	}
	answer := get(httpapi.OAuth2{}, server)
	want := oauth2Error("not_found", "there is no metadata, for the setting oauth2.issuer is not set")
	if answer.Code != http.StatusNotFound || answer.Body.String() != want {
		t.Errorf("without an issuer: status %d, body %s", answer.Code, answer.Body)
	}
}

// The endpoints are also where the issuer's path says.
func TestEndpointsUnderTheIssuersPath(t *testing.T) {
	c := oauth2Config(&oauth2World{})
	c.OAuth2.Issuer = "https://example.org/a"
	h := handlerOf(t, c)
	for _, path := range []string{"/oauth2/token", "/a/oauth2/token"} {
		answer := httptest.NewRecorder()
		p := post{path: path, header: authorization(basic), body: grantClient}
		h.ServeHTTP(answer, p.request())
		if answer.Code != http.StatusOK || answer.Body.String() != issuedAccess {
			t.Errorf("%s: status %d, body %s", path, answer.Code, answer.Body)
		}
	}
}

// No secret of a request comes out: neither in an answer nor in the log, whatever
// becomes of it.
func TestOAuth2Canary(t *testing.T) {
	bodies := []string{
		grantClient + "&client_id=elastic&client_secret=" + canary,
		grantClient + "&client_secret=" + canary,
		"grant_type=password&username=bob&password=" + canary + "&" + clientPost,
		"grant_type=password&username=" + canary + "&password=x&" + clientPost,
		"grant_type=password&username=bob&password=" + canary + "&password=" + canary + "&" + clientPost,
		"grant_type=password&username=bob&password=" + canary + "%zz",
		"grant_type=refresh_token&refresh_token=" + canary + "&" + clientPost,
		"grant_type=" + canary + "&" + clientPost,
		"token=" + canary + "&" + clientPost,
		"token=" + canary + "&client_id=" + canary,
		`{"token":"` + canary + `","client_secret":1}`,
	}
	for _, failure := range []error{nil, realm.ErrUnavailable, errors.New("oops"), &fsm.RefusalError{Reason: fsm.Reused}} {
		w := &oauth2World{revoke: func(token.Caller) error { return failure }}
		w.refresh = func(token.Caller, token.RefreshRequest) (token.Pair, error) {
			return token.Pair{Identity: joe()}, failure
		}
		c, lines := oauth2Config(w), &syncBuffer{}
		c.OAuth2.PublicClients = true
		c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: lines})
		h := handlerOf(t, c)
		for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/introspect", "/oauth2/token?client_secret=" + canary} {
			for _, body := range bodies {
				for _, header := range []http.Header{nil, authorization("Basic " + encode("elastic:"+canary)), jsonType(nil)} {
					answer := httptest.NewRecorder()
					p := post{path: path, body: body, header: header}
					h.ServeHTTP(answer, p.request())
					if strings.Contains(answer.Body.String(), canary) {
						t.Errorf("%s %s: %s", path, body, answer.Body)
					}
				}
			}
		}
		if strings.Contains(lines.String(), canary) {
			t.Errorf("the log after %v:\n%s", failure, lines)
		}
	}
}

// What an auditor is told.
func TestOAuth2AuditLines(t *testing.T) {
	c, lines := oauth2Config(&oauth2World{}), &syncBuffer{}
	c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: lines})
	h := handlerOf(t, c)
	for _, p := range []post{
		{body: grantClient},
		{body: grantClient, header: authorization("Basic " + encode("joe:x"))},
		{body: grantClient, header: authorization("Basic " + encode("joe:secret"))},
		{body: "grant_type=password&username=bob&password=x", header: authorization(basic)},
		{body: grantClient, header: authorization("Bearer tok")},
		{path: "/oauth2/introspect", body: "token=t", header: authorization("Bearer old")},
		{path: "/oauth2/revoke", body: "token=t", header: authorization(basic)},
	} {
		h.ServeHTTP(httptest.NewRecorder(), p.request())
	}
	const at = "method=POST route=/oauth2/token remote=192.0.2.1:1234"
	for _, want := range []string{
		"authentication refused: " + at + ` reason="no credentials"`,
		"authentication refused: " + at + ` reason="bad credentials"`,
		"access refused: " + at + " user=joe@default_native",
		"authentication refused: " + at + ` reason="unsupported scheme"`,
		`authentication refused: method=POST route=/oauth2/introspect remote=192.0.2.1:1234 reason="expired or invalidated token"`,
		"tokens revoked: by=elastic@reserved count=1 previously=0",
	} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("want %s in\n%s", want, lines)
		}
	}
	if got := strings.Count(lines.String(), "\n"); got != 7 {
		t.Errorf("%d lines:\n%s", got, lines)
	}
}
