package httpapi_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// The rights of a token never exceed those of what it was made from: at mint and at
// use, over chains of grants, run-as and scopes, while roles and users change. The
// code that stands is compared with [oracle], which knows of each token only how it
// came about.
func TestRightsNeverGrow(t *testing.T) {
	hasher, err := realm.NewHasher("pbkdf2_1000")
	if err != nil {
		t.Fatal(err)
	}
	verifier := newVerifier(t, hasher)
	actions, folder := actionsOf(t), newFiles(t, verifier)
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		c := &chains{rt: rt, stack: newStack(rt, folder, hasher), oracle: newOracle(), actions: actions, seen: seen}
		c.begin(verifier)
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			c.step()
			for i := range c.tokens {
				if c.compare(&c.tokens[i]) {
					seen["with rights, over "+strconv.Itoa(min(c.tokens[i].depth, 4))]++
				}
			}
		}
	})
	t.Log(seen)
	for _, what := range []string{"with rights, over 4", "logged in", "exchanged", "refreshed", "narrowed", "run as by password", "run as by token", "refused by the oracle"} {
		if seen[what] == 0 {
			t.Errorf("nothing was ever %s: the comparison says less than it seems to", what)
		}
	}
}

// actionsOf reads the names of all actions out of the package's own source.
func actionsOf(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	named := regexp.MustCompile(`= +"((?:cluster|indices):[a-z_/]+)"`)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(content), -1) {
			if !strings.HasSuffix(file, "_test.go") && !slices.Contains(names, match[1]) {
				names = append(names, match[1])
			}
		}
	}
	if len(names) < 15 {
		t.Fatalf("found only %v", names)
	}
	return names
}

// minted is a token, or a pair.
type minted struct {
	access, refresh realm.Secret
	owner           fsm.Username
	from            *origin
	depth           int
	client          sender
}

// sender is who sends a request: by password, or by one of the tokens, and as whom.
type sender struct {
	username fsm.Username
	token    *minted
	as       fsm.Username
	from     *origin
	depth    int
}

// chains is one case: what is generated, done, and compared.
type chains struct {
	rt      *rapid.T
	stack   *stack
	oracle  *oracle
	actions []string
	tokens  []minted
	seen    map[string]int // how often what was compared, so that it is not nothing
}

var (
	someNames      = []fsm.Username{"ann", "bob", "fay"} // fay is a user of the file realm
	everyName      = append([]fsm.Username{"root"}, someNames...)
	someRoles      = []fsm.RoleName{"r0", "r1", "r2"}
	somePrivileges = []string{"all", "manage", "manage_saml", "manage_security", "manage_token", "monitor", "none", "read_security"}
	somePatterns   = []string{"*", "ann", "b?b", "/bob|f.*/"}
)

// begin lets there be root, who may do all, ann and bob, who may do something, and fay.
func (c *chains) begin(verifier string) {
	c.putUser("root", verifier, "superuser")
	for _, name := range someRoles {
		c.putRole(name)
	}
	for _, name := range someNames[:2] {
		c.putUser(name, verifier, c.someOf("roles", someRoles)...)
	}
	c.oracle.users["fay"] = &oracleUser{roles: []fsm.RoleName{"r0", "r1"}, enabled: true}
}

func (c *chains) someOf(label string, from []fsm.RoleName) []fsm.RoleName {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, len(from), rapid.ID).Draw(c.rt, label)
}

func (c *chains) putUser(name fsm.Username, verifier string, roles ...fsm.RoleName) {
	c.stack.apply(fsm.PutUser{Username: name, Verifier: verifier, Roles: roles, Enabled: true})
	changes := 0
	if user := c.oracle.users[name]; user != nil {
		changes = user.changes + 1
	}
	c.oracle.users[name] = &oracleUser{roles: roles, enabled: true, changes: changes}
}

func (c *chains) putRole(name fsm.RoleName) {
	pick := func(label string, from []string, most int) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, most, rapid.ID).Draw(c.rt, label)
	}
	role := fsm.Role{Name: name, Cluster: pick("cluster", somePrivileges, 3), RunAs: pick("run_as", somePatterns, 2)}
	c.stack.apply(fsm.PutRole{Role: role})
	c.oracle.roles[name] = role
}

func (c *chains) step() {
	switch rapid.IntRange(0, 19).Draw(c.rt, "step") {
	case 0:
		c.putRole(rapid.SampledFrom(someRoles).Draw(c.rt, "role"))
	case 1:
		name := rapid.SampledFrom(someRoles).Draw(c.rt, "role")
		c.stack.apply(fsm.DeleteRole{Name: name})
		delete(c.oracle.roles, name)
	case 2: // the password stays, and so do the tokens
		c.putUser(rapid.SampledFrom(someNames[:2]).Draw(c.rt, "user"), "", c.someOf("roles", someRoles)...)
	case 3:
		name, enabled := rapid.SampledFrom(someNames[:2]).Draw(c.rt, "user"), rapid.Bool().Draw(c.rt, "enabled")
		c.stack.apply(fsm.SetEnabled{Realm: fsm.RealmNative, Username: name, Enabled: enabled})
		c.oracle.users[name].changes++
		c.oracle.users[name].enabled = enabled
	case 4, 5, 6:
		c.logIn()
	case 7, 8, 9, 10, 11:
		c.refresh()
	default:
		c.exchange()
	}
}

// someScope is none, half the time.
func (c *chains) someScope() []string {
	if rapid.Bool().Draw(c.rt, "no scope") {
		return nil
	}
	if rapid.IntRange(0, 9).Draw(c.rt, "full") == 0 {
		return []string{"full"}
	}
	return rapid.SliceOfN(rapid.SampledFrom(somePrivileges), 1, 3).Draw(c.rt, "scope")
}

// someSender is somebody with a password or a token, perhaps acting as another.
func (c *chains) someSender() sender {
	var s sender
	if len(c.tokens) > 0 && rapid.IntRange(0, 4).Draw(c.rt, "by token") > 0 {
		first := 0
		if rapid.Bool().Draw(c.rt, "young") {
			first = len(c.tokens) - 1
		}
		s.token = &c.tokens[rapid.IntRange(first, len(c.tokens)-1).Draw(c.rt, "token")]
		s.username, s.from, s.depth = s.token.owner, s.token.from, s.token.depth
	} else {
		s.username = rapid.SampledFrom(everyName).Draw(c.rt, "sender")
		s.from = &origin{roles: c.oracle.users[s.username].roles}
	}
	if rapid.IntRange(0, 2).Draw(c.rt, "run as") == 0 {
		s.as = rapid.SampledFrom(everyName).Draw(c.rt, "as")
		s.from = &origin{
			roles: c.oracle.users[s.as].roles, actor: s.from, acts: s.username, as: s.as, since: c.oracle.users[s.username].changes,
		}
	}
	return s
}

// logIn has root, or root as another, obtain a pair for a user.
func (c *chains) logIn() {
	client := sender{username: "root", from: &origin{roles: []fsm.RoleName{"superuser"}}}
	if rapid.IntRange(0, 3).Draw(c.rt, "root as bob") == 0 {
		client.as = "bob"
	}
	owner, scope := rapid.SampledFrom(everyName).Draw(c.rt, "owner"), c.someScope()
	pair, err := c.stack.issue(client, token.IssueRequest{
		GrantType: token.GrantPassword, Username: string(owner), Password: realm.NewSecret(commonPassword), Scope: scope,
	})
	if err != nil {
		return // a user is disabled, or may not
	}
	from := &origin{roles: c.oracle.users[owner].roles, scope: narrowing(scope)}
	c.seen["logged in"]++
	c.add(minted{access: pair.AccessToken, refresh: pair.RefreshToken, owner: owner, from: from, client: client})
}

// exchange has somebody obtain a token for itself, by the API or, with a scope, by the
// use case.
func (c *chains) exchange() {
	s, scope := c.someSender(), c.someScope()
	may := c.oracle.has(s.from, "cluster:admin/xpack/security/token/create")
	if s.as != "" {
		may = may && c.oracle.users[s.as].enabled
	}
	var pair token.Pair
	var err error
	if scope == nil {
		pair, err = c.stack.post(s)
	} else {
		pair, err = c.stack.issue(s, token.IssueRequest{GrantType: token.GrantClientCredentials, Scope: scope})
	}
	if !may {
		c.seen["refused by the oracle"]++
	}
	if err != nil {
		return
	}
	if !may {
		c.rt.Fatalf("%s as %q obtained a token without being allowed to", s.username, s.as)
	}
	owner := s.username
	if s.as != "" {
		owner = s.as
	}
	switch {
	case s.as != "" && s.token != nil:
		c.seen["run as by token"]++
	case s.as != "":
		c.seen["run as by password"]++
	}
	c.seen["exchanged"]++
	c.add(minted{access: pair.AccessToken, owner: owner, from: &origin{parent: s.from, scope: narrowing(scope)}, depth: s.depth + 1})
}

func (c *chains) refresh() {
	pairs := slices.DeleteFunc(slices.Clone(c.tokens), func(m minted) bool { return m.refresh.IsZero() })
	if len(pairs) == 0 {
		return
	}
	first := max(0, len(pairs)-3) // older ones have been refreshed
	of := pairs[rapid.IntRange(first, len(pairs)-1).Draw(c.rt, "pair")]
	scope := c.someScope()
	pair, err := c.stack.refresh(of.client, token.RefreshRequest{Presented: of.refresh, Scope: scope})
	if err != nil {
		return
	}
	if slices.ContainsFunc(c.tokens, func(m minted) bool { return m.access == pair.AccessToken }) {
		return // again, in the window
	}
	c.seen["refreshed"]++
	c.add(minted{
		access: pair.AccessToken, refresh: pair.RefreshToken, owner: of.owner, from: &origin{parent: of.from, scope: narrowing(scope)},
		depth: of.depth + 1, client: of.client,
	})
}

// add remembers a token, which must be no more than what it was made from.
func (c *chains) add(m minted) {
	if m.from.scope != nil {
		c.seen["narrowed"]++
	}
	c.tokens = append(c.tokens, m)
	c.compare(&m)
}

// compare asks what a token may do now, and tells whether it may do anything. Dead, it
// may do nothing; live, it may do what the oracle says and, when nothing of what is
// behind it has changed, no less.
func (c *chains) compare(m *minted) bool {
	caller, err := c.stack.tokens.Authenticate(context.Background(), token.Credentials{Scheme: token.SchemeBearer, Bearer: m.access})
	live, some := err == nil, false
	if live && !c.oracle.lives(m.from) {
		c.rt.Fatalf("%s's token, made over %d others, lives although who acts may not", m.owner, m.depth)
	}
	for _, action := range c.actions {
		want := c.oracle.has(m.from, action)
		got := live
		if got {
			_, refused := c.stack.roles.Authorize(caller.Identity, action)
			got = refused == nil
		}
		if got && !want || live && got != want {
			c.rt.Fatalf("%s's token, made over %d others: %s allowed %v, by what it was made from %v", m.owner, m.depth, action, got, want)
		}
		some = some || got
	}
	c.compareByHTTP(m, live)
	return some
}

// compareByHTTP asks the handlers.
func (c *chains) compareByHTTP(m *minted, live bool) {
	for path, action := range map[string]string{
		"/": "cluster:monitor/main", "/_cluster/health": "cluster:monitor/health", "/_security/user": "cluster:admin/xpack/security/user/get",
		"/_xpack/security/role": "cluster:admin/xpack/security/role/get", "/_security/_authenticate": "",
	} {
		want := http.StatusOK
		switch {
		case !live:
			want = http.StatusUnauthorized
		case action != "" && !c.oracle.has(m.from, action):
			want = http.StatusForbidden
		}
		answer := c.stack.send(http.MethodGet, path, "", sender{token: m})
		if answer.Code != want {
			c.rt.Fatalf("%s's token: GET %s: status %d, want %d: %s", m.owner, path, answer.Code, want, answer.Body)
		}
	}
}
