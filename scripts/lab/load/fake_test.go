package load

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// staleFor is how long a node with that defect believes in what was ended.
const staleFor = 50 * time.Millisecond

// fake is a cluster of one map: what a right one would answer, but for a defect.
type fake struct {
	defect string
	flaky  bool // answers get lost, and some requests are refused with 503

	mu      sync.Mutex
	random  *rand.Rand
	users   map[string]string
	access  map[string]*fakePair
	refresh map[string]*fakePair
	drawn   int
}

type fakePair struct {
	user, access, refresh   string
	accessDead, refreshDead time.Time // zero: alive
	family                  *[]*fakePair
	successor               *fakePair
}

func newFake(defect string, flaky bool) *fake {
	return &fake{
		defect: defect, flaky: flaky, random: rand.New(rand.NewPCG(1, 2)),
		users: map[string]string{}, access: map[string]*fakePair{}, refresh: map[string]*fakePair{},
	}
}

// start serves the fake as several nodes.
func (f *fake) start(t *testing.T, nodes int) (targets []Target) {
	t.Helper()
	for i := range nodes {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(i, w, r) }))
		t.Cleanup(server.Close)
		targets = append(targets, Target{Name: fmt.Sprintf("node-%d", i), URL: server.URL})
	}
	return targets
}

// sometimes tells whether a defect shows this time.
func (f *fake) sometimes(defect string) bool { return f.defect == defect && f.random.IntN(20) == 0 }

func (f *fake) serve(node int, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	status, body, lost := http.StatusServiceUnavailable, "", false
	switch {
	case f.flaky && f.random.IntN(50) == 0:
		w.Header().Set("Retry-After", "1")
	case f.flaky && f.random.IntN(100) == 0:
		status = http.StatusRequestTimeout
	case f.sometimes("outage without Retry-After"):
	case f.sometimes("outage as 401"):
		status, body = http.StatusUnauthorized, "unable to authenticate"
	case f.sometimes("internal error"):
		status = http.StatusInternalServerError
	case f.sometimes("malformed"):
		status, body = http.StatusOK, `{"access_token":`
	default:
		lost = f.flaky && f.random.IntN(50) == 0
		status, body = f.answer(node, w, r)
	}
	f.mu.Unlock()
	if lost {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (f *fake) answer(node int, w http.ResponseWriter, r *http.Request) (int, string) {
	fields := map[string]any{}
	if strings.HasPrefix(r.URL.Path, pathOAuth2) {
		_ = r.ParseForm()
		for name := range r.PostForm {
			fields[name] = r.PostForm.Get(name)
		}
	} else {
		_ = json.NewDecoder(r.Body).Decode(&fields)
	}
	text := func(name string) string { s, _ := fields[name].(string); return s }
	user := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, pathUser), "/_password")
	switch {
	case strings.HasPrefix(r.URL.Path, pathUser):
		f.users[user] = text("password")
		f.endUser(user)
		return http.StatusOK, "{}"
	case r.URL.Path == pathAuthenticate:
		p := f.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		if !f.valid(node, p) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="security", error="invalid_token", `+textExpired)
			return http.StatusUnauthorized, "token expired"
		}
		return http.StatusOK, fmt.Sprintf(`{"username":%q}`, f.ownerOf(p))
	case r.URL.Path == pathOAuth2+"introspect":
		p := f.access[text("token")]
		if !f.valid(node, p) {
			return http.StatusOK, `{"active":false}`
		}
		return http.StatusOK, fmt.Sprintf(`{"active":true,"username":%q}`, f.ownerOf(p))
	case r.Method == http.MethodPost && text("grant_type") == "password":
		return f.issue(text("username"))
	case r.Method == http.MethodPost && text("grant_type") == "refresh_token":
		return f.consume(f.refresh[text("refresh_token")])
	case r.URL.Path == pathOAuth2+"revoke":
		if p := f.refresh[text("token")]; p != nil {
			f.endFamily(p)
		}
		f.end(f.access[text("token")], true)
		return http.StatusOK, "{}"
	}
	return f.invalidate(text("token"), text("refresh_token"), text("username"), fields["family"] == true)
}

func (f *fake) ownerOf(p *fakePair) string {
	if f.sometimes("somebody else's") {
		return "somebody"
	}
	return p.user
}

func (f *fake) valid(node int, p *fakePair) bool {
	switch {
	case p == nil:
		return false
	case f.defect == "stale" && node == 1 && time.Since(p.accessDead) < staleFor:
		return true
	}
	return p.accessDead.IsZero()
}

func (f *fake) pair(user string, family *[]*fakePair) *fakePair {
	f.drawn++
	p := &fakePair{user: user, access: fmt.Sprintf("a%d", f.drawn), refresh: fmt.Sprintf("r%d", f.drawn), family: family}
	*family = append(*family, p)
	f.access[p.access], f.refresh[p.refresh] = p, p
	return p
}

func (p *fakePair) body(lifetime int) string {
	return fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"expires_in":%d}`, p.access, p.refresh, lifetime)
}

func (f *fake) issue(user string) (int, string) {
	if f.users[user] == "" {
		return http.StatusUnauthorized, "unknown user"
	}
	p := f.pair(user, new([]*fakePair))
	if f.sometimes("issue lost") {
		delete(f.access, p.access)
	}
	return http.StatusOK, p.body(1200)
}

func (f *fake) consume(p *fakePair) (int, string) {
	switch {
	case p == nil:
		return http.StatusBadRequest, "unknown"
	case !p.refreshDead.IsZero():
		return http.StatusBadRequest, textInvalidated
	case p.successor == nil:
		p.successor = f.pair(p.user, p.family)
	case f.sometimes("two successors"):
		return http.StatusOK, f.pair(p.user, p.family).body(1200)
	case f.defect == "another answer to a repeat":
		return http.StatusOK, p.successor.body(f.random.IntN(1000))
	case f.sometimes("reuse within the window"):
		return http.StatusBadRequest, textReused
	}
	return http.StatusOK, p.successor.body(1200)
}

func (f *fake) invalidate(access, refresh, user string, family bool) (int, string) {
	now, before := 0, 0
	if f.sometimes("invalidation forgotten") {
		return http.StatusOK, counts(1, 0)
	}
	count := func(ended bool) {
		if ended {
			now++
		} else {
			before++
		}
	}
	switch {
	case user != "":
		f.endUser(user)
	case family:
		f.endFamily(f.refresh[refresh])
	case access != "":
		count(f.end(f.access[access], true))
	default:
		count(f.end(f.refresh[refresh], false))
	}
	if f.sometimes("wrong counts") {
		now, before = before, now
	}
	return http.StatusOK, counts(now, before)
}

func counts(now, before int) string {
	return fmt.Sprintf(`{"invalidated_tokens":%d,"previously_invalidated_tokens":%d,"error_count":0}`, now, before)
}

func (f *fake) end(p *fakePair, access bool) bool {
	if p == nil {
		return false
	}
	at := &p.refreshDead
	if access {
		at = &p.accessDead
	}
	if !at.IsZero() {
		return false
	}
	*at = time.Now()
	return true
}

func (f *fake) endFamily(p *fakePair) {
	for _, other := range *p.family {
		f.end(other, true)
		f.end(other, false)
	}
}

func (f *fake) endUser(user string) {
	if f.defect == "user not ended" && f.random.IntN(4) == 0 {
		return
	}
	for _, p := range f.access {
		if p.user == user {
			f.end(p, true)
			f.end(p, false)
		}
	}
}

// silent is an address that accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}
