package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

const (
	oneChallenge = `Bearer realm="security", Basic realm="security", charset="UTF-8"`
	uncached     = "no-store"
)

// identity are the headers of a 200.
func identity(user, roles, realm, email, name, scope string) map[string]string {
	return map[string]string{
		"X-Auth-User": user, "X-Auth-Roles": roles, "X-Auth-Realm": realm, "X-Auth-Email": email,
		"X-Auth-Full-Name": name, "X-Auth-Scope": scope, "Cache-Control": uncached,
	}
}

// gated is a world whose only user is the one given, by the token "tok".
func gated(user fsm.Identity) world {
	return world{authenticate: func(_ bool, c token.Credentials) (token.Caller, error) {
		if c.Bearer.Expose() != "tok" {
			return token.Caller{}, token.ErrUnknown
		}
		return token.Caller{Identity: &user, Type: token.AuthenticationToken}, nil
	}}
}

func someJoe(roles ...fsm.RoleName) fsm.Identity {
	return fsm.Identity{
		Principal: fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}, Roles: roles,
	}
}

// Whatever the end user's request was, with good credentials the answer is 200 and says
// who it is.
func TestForwardAuthIgnoresAllButCredentials(t *testing.T) {
	who := identity("elastic", "superuser", "reserved", "", "", "")
	bearer := authorization("Bearer tok")
	with := func(name string, lines ...string) http.Header {
		return http.Header{"Authorization": {"Bearer tok"}, name: lines}
	}
	var calls []call
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		calls = append(calls,
			call{request: method + " /_forward_auth", header: bearer},
			call{request: method + " /_forward_auth/_search/x%2Fy/", header: bearer})
	}
	calls = append(calls,
		call{name: "password", request: "GET /_forward_auth", header: authorization(basic)},
		call{name: "path and query of the application's root", request: "GET /_forward_auth/any/?role=editor&roles=x", header: bearer},
		call{name: "slash at the end", request: "GET /_forward_auth/", header: bearer},
		call{name: "foreign query", request: "GET /_forward_auth?pretty=perhaps&a=%zz&;=&%zz=1&q", header: bearer},
		call{name: "query of the path", request: "GET /_forward_auth/edit?role=editor&privilege=x&roles", header: bearer},
		call{name: "dots", request: "GET /_forward_auth/../../livez", header: bearer},
		call{name: "type of a body that is not there", request: "GET /_forward_auth", header: with("Content-Type", "a/b", "c/d")},
		call{name: "version nobody speaks", request: "GET /_forward_auth", header: with("Accept", "application/vnd.elasticsearch+json;compatible-with=5")},
		call{name: "media types that contradict", request: "GET /_forward_auth", header: with("Accept", "text/html", "text/plain")},
		call{name: "ids that contradict", request: "GET /_forward_auth", header: with("X-Opaque-Id", "a", "b")},
		call{name: "who they would like to be", request: "GET /_forward_auth", header: with("X-Auth-User", "root")},
	)
	for i := range calls {
		calls[i].status, calls[i].headers = 200, who
	}
	check(t, calls)
}

// Bodies are not read, not even to their end: many gateways announce one that they do
// not send, and would wait for the answer as long as we for the body.
func TestForwardAuthDoesNotWaitForABody(t *testing.T) {
	server := httptest.NewServer(handlerOf(t, config(&world{})))
	defer server.Close()
	for _, body := range []string{"", "hello", strings.Repeat("x", 100_000)} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /_forward_auth HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer tok\r\n"+
			"Content-Type: text/plain\r\nContent-Length: 100000\r\n\r\n")
		go func() { _, _ = io.WriteString(conn, body) }()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if user := answer.Header.Get("X-Auth-User"); answer.StatusCode != http.StatusOK || user != "elastic" || !answer.Close {
			t.Errorf("%d bytes of a body: %d %q, connection to be closed: %v", len(body), answer.StatusCode, user, answer.Close)
		}
		_ = errors.Join(answer.Body.Close(), conn.Close())
	}
}

// No gateway can pass anything else on: not 400, and not a second challenge.
func TestForwardAuthRefusesBadCredentialsWith401(t *testing.T) {
	headers := map[string]string{"Www-Authenticate": oneChallenge, "Cache-Control": uncached}
	quoted := `,"header":{"WWW-Authenticate":"` + strings.ReplaceAll(oneChallenge, `"`, `\"`) + `"}`
	refusal := func(reason, metadata string) string {
		inner := `"type":"security_exception","reason":"` + reason + `"` + metadata + quoted
		return `{"error":{"root_cause":[{` + inner + `}],` + inner + `},"status":401}`
	}
	unknown := "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
	invalid := refusal(unknown, `,"additional_unsuccessful_credentials":"oauth2 token: invalid token"`)
	none := refusal("missing authentication credentials for REST request [/_forward_auth]", "")
	calls := []call{
		{name: "none", header: authorization(), want: none},
		{name: "scheme nobody knows", header: authorization("Negotiate abc"), want: none},
		{name: "cookie", header: http.Header{"Authorization": nil, "Cookie": {"access_token=tok"}}, want: none},
		{name: "unknown token", header: authorization("Bearer nobody's"), want: invalid},
		{name: "binary", header: authorization("Bearer \xff\xfe"), want: invalid},
		{name: "wrong password", header: authorization("Basic " + encode("joe:x")), want: refusal("unable to authenticate user [joe] for REST request [/_forward_auth]", "")},
		{name: "not base64", header: authorization("Basic ???"), want: refusal("invalid basic authentication header encoding", "")},
		{name: "API key", header: authorization("ApiKey " + encode("a:b")), want: refusal(unknown, "")},
		{
			name: "two tokens", header: authorization("Bearer tok", "Bearer other"),
			want: refusal("multiple values for single-valued header [Authorization].", ""),
		},
	}
	for i := range calls {
		calls[i].request, calls[i].status, calls[i].headers = "GET /_forward_auth", 401, headers
	}
	check(t, calls)
	expired := `"type":"security_exception","reason":"token expired","header":{"WWW-Authenticate":` +
		`"Bearer realm=\"security\", error=\"invalid_token\", error_description=\"The access token expired\""}`
	check(t, []call{
		{
			name: "expired or invalidated", request: "GET /_forward_auth", header: authorization("Bearer old"), status: 401,
			want: `{"error":{"root_cause":[{` + expired + `}],` + expired + `},"status":401}`,
			headers: map[string]string{
				"Cache-Control":    uncached,
				"Www-Authenticate": `Bearer realm="security", error="invalid_token", error_description="The access token expired"`,
			},
		},
		{
			name: "a path that leads elsewhere", request: "GET /_forward_auth/../livez", header: authorization(), status: 401,
			want: strings.ReplaceAll(none, "/_forward_auth", "/_forward_auth/../livez"), headers: headers,
		},
	})
}

func TestForwardAuthWithoutTokenServiceOffersPasswords(t *testing.T) {
	c := config(&world{})
	c.TokensEnabled = false
	answer := serve(handlerOf(t, c), &call{request: "GET /_forward_auth", header: authorization()})
	if got := answer.Header()["Www-Authenticate"]; len(got) != 1 || got[0] != `Basic realm="security", charset="UTF-8"` {
		t.Errorf("challenges %q", got)
	}
}

// Each demand must be met, so whoever adds some to a gateway's gains nothing.
func TestForwardAuthDemands(t *testing.T) {
	user := gated(someJoe("editor", "two words", "a,b"))
	user.hasPrivilege = func(_ *fsm.Identity, privilege string) (has, known bool) {
		return privilege == "monitor", privilege != "mointor"
	}
	who := identity("joe", "editor,two words,a%2Cb", "default_native", "", "", "")
	role := func(name string) string { return "user [joe] does not have the role [" + name + "]" }
	privilege := func(name string) string { return "user [joe] does not have the cluster privilege [" + name + "]" }
	noSuch := func(name string) string {
		return "there is no demand [" + name + "]: repeat [role] or [privilege], with one name each"
	}
	var calls []call
	for _, c := range []struct{ query, refusal string }{
		{"", ""},
		{"role=editor", ""},
		{"role=editor&role=two+words&role=two%20words&role=a,b", ""},
		{"ROLE=editor&%72ole=editor", ""},
		{"privilege=monitor&role=editor", ""},
		{"privilege=monitor&privilege=monitor", ""},
		{"role=admin", role("admin")},
		{"role=Editor", role("Editor")},
		{"role", role("")},
		{"role=", role("")},
		{"role=a", role("a")},
		{"Role=admin", role("admin")},
		{"r%6Fle=admin", role("admin")},
		{"role=editor,admin", role("editor,admin")},
		{"role=admin&role=editor", role("admin")},
		{"role=editor&role=admin", role("admin")},
		{"role=admin&a=b&role=editor&%zz", role("admin")},
		{"role=editor&privilege=all", privilege("all")},
		{"privilege=monitor&role=admin", role("admin")},
		{"privilege=mointor", "there is no cluster privilege [mointor]"},
		{"role=%zz", "the demand [role] cannot be decoded"},
		{"privilege=%", "the demand [privilege] cannot be decoded"},
		{"roles=editor", noSuch("roles")},
		{"privileges=monitor", noSuch("privileges")},
	} {
		one := call{request: "GET /_forward_auth?" + c.query, world: user, header: authorization("Bearer tok"), status: 200, headers: who}
		if c.refusal != "" {
			one.status, one.want = 403, exception("security_exception", c.refusal, "403")
			one.headers = map[string]string{"Cache-Control": uncached}
		}
		calls = append(calls, one)
	}
	check(t, calls)
}

// Elsewhere the header would have the request served as another user. To serve it as
// the caller would give it what the sender meant to lay down.
func TestForwardAuthIsNotForActingAsOthers(t *testing.T) {
	for _, other := range []string{"joe", "elastic", ""} {
		check(t, []call{{
			name: "as " + other, request: "GET /_forward_auth", status: 403,
			header:  http.Header{"Authorization": {"Bearer tok"}, "Es-Security-Runas-User": {other}},
			want:    exception("security_exception", "[es-security-runas-user] cannot be used through a gateway", "403"),
			headers: map[string]string{"Cache-Control": uncached},
		}})
	}
}

// The roles of a narrowed token say more than it may.
func TestForwardAuthOfNarrowedTokensShowsNoRoles(t *testing.T) {
	user := someJoe("superuser")
	user.Scope = []string{"manage_token", "monitor"}
	check(t, []call{
		{
			request: "GET /_forward_auth?privilege=monitor", world: gated(user), header: authorization("Bearer tok"), status: 200,
			headers: identity("joe", "", "default_native", "", "", "manage_token monitor"),
		},
		{
			request: "GET /_forward_auth?role=superuser", world: gated(user), header: authorization("Bearer tok"), status: 403,
			want:    exception("security_exception", "user [joe] does not have the role [superuser]", "403"),
			headers: map[string]string{"Cache-Control": uncached},
		},
	})
}

// An outage is neither a yes nor a no.
func TestForwardAuthOutages(t *testing.T) {
	failing := func(err error) world {
		return world{authenticate: func(confirmed bool, _ token.Credentials) (token.Caller, error) {
			if !confirmed {
				return token.Caller{}, errors.New("must be a confirmed read")
			}
			return token.Caller{}, err
		}}
	}
	retry := map[string]string{"Retry-After": "1", "Cache-Control": uncached}
	check(t, []call{
		{
			name: "no quorum", request: "GET /_forward_auth", world: failing(realm.ErrUnavailable), status: 503, headers: retry,
			want: outageBody(),
		},
		{
			name: "too many passwords", request: "GET /_forward_auth", world: failing(realm.ErrBusy), status: 429, headers: retry,
			want: repeatable("es_rejected_execution_exception", "rejected execution: too many passwords wait to be verified", repeat, "429"),
		},
		{
			name: "bug", request: "GET /_forward_auth", status: 500, headers: map[string]string{"Cache-Control": uncached},
			world: world{authenticate: func(bool, token.Credentials) (token.Caller, error) { panic("bug") }},
			want:  exception("status_exception", "internal server error", "500"),
		},
	})
}

func TestForwardAuthHeadersHoldAnyName(t *testing.T) {
	user := someJoe("plain", "50%", " ", "x\r\nX-Auth-User: root")
	user.Username, user.FullName, user.Email = " jürgen\x00", new("Jürgen, the 1st"), new("j@example.org")
	check(t, []call{{
		request: "GET /_forward_auth", world: gated(user), header: authorization("Bearer tok"), status: 200,
		headers: identity("%20j%C3%BCrgen%00", "plain,50%25,%20,x%0D%0AX-Auth-User: root", "default_native",
			"j@example.org", "J%C3%BCrgen, the 1st", ""),
	}})
}

// A gateway that demands what does not exist lets nobody in, and the log says so once,
// without words of the request.
func TestForwardAuthTellsOfUnknownPrivilegesOnce(t *testing.T) {
	handler, log := loggedHandler(t, &world{hasPrivilege: func(*fsm.Identity, string) (has, known bool) { return false, false }})
	for range 3 {
		serve(handler, &call{request: "GET /_forward_auth?privilege=hunter2"})
	}
	if got := strings.Count(log.String(), "[WARN]"); got != 1 || strings.Contains(log.String(), "hunter2") {
		t.Errorf("%d warnings in:\n%s", got, log.String())
	}
}

// Whatever comes, a good token gives 200 or 403, a bad one 401, and headers are headers.
func FuzzForwardAuth(f *testing.F) {
	f.Add("GET", "/a?role=superuser", "Bearer tok", "jürgen", "a,b")
	f.Add("PUT", "?role=%zz&%=1", "Bearer tok\x00", "", "\r\n")
	f.Add("x", "?roles;&privilege=a", "Basic OjpvOg==", "%", " ")
	f.Fuzz(func(t *testing.T, method, rest, credentials, username, role string) {
		target, err := url.ParseRequestURI("/_forward_auth" + rest)
		if err != nil || !strings.HasPrefix(target.Path+"/", "/_forward_auth/") {
			return
		}
		user := someJoe(fsm.RoleName(role))
		user.Username = fsm.Username(username)
		w := gated(user)
		r := request(&call{request: "GET /", header: authorization(credentials)})
		r.Method, r.URL, r.RequestURI = method, target, target.RequestURI()
		scheme, presented, _ := strings.Cut(credentials, " ")
		answer, good := new(recorder), strings.EqualFold(scheme, "Bearer") && presented == "tok"
		handlerOf(t, config(&w)).ServeHTTP(answer, r)
		switch {
		case good && answer.status == http.StatusOK:
			for name, want := range map[string]string{"X-Auth-User": username, "X-Auth-Roles": role} {
				got := answer.Header().Get(name)
				if decoded, err := url.PathUnescape(got); err != nil || decoded != want || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
					t.Errorf("%s: %q for %q", name, got, want)
				}
			}
		case good && answer.status == http.StatusForbidden:
		case !good && answer.status == http.StatusUnauthorized:
		default:
			t.Errorf("%s %s with %q: %d", method, target, credentials, answer.status)
		}
	})
}

// recorder keeps the status and the headers.
type recorder struct {
	status int
	header http.Header
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = make(http.Header)
	}
	return r.header
}

func (*recorder) Write(p []byte) (int, error) { return len(p), nil }
func (r *recorder) WriteHeader(status int)    { r.status = status }
