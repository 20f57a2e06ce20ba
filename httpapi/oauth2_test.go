package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// oauth2World is the world with what only OAuth 2.0 has. Its user joe may do nothing;
// the users "a b" and "a+b" have the passwords "100 %" and "x%20y".
type oauth2World struct {
	world
	shown      *[]token.Presented // what was asked about or revoked
	introspect token.Introspection
	revoke     func(token.Caller) error
}

func (w *oauth2World) Introspect(_ token.Caller, p token.Presented) token.Introspection {
	if w.shown != nil {
		*w.shown = append(*w.shown, p)
	}
	return w.introspect
}

func (w *oauth2World) Revoke(_ context.Context, caller token.Caller, p token.Presented) (token.Counts, error) {
	if w.shown != nil {
		*w.shown = append(*w.shown, p)
	}
	if w.revoke != nil {
		return token.Counts{}, w.revoke(caller)
	}
	return token.Counts{Invalidated: 1}, nil
}

// In the usual world every token is unknown, and ended all the same.
func (*world) Introspect(token.Caller, token.Presented) token.Introspection {
	return token.Introspection{}
}

func (*world) Revoke(context.Context, token.Caller, token.Presented) (token.Counts, error) {
	return token.Counts{Invalidated: 1}, nil
}

func joe() *fsm.Identity {
	return &fsm.Identity{
		Principal: fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
		Roles:     []fsm.RoleName{"r"},
	}
}

// oauth2Users are those who can authenticate, by name and password.
var oauth2Users = map[[2]string]*fsm.Identity{
	{"elastic", "changeme"}: elastic(), {"joe", "secret"}: joe(), {"a b", "100 %"}: joe(), {"a+b", "x%20y"}: joe(),
}

func oauth2Login(_ bool, c token.Credentials) (token.Caller, error) {
	if c.Scheme != token.SchemeBasic {
		return (&world{}).login(context.Background(), true, c)
	}
	if identity, ok := oauth2Users[[2]string{c.Username, c.Password.Expose()}]; ok {
		return token.Caller{Identity: identity, Type: token.AuthenticationRealm}, nil
	}
	return token.Caller{}, realm.ErrBadCredentials
}

func onlyElastic(user *fsm.Identity, action string) error {
	if user.Username == "elastic" {
		return nil
	}
	return forbid(user, action)
}

func oauth2Config(w *oauth2World) httpapi.Config {
	if w.authenticate == nil {
		w.authenticate = oauth2Login
	}
	if w.authorize == nil {
		w.authorize = onlyElastic
	}
	c := config(&w.world)
	c.Tokens = w
	return c
}

// post is one request with a form.
type post struct {
	name    string
	path    string // empty: the token endpoint
	header  http.Header
	body    string
	world   oauth2World
	public  bool // the setting
	status  int
	want    string
	headers map[string]string
}

func (p *post) request() *http.Request {
	path := p.path
	if path == "" {
		path = "/oauth2/token"
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(p.body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	maps.Copy(r.Header, p.header)
	return r
}

// never is told by every answer of these endpoints (RFC 6749, 5.1; RFC 7662, 2.2).
var never = map[string]string{"Cache-Control": "no-store", "Pragma": "no-cache"}

func checkOAuth2(t *testing.T, posts []post) {
	t.Helper()
	for _, p := range posts {
		t.Run(p.name, func(t *testing.T) {
			c := oauth2Config(&p.world)
			c.OAuth2.PublicClients = p.public
			answer := httptest.NewRecorder()
			handlerOf(t, c).ServeHTTP(answer, p.request())
			if answer.Code != p.status || answer.Body.String() != p.want {
				t.Errorf("status %d, body %s\nwant   %d,      %s", answer.Code, answer.Body, p.status, p.want)
			}
			for _, list := range []map[string]string{usual, never, p.headers} {
				for name, value := range list {
					if got := strings.Join(answer.Header()[name], "|"); got != value {
						t.Errorf("%s: %s, want %s", name, got, value)
					}
				}
			}
			if _, challenged := p.headers["Www-Authenticate"]; !challenged && len(answer.Header()["Www-Authenticate"]) > 0 {
				t.Error("a challenge")
			}
		})
	}
}

func oauth2Error(code, description string) string {
	return `{"error":"` + code + `","error_description":"` + description + `"}`
}

var basicChallenge = map[string]string{"Www-Authenticate": `Basic realm="security", charset="UTF-8"`}

const (
	clientPost   = "client_id=elastic&client_secret=changeme"
	grantClient  = "grant_type=client_credentials"
	issuedAccess = `{"access_token":"jat_1","token_type":"Bearer","type":"Bearer","expires_in":1200,"scope":"full"}`
	issuedPair   = `{"access_token":"jat_1","token_type":"Bearer","type":"Bearer","expires_in":1200,"refresh_token":"jrt_1","scope":"full"}`
	refreshed    = `{"access_token":"jat_2","token_type":"Bearer","type":"Bearer","expires_in":3600,"refresh_token":"jrt_2","scope":"full"}`
)

func jsonType(more http.Header) http.Header {
	header := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(header, more)
	return header
}

// RFC 6749, 4.3, 4.4, 5.1, 6.
func TestOAuth2Grants(t *testing.T) {
	password := "grant_type=password&username=bob&password=x-pack-test-password"
	checkOAuth2(t, []post{
		{name: "4.3 password", header: authorization(basic), body: password, status: 200, want: issuedPair},
		{name: "4.4 client credentials", header: authorization(basic), body: grantClient, status: 200, want: issuedAccess},
		{name: "6 refresh", header: authorization(basic), body: "grant_type=refresh_token&refresh_token=r", status: 200, want: refreshed},
		{name: "3.2 unknown parameters are ignored, also repeated ones", header: authorization(basic), body: grantClient + "&x=1&x=2&&username=u&resource=%22", status: 200, want: issuedAccess},
		{name: "3.2 a parameter without value is omitted", header: authorization(basic), body: grantClient + "&scope=&scope&scope=", status: 200, want: issuedAccess},
		{name: "B charset", header: http.Header{"Authorization": {basic}, "Content-Type": {"application/x-www-form-urlencoded;charset=UTF-8"}}, body: grantClient, status: 200, want: issuedAccess},
		{name: "JSON", header: jsonType(authorization(basic)), body: `{"grant_type":"password","username":"bob","password":"x-pack-test-password","x":{},"scope":null}`, status: 200, want: issuedPair},
		{name: "pretty", path: "/oauth2/token?pretty&x=1", header: authorization(basic), body: grantClient, status: 200, want: "{\n  \"access_token\" : \"jat_1\",\n  \"token_type\" : \"Bearer\",\n  \"type\" : \"Bearer\",\n  \"expires_in\" : 1200,\n  \"scope\" : \"full\"\n}\n"},
		{
			name: "3.3 a narrowed scope is told", header: authorization(basic), body: grantClient + "&scope=monitor+manage_token",
			world: oauth2World{world: world{issue: func(c token.Caller, r token.IssueRequest) (token.Pair, error) {
				if !slices.Equal(r.Scope, []string{"monitor", "manage_token"}) {
					return token.Pair{}, token.ErrScope
				}
				return token.Pair{AccessToken: realm.NewSecret("jat_1"), Identity: c.Identity, Scope: []string{"manage_token", "monitor"}}, nil
			}}},
			status: 200, want: `{"access_token":"jat_1","token_type":"Bearer","type":"Bearer","expires_in":0,"scope":"manage_token monitor"}`,
		},
	})
}

// RFC 6749, 2.3.1 and 3.2.1.
func TestOAuth2ClientAuthentication(t *testing.T) {
	invalid := func(description string) string { return oauth2Error("invalid_client", description) }
	basicOf := func(text string) http.Header { return authorization("Basic " + encode(text)) }
	const wrong = "unknown client, or wrong client secret"
	const none = "the client does not authenticate"
	checkOAuth2(t, []post{
		{name: "client_secret_post", body: grantClient + "&" + clientPost, status: 200, want: issuedAccess},
		{name: "client_secret_post in JSON", header: jsonType(nil), body: `{"grant_type":"client_credentials","client_id":"elastic","client_secret":"changeme"}`, status: 200, want: issuedAccess},
		{name: "basic, encoded as in a form", header: basicOf("a+b:100+%25"), body: "grant_type=refresh_token&refresh_token=r", world: mayAll(), status: 200, want: refreshed},
		{name: "basic, as curl sends it", header: basicOf("a b:100 %"), body: "grant_type=refresh_token&refresh_token=r", world: mayAll(), status: 200, want: refreshed},
		{name: "basic, not encoded but with what looks like it", header: basicOf("a+b:x%20y"), body: "grant_type=refresh_token&refresh_token=r&client_id=a%2Bb", world: mayAll(), status: 200, want: refreshed},
		{name: "client_id beside basic", header: authorization(basic), body: grantClient + "&client_id=elastic", status: 200, want: issuedAccess},
		{name: "another client_id beside basic", header: authorization(basic), body: grantClient + "&client_id=joe", status: 400, want: oauth2Error("invalid_request", "client_id is not the client of the Authorization header")},
		{name: "both methods", header: authorization(basic), body: grantClient + "&" + clientPost, status: 400, want: oauth2Error("invalid_request", "the client authenticates in more than one way")},
		{name: "a secret of nobody", body: grantClient + "&client_secret=x", status: 400, want: oauth2Error("invalid_request", "client_id is missing")},
		{name: "wrong secret in the header", header: basicOf("elastic:wrong"), body: grantClient, status: 401, want: invalid(wrong), headers: basicChallenge},
		{name: "wrong secret in the body", body: grantClient + "&client_id=elastic&client_secret=wrong", status: 401, want: invalid(wrong), headers: basicChallenge},
		{name: "both readings are wrong", header: basicOf("a+b:%20"), body: grantClient, status: 401, want: invalid(wrong), headers: basicChallenge},
		{name: "nobody", body: grantClient, status: 401, want: invalid(none), headers: basicChallenge},
		{name: "Basic Og== is nobody", header: authorization("Basic Og=="), body: grantClient, status: 401, want: invalid(none), headers: basicChallenge},
		{name: "Basic Og== beside the body", header: authorization("Basic Og=="), body: grantClient + "&" + clientPost, status: 200, want: issuedAccess},
		{name: "named only", header: basicOf("elastic:"), body: grantClient, status: 401, want: invalid(none), headers: basicChallenge},
		{name: "a bearer is no client", header: authorization("Bearer tok"), body: grantClient, status: 401, want: invalid("the client must authenticate with client_secret_basic or client_secret_post"), headers: basicChallenge},
		{name: "another scheme, without credentials", header: authorization("Negotiate"), body: grantClient + "&" + clientPost, status: 401, want: invalid("the client must authenticate with client_secret_basic or client_secret_post"), headers: basicChallenge},
		{name: "another scheme", header: authorization("Negotiate x"), body: grantClient + "&" + clientPost, status: 401, want: invalid("the client must authenticate with client_secret_basic or client_secret_post"), headers: basicChallenge},
		{name: "broken basic", header: authorization("Basic ?"), body: grantClient, status: 401, want: invalid("invalid basic authentication header encoding"), headers: basicChallenge},
	})
}

func mayAll() oauth2World {
	return oauth2World{world: world{authorize: func(*fsm.Identity, string) error { return nil }}}
}

// RFC 6749, 5.2.
func TestOAuth2Errors(t *testing.T) {
	header := authorization(basic)
	bad := func(description string) string { return oauth2Error("invalid_request", description) }
	failing := func(err error) oauth2World {
		return oauth2World{world: world{
			issue:   func(token.Caller, token.IssueRequest) (token.Pair, error) { return token.Pair{}, err },
			refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) { return token.Pair{}, err },
		}}
	}
	retry := map[string]string{"Retry-After": "1"}
	const mediaTypes = "the body must be application/x-www-form-urlencoded or application/json"
	checkOAuth2(t, []post{
		{name: "invalid_request: no grant type", header: header, status: 400, want: bad("the parameter grant_type is missing")},
		{name: "invalid_request: no username", header: header, body: "grant_type=password&password=p", status: 400, want: bad("the parameter username is missing")},
		{name: "invalid_request: no password", header: header, body: "grant_type=password&username=u&password=", status: 400, want: bad("the parameter password is missing")},
		{name: "invalid_request: no refresh token", header: header, body: "grant_type=refresh_token", status: 400, want: bad("the parameter refresh_token is missing")},
		{name: "invalid_request: repeated", header: header, body: grantClient + "&" + grantClient, status: 400, want: bad("the parameter grant_type is given more than once")},
		{name: "invalid_request: repeated secret", header: header, body: grantClient + "&password=a&password=b", status: 400, want: bad("the parameter password is given more than once")},
		{name: "invalid_request: bad escape", header: header, body: "grant_type=%zz", status: 400, want: bad("the body is not application/x-www-form-urlencoded")},
		{name: "invalid_request: not UTF-8", header: header, body: "username=%ff", status: 400, want: bad("the parameter username is not UTF-8")},
		{name: "invalid_request: JSON with a number", header: jsonType(header), body: `{"grant_type":1}`, status: 400, want: bad("the parameter grant_type is not a string")},
		{name: "invalid_request: repeated in JSON", header: jsonType(header), body: `{"scope":"a","scope":"b"}`, status: 400, want: bad("[1:14] Duplicate field 'scope'")},
		{name: "invalid_request: no JSON", header: jsonType(header), body: `"`, status: 400, want: bad("[1:1] Unexpected end-of-input")},
		{name: "invalid_request: description is ASCII without quotes", header: jsonType(header), body: `{"\"é\\":1,"\"é\\":1}`, status: 400, want: bad("[1:13] Duplicate field '???'")},
		{name: "invalid_request: text", header: http.Header{"Authorization": {basic}, "Content-Type": {"text/plain"}}, body: grantClient, status: 400, want: bad(mediaTypes)},
		{name: "invalid_request: no media type", header: http.Header{"Authorization": {basic}, "Content-Type": nil}, body: grantClient, status: 400, want: bad(mediaTypes)},
		{name: "invalid_request: multipart by nobody", header: http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, body: grantClient, status: 400, want: bad(mediaTypes)},
		{name: "invalid_request: in the URL", path: "/oauth2/token?client_secret=changeme", header: header, body: grantClient, status: 400, want: bad("the parameter client_secret belongs in the body, not in the URL")},
		{name: "invalid_request: grant type in the URL", path: "/oauth2/token?" + grantClient, header: header, status: 400, want: bad("the parameter grant_type belongs in the body, not in the URL")},
		{name: "invalid_request: run as", header: http.Header{"Authorization": {basic}, "Es-Security-Runas-User": {"joe"}}, body: grantClient, status: 400, want: bad("the header es-security-runas-user is not supported here")},
		{name: "invalid_request: too large", header: header, body: strings.Repeat("x", 64<<10+1), status: 413, want: bad("the request body is larger than the limit of [65536] bytes")},
		{name: "invalid_request: too large for a stranger", body: clientPost + "&x=" + strings.Repeat("x", 16<<10), status: 413, want: bad("the request body is larger than the limit of [16384] bytes")},
		{name: "unsupported_grant_type", header: header, body: "grant_type=authorization_code", status: 400, want: oauth2Error("unsupported_grant_type", "grant_type is none of password, client_credentials, refresh_token")},
		{name: "unsupported_grant_type: Elasticsearch's own", header: header, body: "grant_type=_kerberos&kerberos_ticket=x", status: 400, want: oauth2Error("unsupported_grant_type", "grant_type is none of password, client_credentials, refresh_token")},
		{name: "unsupported_grant_type: no tokens", header: header, body: grantClient, world: failing(token.ErrDisabled), status: 400, want: oauth2Error("unsupported_grant_type", "security tokens are not enabled")},
		{name: "invalid_grant: wrong password of the owner", header: header, body: "grant_type=password&username=bob&password=wrong", status: 400, want: oauth2Error("invalid_grant", "the username or the password is wrong")},
		{name: "invalid_grant: refresh token", header: header, body: "grant_type=refresh_token&refresh_token=r", world: failing(&fsm.RefusalError{Reason: fsm.NotCreatingClient}), status: 400, want: oauth2Error("invalid_grant", "tokens must be refreshed by the creating client")},
		{name: "unauthorized_client", header: authorization("Basic " + encode("joe:secret")), body: grantClient, status: 400, want: oauth2Error("unauthorized_client", "action [cluster:admin/xpack/security/token/create] is unauthorized for user [joe] with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]")},
		{name: "invalid_scope", header: header, body: grantClient + "&scope=openid", world: failing(token.ErrScope), status: 400, want: oauth2Error("invalid_scope", "the scope is unknown, or wider than what it is asked of")},
		{name: "an outage", header: header, body: grantClient, world: failing(realm.ErrUnavailable), status: 503, want: oauth2Error("temporarily_unavailable", "unable to perform requested action: "+outage), headers: retry},
		{name: "an outage while the owner is verified", header: header, body: "grant_type=password&username=bob&password=p", world: failing(realm.ErrUnavailable), status: 503, want: oauth2Error("temporarily_unavailable", "unable to perform requested action: "+outage), headers: retry},
		{name: "overload", header: header, body: grantClient, world: failing(realm.ErrOverloaded), status: 503, want: oauth2Error("temporarily_unavailable", "rejected execution: too many writes are pending: "+repeat), headers: retry},
		{name: "too many passwords", header: header, body: grantClient, world: failing(realm.ErrBusy), status: 429, want: oauth2Error("temporarily_unavailable", "rejected execution: too many passwords wait to be verified: "+repeat), headers: retry},
		{name: "an outage while the client is authenticated", header: header, body: grantClient, world: oauth2World{world: world{authenticate: func(bool, token.Credentials) (token.Caller, error) { return token.Caller{}, realm.ErrUnavailable }}}, status: 503, want: oauth2Error("temporarily_unavailable", "unable to perform requested action: "+outage), headers: retry},
		{name: "a bug", header: header, body: grantClient, world: failing(errors.New("disk full")), status: 500, want: oauth2Error("server_error", "internal server error")},
	})
}

// RFC 6749, 2.1: clients that do not authenticate.
func TestOAuth2PublicClients(t *testing.T) {
	var callers []fsm.Principal
	record := oauth2World{world: world{
		issue: func(c token.Caller, r token.IssueRequest) (token.Pair, error) {
			callers = append(callers, c.Identity.Principal)
			if c.Guard != (fsm.Guard{}) {
				t.Errorf("guard %+v", c.Guard)
			}
			if r.Password.Expose() != "x-pack-test-password" {
				return token.Pair{}, realm.ErrBadCredentials
			}
			return token.Pair{AccessToken: realm.NewSecret("jat_1"), RefreshToken: realm.NewSecret("jrt_1"), ExpiresIn: 20 * time.Minute, Identity: joe()}, nil
		},
		authorize: func(*fsm.Identity, string) error { t.Error("asked for a privilege"); return nil },
	}}
	password := "grant_type=password&username=bob&password=x-pack-test-password"
	invalid := oauth2Error("invalid_client", "the client does not authenticate")
	checkOAuth2(t, []post{
		{name: "off", body: password + "&client_id=app", status: 401, want: invalid, headers: basicChallenge},
		{name: "named in the body", public: true, world: record, body: password + "&client_id=app", status: 200, want: issuedPair},
		{name: "named in the header", public: true, world: record, header: authorization("Basic " + encode("my%20app:")), body: password, status: 200, want: issuedPair},
		{name: "not named", public: true, world: record, body: password, status: 200, want: issuedPair},
		{name: "no scheme at all", public: true, header: authorization("garbage"), body: password, status: 401, want: oauth2Error("invalid_client", "the client must authenticate with client_secret_basic or client_secret_post"), headers: basicChallenge},
		{name: "Basic Og==", public: true, world: record, header: authorization("Basic Og=="), body: password, status: 200, want: issuedPair},
		{name: "wrong password", public: true, world: record, body: "grant_type=password&username=bob&password=x", status: 400, want: oauth2Error("invalid_grant", "the username or the password is wrong")},
		{name: "4.4 no client credentials", public: true, body: grantClient + "&client_id=app", status: 401, want: invalid, headers: basicChallenge},
		{name: "a secret is checked all the same", public: true, body: password + "&client_id=app&client_secret=x", status: 401, want: oauth2Error("invalid_client", "unknown client, or wrong client secret"), headers: basicChallenge},
		{name: "two names", public: true, header: authorization("Basic " + encode("app:")), body: password + "&client_id=other", status: 400, want: oauth2Error("invalid_request", "client_id is not the client of the Authorization header")},
		{name: "a long name", public: true, body: password + "&client_id=" + strings.Repeat("x", 257), status: 400, want: oauth2Error("invalid_request", "client_id has more than 256 characters, or some that are not printable ASCII")},
		{name: "RFC 7662, 2.1: no introspection", path: "/oauth2/introspect", public: true, body: "token=t&client_id=app", status: 401, want: invalid, headers: basicChallenge},
	})
	public := fsm.Realm{Name: "_public", Type: "_public"}
	want := []fsm.Principal{{Username: "app", Realm: public}, {Username: "my app", Realm: public}, {Username: "_anonymous", Realm: public}, {Username: "_anonymous", Realm: public}, {Username: "_anonymous", Realm: public}, {Username: "_anonymous", Realm: public}}
	if !slices.Equal(callers, want) {
		t.Errorf("callers %v, want %v", callers, want)
	}
}

func FuzzOAuth2Request(f *testing.F) {
	f.Add("/oauth2/token", grantClient+"&"+clientPost+"&scope=a+b", "application/x-www-form-urlencoded", "")
	f.Add("/oauth2/token", "grant_type=password&username=%ff&password=%zz&=&&;", "application/x-www-form-urlencoded; charset=x", "Basic "+encode("a%:b%zz"))
	f.Add("/oauth2/revoke", `{"token":"t","token_type_hint":["x"]}`, "application/json", basic)
	f.Add("/oauth2/introspect", "token=t", "application/x-www-form-urlencoded", "Bearer tok")
	for _, body := range hostile() {
		f.Add("/oauth2/token", body, "application/json", "")
	}
	c := oauth2Config(&oauth2World{})
	c.OAuth2.PublicClients = true
	h := handlerOf(f, c)
	f.Fuzz(func(t *testing.T, path, body, contentType, credentials string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL = &url.URL{Path: path}
		r.Header = http.Header{"Content-Type": {contentType}, "Authorization": {credentials}}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		var e struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		switch {
		case answer.Code >= 500:
			t.Errorf("status %d: %s", answer.Code, answer.Body)
		case path != "/oauth2/token" && path != "/oauth2/revoke" && path != "/oauth2/introspect", answer.Code == http.StatusOK:
		case json.Unmarshal(answer.Body.Bytes(), &e) != nil, e.Error == "":
			t.Errorf("not RFC 6749, 5.2: %s", answer.Body)
		case strings.ContainsFunc(e.Description, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }):
			t.Errorf("not a description: %q", e.Description)
		}
	})
}

func (roleWorld) AuthorizeOwn(user *fsm.Identity, action string) error {
	if user.Scope != nil {
		return forbid(user, action)
	}
	return nil
}
