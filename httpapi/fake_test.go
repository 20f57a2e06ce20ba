package httpapi_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// world is everything behind the API. Zero funcs stand for the usual answers: the
// user elastic, who may do all, with the password changeme and the token tok.
type world struct {
	authenticate func(confirmed bool, c token.Credentials) (token.Caller, error)
	runAs        func(c token.Caller, name fsm.Username) (token.Caller, error)
	issue        func(token.Caller, token.IssueRequest) (token.Pair, error)
	refresh      func(token.Caller, token.RefreshRequest) (token.Pair, error)
	invalidate   func(token.Caller, token.InvalidateRequest) (token.Counts, error)
	sessions     func(token.Caller, token.SessionsRequest) (token.SessionsPage, error)
	authorize    func(user *fsm.Identity, action string) error
	grants       func(user *fsm.Identity) realm.Grants
	forget       func()
	hasPrivilege func(user *fsm.Identity, privilege string) (has, known bool)
	recognized   func()
	putUser      func(realm.UserRequest) (bool, error)
	users        []fsm.User
	deleteUser   func(fsm.Username) (bool, error)
	setPassword  func(name fsm.Username, password, hash *realm.Secret) error
	setEnabled   func(name fsm.Username, enabled bool) error
	putRole      func(fsm.Role) (bool, error)
	roles        []fsm.Role
	deleteRole   func(fsm.RoleName) (bool, error)
	health       func() httpapi.Health
	notReady     []string
}

func elastic() *fsm.Identity {
	return &fsm.Identity{
		Principal: fsm.Principal{Username: "elastic", Realm: fsm.Realm{Name: fsm.RealmReserved, Type: "reserved"}},
		Roles:     []fsm.RoleName{"superuser"},
		Metadata:  []byte(`{"_reserved":true}`),
	}
}

func (w *world) Authenticate(ctx context.Context, c token.Credentials) (token.Caller, error) {
	return w.login(ctx, true, c)
}

func (w *world) Recognize(ctx context.Context, c token.Credentials) (token.Caller, error) {
	if w.recognized != nil {
		w.recognized()
	}
	return w.login(ctx, true, c)
}

func (w *world) AuthenticateForWrite(ctx context.Context, c token.Credentials) (token.Caller, error) {
	return w.login(ctx, false, c)
}

func (w *world) RunAs(c token.Caller, name fsm.Username) (token.Caller, error) {
	if w.runAs != nil {
		return w.runAs(c, name)
	}
	return token.Caller{}, token.ErrRunAs
}

func (w *world) login(ctx context.Context, confirmed bool, c token.Credentials) (token.Caller, error) {
	if ctx.Err() != nil {
		return token.Caller{}, realm.ErrUnavailable
	}
	if w.authenticate != nil {
		return w.authenticate(confirmed, c)
	}
	switch c.Scheme {
	case token.SchemeBasic:
		if c.Username == "elastic" && c.Password.Expose() == "changeme" {
			return token.Caller{Identity: elastic(), Type: token.AuthenticationRealm, Guard: fsm.Guard{CallerGeneration: 7}}, nil
		}
		return token.Caller{}, realm.ErrBadCredentials
	case token.SchemeBearer:
		switch c.Bearer.Expose() {
		case "tok":
			return token.Caller{Identity: elastic(), Type: token.AuthenticationToken}, nil
		case "old":
			return token.Caller{}, token.ErrExpired
		}
		return token.Caller{}, token.ErrUnknown
	default:
		return token.Caller{}, token.ErrNoCredentials
	}
}

func (w *world) Issue(_ context.Context, c token.Caller, r token.IssueRequest) (token.Pair, error) {
	if w.issue != nil {
		return w.issue(c, r)
	}
	pair := token.Pair{
		AccessToken: realm.NewSecret("jat_1"), ExpiresIn: 20 * time.Minute, Identity: c.Identity, Type: c.Type, Scope: c.Identity.Scope,
	}
	if r.GrantType == token.GrantPassword {
		if r.Password.Expose() != "x-pack-test-password" {
			return token.Pair{}, realm.ErrBadCredentials
		}
		pair.RefreshToken, pair.Type = realm.NewSecret("jrt_1"), token.AuthenticationRealm
		pair.Identity = &fsm.Identity{
			Principal: fsm.Principal{
				Username: fsm.Username(r.Username), Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"},
			},
			Roles: []fsm.RoleName{"a", "b"}, FullName: new("T \"A\""), Email: new("t@a"),
		}
	}
	return pair, nil
}

func (w *world) Refresh(_ context.Context, c token.Caller, r token.RefreshRequest) (token.Pair, error) {
	if w.refresh != nil {
		return w.refresh(c, r)
	}
	return token.Pair{
		AccessToken: realm.NewSecret("jat_2"), RefreshToken: realm.NewSecret("jrt_2"), ExpiresIn: time.Hour,
		Identity: c.Identity, Type: token.AuthenticationToken,
	}, nil
}

func (w *world) Invalidate(_ context.Context, c token.Caller, r token.InvalidateRequest) (token.Counts, error) {
	if w.invalidate != nil {
		return w.invalidate(c, r)
	}
	return token.Counts{Invalidated: 1}, nil
}

func (w *world) Sessions(_ context.Context, c token.Caller, r token.SessionsRequest) (token.SessionsPage, error) {
	if w.sessions != nil {
		return w.sessions(c, r)
	}
	return token.SessionsPage{}, nil
}

// userWorld and roleWorld are the world seen as users and as roles.
type (
	userWorld struct{ *world }
	roleWorld struct{ *world }
)

func (w userWorld) Put(_ context.Context, _ fsm.Principal, _ fsm.Guard, r realm.UserRequest) (bool, error) {
	if w.putUser != nil {
		return w.putUser(r)
	}
	return true, nil
}

func (w userWorld) Get(names ...fsm.Username) []fsm.User {
	var list []fsm.User
	for _, u := range w.users {
		if len(names) == 0 || slices.Contains(names, u.Username) {
			list = append(list, u)
		}
	}
	return list
}

func (w userWorld) Delete(_ context.Context, _ fsm.Guard, name fsm.Username) (bool, error) {
	if w.deleteUser != nil {
		return w.deleteUser(name)
	}
	return true, nil
}

func (w userWorld) SetPassword(_ context.Context, _ fsm.Guard, name fsm.Username, password, hash *realm.Secret) error {
	if w.setPassword != nil {
		return w.setPassword(name, password, hash)
	}
	return nil
}

func (w userWorld) SetEnabled(_ context.Context, _ fsm.Principal, _ fsm.Guard, name fsm.Username, enabled bool) error {
	if w.setEnabled != nil {
		return w.setEnabled(name, enabled)
	}
	return nil
}

func (w roleWorld) Put(_ context.Context, _ fsm.Guard, r fsm.Role) (bool, error) {
	if w.putRole != nil {
		return w.putRole(r)
	}
	return true, nil
}

func (w roleWorld) Get(names ...fsm.RoleName) []fsm.Role {
	var list []fsm.Role
	for _, r := range w.roles {
		if len(names) == 0 || slices.Contains(names, r.Name) {
			list = append(list, r)
		}
	}
	return list
}

func (w roleWorld) Delete(_ context.Context, _ fsm.Guard, name fsm.RoleName) (bool, error) {
	if w.deleteRole != nil {
		return w.deleteRole(name)
	}
	return true, nil
}

func (w roleWorld) Authorize(user *fsm.Identity, action string) (uint64, error) {
	if w.authorize != nil {
		return 1, w.authorize(user, action)
	}
	return 1, nil
}

func (w roleWorld) HasPrivilege(user *fsm.Identity, privilege string) (has, known bool) {
	if w.hasPrivilege != nil {
		return w.hasPrivilege(user, privilege)
	}
	return true, true
}

func (w roleWorld) Grants(user *fsm.Identity) realm.Grants {
	if w.grants != nil {
		return w.grants(user)
	}
	return realm.Grants{}
}

func (*world) About() httpapi.About {
	return httpapi.About{NodeID: "id-1", NodeName: "node-1", ClusterName: "jeton", ClusterID: [16]byte{1}}
}

func (w *world) Health(context.Context) httpapi.Health {
	if w.health != nil {
		return w.health()
	}
	return httpapi.Health{Members: 3, Answering: 3, Leader: true}
}

func (w *world) NotReady() []string { return w.notReady }

// forbid refuses every action to the user joe with the role r.
func forbid(_ *fsm.Identity, action string) error {
	return &realm.ForbiddenError{
		Action: action, Username: "joe", Effective: []fsm.RoleName{"r"}, Privileges: []string{"manage_token", "manage_security", "all"},
	}
}

// syncBuffer collects log lines.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func config(w *world) httpapi.Config {
	return httpapi.Config{
		Tokens: w, Authenticator: w, Users: userWorld{w}, Roles: roleWorld{w}, Cluster: w,
		TokensEnabled: true, Now: time.Now, Version: "test", ForgetPasswords: w.forget,
	}
}

func handlerOf(tb testing.TB, c httpapi.Config) http.Handler {
	tb.Helper()
	s, err := httpapi.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return s.Handler()
}

func loggedHandler(tb testing.TB, w *world) (http.Handler, *syncBuffer) {
	tb.Helper()
	c, lines := config(w), &syncBuffer{}
	c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: lines})
	return handlerOf(tb, c), lines
}

// call is a request and the whole of its answer.
type call struct {
	name    string
	world   world
	request string // method and target
	header  http.Header
	body    string
	status  int
	want    string            // the whole body
	headers map[string]string // those besides the usual; several lines joined by "|"
}

// usual are the headers of every answer.
var usual = map[string]string{"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}

// basic is how the requests of this package authenticate unless they say otherwise.
const basic = "Basic ZWxhc3RpYzpjaGFuZ2VtZQ=="

func request(c *call) *http.Request {
	method, target, _ := strings.Cut(c.request, " ")
	var r *http.Request
	if c.body == "" {
		r = httptest.NewRequest(method, target, nil)
	} else {
		r = httptest.NewRequest(method, target, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", basic)
	maps.Copy(r.Header, c.header)
	if r.Header.Get("Authorization") == "" {
		r.Header.Del("Authorization")
	}
	return r
}

// serve sends one call and returns its answer.
func serve(h http.Handler, c *call) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request(c))
	return answer
}

// check sends every call to its own world and compares the answers whole.
func check(t *testing.T, calls []call) {
	t.Helper()
	for _, c := range calls {
		name := c.name
		if name == "" {
			name = c.request + " " + c.body
		}
		t.Run(name, func(t *testing.T) {
			answer := serve(handlerOf(t, config(&c.world)), &c)
			if answer.Code != c.status {
				t.Errorf("status %d, want %d", answer.Code, c.status)
			}
			if diff := cmp.Diff(c.want, answer.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			want := maps.Clone(usual)
			maps.Copy(want, c.headers)
			got := make(map[string]string)
			for key, lines := range answer.Header() {
				if key != "Content-Length" {
					got[key] = strings.Join(lines, "|")
				}
			}
			if _, told := want["Warning"]; !told && strings.Contains(c.request, " /_xpack/") {
				delete(got, "Warning") // TestFormerPathsWarn is about it
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

// exception is an Elasticsearch error body without metadata.
func exception(kind, reason, status string) string {
	inner := `"type":"` + kind + `","reason":"` + strings.ReplaceAll(reason, `"`, `\"`) + `"`
	return `{"error":{"root_cause":[{` + inner + `}],` + inner + `},"status":` + status + `}`
}

const (
	repeat = "repeat the request, at any node, after the seconds in Retry-After: repeating is safe"
	outage = "this node cannot know now, perhaps because no leader is elected or no majority of the nodes answers; " + repeat
)

// repeatable is the body of a 503 or 429, which says what to do.
func repeatable(kind, reason, advice, status string) string {
	inner := `"type":"` + kind + `","reason":"` + reason + `"`
	return `{"error":{"root_cause":[{` + inner + `}],` + inner + `,"caused_by":{"type":"status_exception","reason":"` + advice + `"}},"status":` + status + `}`
}

// outageBody is the body of an outage.
func outageBody() string {
	return repeatable("security_exception", "unable to perform requested action", outage, "503")
}

// challenge is the header of a 401, and its place in the body.
var challenge = map[string]string{
	"Www-Authenticate": `Basic realm="security", charset="UTF-8"|Bearer realm="security"|ApiKey`,
}

const challengeJSON = `,"header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\"","ApiKey"]}`

// unauthorized is the body of a 401 with the default challenges.
func unauthorized(reason, metadata string) string {
	inner := `"type":"security_exception","reason":"` + reason + `"` + metadata + challengeJSON
	return `{"error":{"root_cause":[{` + inner + `}],` + inner + `},"status":401}`
}
