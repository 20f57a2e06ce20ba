package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// everyRequest is one request to each operation, with a body that it accepts.
func everyRequest() []call {
	list := []call{
		{request: "GET /"},
		{request: "HEAD /"},
		{request: "GET /_cluster/health"},
		{request: "GET /_nodes"},
		{request: "GET /_nodes/_local"},
		{request: "GET /_nodes/_all/http"},
		{request: "GET /_cat"},
		{request: "GET /_cat/health"},
		{request: "GET /_cat/master"},
		{request: "GET /_cat/nodes"},
		{request: "GET /_license"},
		{request: "GET /_xpack"},
		{request: "GET /_xpack/license"},
	}
	for _, prefix := range []string{"/_security", "/_xpack/security"} {
		list = append(list, []call{
			{request: "GET " + prefix + "/_authenticate"},
			{request: "POST " + prefix + "/oauth2/token", body: `{"grant_type":"password","username":"u","password":"p"}`},
			{request: "POST " + prefix + "/oauth2/token", body: `{"grant_type":"refresh_token","refresh_token":"r"}`},
			{request: "POST " + prefix + "/oauth2/token", body: `{"grant_type":"client_credentials"}`},
			{request: "DELETE " + prefix + "/oauth2/token", body: `{"token":"t"}`},
			{request: "GET " + prefix + "/user"},
			{request: "GET " + prefix + "/user/u"},
			{request: "PUT " + prefix + "/user/u", body: `{"roles":[]}`},
			{request: "POST " + prefix + "/user/u", body: `{"roles":[]}`},
			{request: "DELETE " + prefix + "/user/u"},
			{request: "PUT " + prefix + "/user/_password", body: `{"password":"p"}`},
			{request: "POST " + prefix + "/user/u/_password", body: `{"password":"p"}`},
			{request: "PUT " + prefix + "/user/u/_enable"},
			{request: "PUT " + prefix + "/user/u/_disable"},
			{request: "GET " + prefix + "/role"},
			{request: "GET " + prefix + "/role/r"},
			{request: "PUT " + prefix + "/role/r", body: `{}`},
			{request: "DELETE " + prefix + "/role/r"},
			{request: "POST " + prefix + "/role/r/_clear_cache"},
			{request: "POST " + prefix + "/realm/_all/_clear_cache"},
			{request: "GET " + prefix + "/user/_privileges"},
			{request: "GET " + prefix + "/user/_has_privileges", body: `{"cluster":["all"]}`},
			{request: "POST " + prefix + "/user/u/_has_privileges", body: `{"cluster":["all"]}`},
		}...)
	}
	return list
}

// CVE-2021-22146: nobody gets anything without credentials but the health of the
// process, and nothing is done for him.
func TestNothingWithoutCredentials(t *testing.T) {
	done := func() { t.Error("a use case was called") }
	w := &world{
		issue:       func(token.Caller, token.IssueRequest) (token.Pair, error) { done(); return token.Pair{}, nil },
		refresh:     func(token.Caller, token.RefreshRequest) (token.Pair, error) { done(); return token.Pair{}, nil },
		invalidate:  func(token.Caller, token.InvalidateRequest) (token.Counts, error) { done(); return token.Counts{}, nil },
		authorize:   func(*fsm.Identity, string) error { done(); return nil },
		putUser:     func(realm.UserRequest) (bool, error) { done(); return true, nil },
		deleteUser:  func(fsm.Username) (bool, error) { done(); return true, nil },
		setPassword: func(fsm.Username, *realm.Secret, *realm.Secret) error { done(); return nil },
		setEnabled:  func(fsm.Username, bool) error { done(); return nil },
		putRole:     func(fsm.Role) (bool, error) { done(); return true, nil },
		deleteRole:  func(fsm.RoleName) (bool, error) { done(); return true, nil },
	}
	h := handlerOf(t, config(w))
	for _, bad := range []http.Header{
		authorization(), authorization("Bearer "), authorization("Bearer x"), authorization("Basic " + encode("elastic:")),
		authorization("Basic " + encode("elastic:wrong")), authorization("ApiKey eA=="), authorization("Digest x"),
	} {
		for _, c := range everyRequest() {
			c.header = bad
			if answer := serve(h, &c); answer.Code != http.StatusUnauthorized {
				t.Errorf("%s with %q: status %d", c.request, bad["Authorization"], answer.Code)
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if answer := serve(h, &call{request: "GET " + path, header: authorization()}); answer.Code != http.StatusOK {
			t.Errorf("%s: status %d", path, answer.Code)
		}
	}
}

// changes tells whether a request is to change something.
func changes(request string) bool {
	method, path, _ := strings.Cut(request, " ")
	return method != http.MethodGet && method != http.MethodHead &&
		!strings.HasSuffix(path, "/_has_privileges") && !strings.HasSuffix(path, "/_clear_cache")
}

// CVE-2020-15223: an operation that failed never looks like one that succeeded.
func TestFailureIsNeverSuccess(t *testing.T) {
	for _, err := range []error{realm.ErrUnavailable, realm.ErrOverloaded, errors.New("disk full")} {
		w := &world{
			issue:   func(token.Caller, token.IssueRequest) (token.Pair, error) { return token.Pair{}, err },
			refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) { return token.Pair{}, err },
			invalidate: func(token.Caller, token.InvalidateRequest) (token.Counts, error) {
				return token.Counts{Invalidated: 1}, err
			},
			putUser:     func(realm.UserRequest) (bool, error) { return true, err },
			deleteUser:  func(fsm.Username) (bool, error) { return true, err },
			setPassword: func(fsm.Username, *realm.Secret, *realm.Secret) error { return err },
			setEnabled:  func(fsm.Username, bool) error { return err },
			putRole:     func(fsm.Role) (bool, error) { return true, err },
			deleteRole:  func(fsm.RoleName) (bool, error) { return true, err },
		}
		h := handlerOf(t, config(w))
		for _, c := range everyRequest() {
			if answer := serve(h, &c); changes(c.request) && answer.Code < 500 {
				t.Errorf("%s with %v: status %d", c.request, err, answer.Code)
			}
		}
	}
}

// canary is a secret that must not come out anywhere but where it belongs.
const canary = "C4N4RY-s3cr3t"

// Secrets in every member that may hold one, with every outcome: no error body and
// no log line, at the most talkative level, has them.
func TestCanary(t *testing.T) {
	secretBodies := []call{
		{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"u","password":"` + canary + `"}`},
		{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"u","password":"` + canary + `","x":1}`},
		{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"u","password":"` + canary},
		{request: "POST " + tokenPath, body: `{"grant_type":"password","password":"` + canary + `","password":"` + canary + `"}`},
		{request: "POST " + tokenPath, body: `{"grant_type":"` + canary + `"}`},
		{request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"` + canary + `"}`},
		{request: "POST " + tokenPath, body: `{"grant_type":"_kerberos","kerberos_ticket":"` + canary + `"}`},
		{request: "POST " + tokenPath, body: `{"scope":["` + canary + `"]}`},
		{request: "DELETE " + tokenPath, body: `{"token":"` + canary + `"}`},
		{request: "DELETE " + tokenPath, body: `{"refresh_token":"` + canary + `","token":"` + canary + `"}`},
		{request: "PUT /_security/user/u", body: `{"roles":[],"password":"` + canary + `","metadata":{"k":"` + canary + `"}}`},
		{request: "PUT /_security/user/u", body: `{"roles":[],"password_hash":"` + canary + `","full_name":["` + canary + `"]}`},
		{request: "PUT /_security/user/_password", body: `{"password":"` + canary + `"}`},
		{request: "PUT /_security/user/_password", body: `{"password_hash":"` + canary + `","password":{"` + canary + `":1}}`},
		{request: "POST " + tokenPath, body: canary},
		{request: "POST " + tokenPath, body: `"` + canary + `"`},
		{request: "GET /_security/_authenticate", header: authorization("Bearer " + canary)},
		{request: "GET /_security/_authenticate", header: authorization("Basic " + encode("u:"+canary))},
		{request: "GET /_security/_authenticate", header: authorization("Basic " + encode(canary))},
		{request: "GET /_security/_authenticate", header: authorization("Basic " + canary)},
		{request: "GET /_security/_authenticate", header: authorization("ApiKey " + canary)},
		{request: "GET /_security/_authenticate", header: authorization(canary)},
		{request: "GET /_security/_authenticate", header: authorization("Bearer "+canary, "Bearer x")},
	}
	// These may echo what the client wrote in a name or a path, but not log it.
	named := []call{
		{request: "POST " + tokenPath, body: `{"` + canary + `":1}`},
		{request: "GET /_security/_authenticate?" + canary + "=1"},
		{request: "GET /_security/_authenticate?refresh_token=" + canary},
		{request: "GET /" + canary},
		{request: "GET /_security/user/" + canary},
		{request: "DELETE /_security/role/" + canary},
		{request: canary + " /_security/role/r"},
		{request: "POST " + tokenPath, body: "{}", header: http.Header{"Content-Type": {canary}}},
		{request: "GET /_security/_authenticate", header: authorization("Basic " + encode(canary+":x"))},
		{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"` + canary + `","password":"x"}`},
	}
	outcomes := []error{nil, realm.ErrBadCredentials, realm.ErrUnavailable, realm.ErrBusy, &fsm.RefusalError{Reason: fsm.Reused}, errors.New("bug")}
	for _, outcome := range outcomes {
		w := &world{
			issue: func(c token.Caller, r token.IssueRequest) (token.Pair, error) {
				if outcome != nil {
					return token.Pair{}, fmt.Errorf("issue %v for %v: %w", r.Password, r, outcome)
				}
				return token.Pair{Identity: c.Identity, AccessToken: realm.NewSecret("jat")}, nil
			},
			refresh: func(c token.Caller, _ token.RefreshRequest) (token.Pair, error) {
				return token.Pair{Identity: c.Identity}, outcome
			},
			invalidate:  func(token.Caller, token.InvalidateRequest) (token.Counts, error) { return token.Counts{}, outcome },
			putUser:     func(realm.UserRequest) (bool, error) { return true, outcome },
			deleteRole:  func(fsm.RoleName) (bool, error) { return false, outcome },
			setPassword: func(fsm.Username, *realm.Secret, *realm.Secret) error { return outcome },
		}
		h, lines := loggedHandler(t, w)
		for _, c := range secretBodies {
			if answer := serve(h, &c); strings.Contains(answer.Body.String(), canary) {
				t.Errorf("%s %s %v: answer %d %s", c.request, c.body, c.header, answer.Code, answer.Body)
			}
		}
		for _, c := range named {
			if strings.Contains(c.body, "password") && outcome != nil && !errors.Is(outcome, realm.ErrBadCredentials) {
				continue // the fake's error holds the name
			}
			serve(h, &c)
		}
		if strings.Contains(lines.String(), canary) {
			t.Errorf("with %v the log holds the canary:\n%s", outcome, lines.String())
		}
		if lines.String() == "" {
			t.Error("nothing was logged")
		}
	}
}

// A panic is one request's failure, and its value stays inside.
func TestPanicIsContained(t *testing.T) {
	for _, value := range []any{canary, errors.New(canary), 7} {
		h, lines := loggedHandler(t, &world{deleteUser: func(fsm.Username) (bool, error) { panic(value) }})
		answer := serve(h, &call{request: "DELETE /_security/user/u"})
		want := exception("status_exception", "internal server error", "500")
		if answer.Code != 500 || answer.Body.String() != want {
			t.Errorf("status %d, body %s", answer.Code, answer.Body)
		}
		if text := lines.String(); strings.Contains(text, canary) || !strings.Contains(text, fmt.Sprintf("panic with a %T", value)) {
			t.Errorf("log:\n%s", text)
		}
	}
}

// CVE-2018-17244, CVE-2019-7614: one request never gets another's answer.
func TestIdentitiesAreNotMixed(t *testing.T) {
	const users, rounds = 64, 200
	w := &world{
		authenticate: func(_ bool, c token.Credentials) (token.Caller, error) {
			name := c.Bearer.Expose()
			return token.Caller{Type: token.AuthenticationToken, Identity: &fsm.Identity{
				Principal: fsm.Principal{Username: fsm.Username(name), Realm: fsm.Realm{Name: "r", Type: "native"}},
				FullName:  new(strings.Repeat(name, len(name))),
				Metadata:  []byte(`{"tag":"` + name + `"}`),
			}}, nil
		},
		refresh: func(c token.Caller, r token.RefreshRequest) (token.Pair, error) {
			return token.Pair{
				AccessToken: r.Presented, RefreshToken: r.Presented, ExpiresIn: time.Second, Identity: c.Identity, Type: c.Type,
			}, nil
		},
	}
	h := handlerOf(t, config(w))
	one := func(name string) error {
		var who struct {
			Username string
			Metadata struct{ Tag string }
		}
		answer := serve(h, &call{request: "GET /_security/_authenticate", header: http.Header{
			"Authorization": {"Bearer " + name}, "X-Opaque-Id": {name},
		}})
		if err := json.Unmarshal(answer.Body.Bytes(), &who); err != nil {
			return err
		}
		var pair struct {
			AccessToken    string `json:"access_token"`
			Authentication struct{ Username string }
		}
		refreshed := serve(h, &call{
			request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"` + name + `"}`,
			header: authorization("Bearer " + name),
		})
		if err := json.Unmarshal(refreshed.Body.Bytes(), &pair); err != nil {
			return err
		}
		asked := serve(h, &call{request: "GET /_forward_auth", header: authorization("Bearer " + name)})
		for _, got := range []string{
			asked.Header().Get("X-Auth-User"), who.Username, who.Metadata.Tag, answer.Header().Get("X-Opaque-Id"), pair.AccessToken, pair.Authentication.Username,
		} {
			if got != name {
				return fmt.Errorf("%s got the answer of %s", name, got)
			}
		}
		return nil
	}
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for range rounds {
				if err := one(fmt.Sprintf("user-%d", u)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// The log holds one line per request, and what an auditor asks for.
func TestAuditLines(t *testing.T) {
	h, lines := loggedHandler(t, &world{refresh: func(token.Caller, token.RefreshRequest) (token.Pair, error) {
		return token.Pair{}, &fsm.RefusalError{Reason: fsm.Reused}
	}})
	for _, c := range []call{
		{request: "GET /_security/_authenticate", header: authorization()},
		{request: "DELETE " + tokenPath, body: `{"token":"t"}`},
		{request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"r"}`},
		{request: "PUT /_security/user/joe", body: `{}`},
		{request: "PUT /_security/user/joe/_disable"},
	} {
		serve(h, &c)
	}
	for _, want := range []string{
		"authentication refused: method=GET route=/_security/_authenticate",
		`tokens invalidated: by=elastic@reserved count=1 previously=0`,
		"refresh refused: method=POST route=/_security/oauth2/token",
		`user put: user=joe by=elastic@reserved`,
		`user disabled: user=joe by=elastic@reserved`,
	} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no line %q in\n%s", want, lines.String())
		}
	}
	if n := strings.Count(lines.String(), "request: method="); n != 5 {
		t.Errorf("%d request lines, want 5", n)
	}
}

// hostile is JSON made to cost, and what must become of it.
func hostile() map[string]string {
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	return map[string]string{
		"nested arrays":          `{"scope":` + deep("[", "]", 30000) + `}`,
		"nested arrays, open":    `{"scope":` + strings.Repeat("[", 60000),
		"nested objects":         `{"metadata":` + deep(`{"a":`, "}", 8000),
		"nested objects, open":   strings.Repeat(`{"a":`, 12000),
		"many members":           "{" + strings.Repeat(`"a":1,`, 10000) + `"b":1}`,
		"many different members": "{" + manyMembers(6000) + "}",
		"many in metadata":       `{"metadata":{` + manyMembers(5000) + "}}",
		"one long name":          `{"` + strings.Repeat("a", 60000) + `":1}`,
		"one long string":        `{"grant_type":"` + strings.Repeat(`\u0000`, 10000) + `"}`,
		"one long number":        `{"grant_type":` + strings.Repeat("9", 60000) + `}`,
		"large exponent":         `{"username":1e999999999}`,
		"lone surrogates":        `{"grant_type":"` + strings.Repeat(`\ud800`, 10000) + `"}`,
		"not UTF-8":              "{\"grant_type\":\"" + strings.Repeat("\xff", 60000) + "\"}",
		"nulls":                  strings.Repeat("\x00", 60000),
		"white space":            strings.Repeat(" ", 60000),
		"lines":                  strings.Repeat("\n", 60000) + "{x",
		"byte order mark":        "\ufeff{}",
		"comment":                "/* */{}",
		"long array":             `{"roles":[` + strings.Repeat(`"a",`, 15000) + `"a"]}`,
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":1,`, i)
	}
	return b.String() + `"z":1`
}

// CVE-2025-6203, CVE-2026-72686: no body costs more than its bytes.
func TestHostileBodies(t *testing.T) {
	h := handlerOf(t, config(&world{}))
	for name, body := range hostile() {
		for _, to := range []string{"POST " + tokenPath, "DELETE " + tokenPath, "PUT /_security/user/u", "PUT /_security/role/r", "PUT /_security/user/_password"} {
			start := time.Now()
			answer := serve(h, &call{request: to, body: body})
			took := time.Since(start)
			accepted := name == "long array" && strings.Contains(to, "/user/u")
			if answer.Code != 400 && !accepted {
				t.Errorf("%s, %s: status %d: %.200s", to, name, answer.Code, answer.Body)
			}
			if answer.Body.Len() > 2000 {
				t.Errorf("%s, %s: the answer has %d bytes", to, name, answer.Body.Len())
			}
			if took > time.Second { // generous: other tests run beside it
				t.Errorf("%s, %s: took %v", to, name, took)
			}
		}
	}
}

func FuzzTokenRequest(f *testing.F) {
	f.Add("POST", tokenPath, `{"grant_type":"password","username":"u","password":"p"}`, "application/json", "Basic Og==", "pretty")
	f.Add("DELETE", "/_xpack/security/oauth2/token", `{"token":"t"}`, "application/vnd.elasticsearch+json;compatible-with=8", "Bearer tok", "")
	f.Add("PUT", "/_security/user/a%2fb", `{"roles":[],"metadata":{"a":[{}]}}`, "application/json", basic, "refresh=true")
	f.Add("PUT", "/_security/role/r", `{"cluster":[],"indices":[1,{}]}`, "application/json", basic, "")
	f.Add("GET", "/_cluster/health", "", "", basic, "wait_for_status=green&timeout=0")
	for _, body := range hostile() {
		f.Add("POST", tokenPath, body, "application/json", basic, "pretty=true")
	}
	h := handlerOf(f, config(&world{}))
	f.Fuzz(func(t *testing.T, method, path, body, contentType, credentials, query string) {
		r, err := http.NewRequest(method, "http://localhost", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header = http.Header{"Content-Type": {contentType}, "Accept": {contentType}, "Authorization": {credentials}}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if answer.Code >= 500 {
			t.Errorf("status %d: %s", answer.Code, answer.Body)
		}
		if answer.Header().Get("X-Elastic-Product") == "" {
			t.Error("not an answer of ours")
		}
		if answer.Body.Len() > 0 && !json.Valid(answer.Body.Bytes()) {
			t.Errorf("not JSON: %q", answer.Body)
		}
	})
}
