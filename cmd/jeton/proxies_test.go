package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

const (
	secondUser = "a-long-password"
	// annName is a name that no header can hold.
	annName = "Ann Müller, 50%"
)

// challenge is what a proxy passes on of who is asked for.
const proxyChallenge = `Bearer realm="security", Basic realm="security", charset="UTF-8"`

// nginx, Caddy and HAProxy, configured as docs/behind-a-proxy.md says, let nobody
// through whom the cluster does not know, and tell the application who it is.
func TestProxies(t *testing.T) {
	a := startProxies(t)
	a.enrollUsers(t)
	for _, p := range a.proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Run("identity", func(t *testing.T) { a.tellsIdentity(t, p) })
			t.Run("request", func(t *testing.T) { a.keepsRequest(t, p) })
			t.Run("forged identity", func(t *testing.T) { a.stopsForgery(t, p) })
			t.Run("credentials", func(t *testing.T) { a.stopsStrangers(t, p) })
			t.Run("invalidated", func(t *testing.T) { a.stopsInvalidated(t, p) })
			t.Run("role", func(t *testing.T) { a.stopsWithoutRole(t, p) })
		})
	}
	t.Run("impostors", a.refusesImpostors)
	t.Run("load balancer", a.balances)
	t.Run("a node ends", a.survivesRestart)
	t.Run("the leader is killed", a.survivesKill)
	t.Run("no quorum", a.failsClosed)
}

// enrollUsers makes ann, who has the role that the application is for and all that can
// be known of a user; bob, of whom nothing is known but his password and that role; and
// eve, who has another role.
func (a *proxiedApplication) enrollUsers(t *testing.T) {
	t.Helper()
	for _, put := range [][2]string{
		{"role/app", `{"cluster":["manage_own_api_key"]}`},
		{"user/ann", `{"password":"` + secondUser + `","roles":["app","other, role"],"full_name":"` + annName + `","email":"ann@example.org"}`},
		{"user/bob", `{"password":"` + secondUser + `","roles":["app"]}`},
		{"user/eve", `{"password":"` + secondUser + `","roles":["other"],"full_name":"app","email":"app"}`},
	} {
		_, err := a.nodes[0].want(http.StatusOK, http.MethodPut, "/_security/"+put[0], a.elastic, put[1])
		must(t, err)
	}
}

// login returns a pair for a user, from any node.
func (a *proxiedApplication) login(t *testing.T, user string) e2ePair {
	t.Helper()
	pair, err := a.nodes[1].token(a.elastic, asPassword(user, secondUser))
	must(t, err)
	return pair
}

func authorizationOf(pair e2ePair) string { return "Authorization: " + bearer(pair.Access) }

// shown are the headers about the user that got to the application, whatever their
// spelling; to many applications - and _ are the same.
func (e *echoed) shown() map[string][]string {
	shown := map[string][]string{}
	for name, lines := range e.Header {
		plain := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if strings.HasPrefix(plain, "x-auth") {
			shown[plain] = append(shown[plain], lines...)
		}
	}
	return shown
}

var (
	annShown = map[string][]string{
		"x-auth-user": {"ann"}, "x-auth-roles": {"app,other%2C role"}, "x-auth-realm": {"default_native"},
		"x-auth-email": {"ann@example.org"}, "x-auth-full-name": {"Ann M%C3%BCller, 50%25"},
	}
	bobShown = map[string][]string{"x-auth-user": {"bob"}, "x-auth-roles": {"app"}, "x-auth-realm": {"default_native"}}
)

// sees wants the request to get to the application as this user's.
func (p *runningProxy) sees(want map[string][]string, header ...string) error {
	answer, err := p.get("/", header...)
	if err != nil {
		return err
	}
	return answer.sees(want)
}

func (a proxyAnswer) sees(want map[string][]string) error {
	if a.seen == nil {
		return fmt.Errorf("stopped: %v", a)
	}
	got := a.seen.shown()
	for name, lines := range got {
		if len(lines) == 1 && lines[0] == "" {
			delete(got, name) // the same as none; what is empty must not be somebody's
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return errors.New("the application is told (-want +got):\n" + diff)
	}
	if lines := a.seen.Header["Authorization"]; lines != nil {
		return errors.New("the application gets the credentials")
	}
	return nil
}

func (a *proxiedApplication) tellsIdentity(t *testing.T, p *runningProxy) {
	ann := a.login(t, "ann")
	must(t, p.sees(annShown, authorizationOf(ann)))
	must(t, p.sees(annShown, "authorization: bearer "+ann.Access))
	must(t, p.sees(annShown, "Authorization: "+basic("ann", secondUser)))
	must(t, p.sees(bobShown, authorizationOf(a.login(t, "bob"))))
	if name, err := url.PathUnescape(annShown["x-auth-full-name"][0]); err != nil || name != annName {
		t.Errorf("%q %v", name, err)
	}
	narrow, err := a.nodes[0].ask(http.MethodPost, "/oauth2/token", a.elastic,
		`{"grant_type":"password","username":"ann","password":"`+secondUser+`","scope":"manage_own_api_key"}`)
	must(t, err)
	var pair e2ePair
	must(t, json.Unmarshal([]byte(narrow.body), &pair))
	if answer, err := p.get("/", authorizationOf(pair)); err != nil || answer.status != http.StatusForbidden {
		t.Errorf("narrowed token, whose roles are not to be trusted: %v %v, %v", answer, err, narrow)
	}
}

// keepsRequest: what is asked of the application is its own business.
func (a *proxiedApplication) keepsRequest(t *testing.T, p *runningProxy) {
	ann := authorizationOf(a.login(t, "ann"))
	const target = "/edit/x%2Fy?role=nobody&privilege=x&roles=&q=%zz"
	body := strings.Repeat("a body, ", 20_000)
	header := []string{
		ann, "Accept: application/vnd.elasticsearch+json;compatible-with=5", "Content-Type: text/x-unknown",
	}
	// More than Jeton reads; of HAProxy's own buffer it is half.
	for range map[string]int{"nginx": 4, "Caddy": 4, "HAProxy": 1}[p.name] {
		header = append(header, "Cookie: large="+strings.Repeat("x", 7000))
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		want := echoed{Method: method, Target: target}
		if method == "POST" || method == "PUT" {
			want.Body = body
		}
		answer, err := p.send(method, target, want.Body, header...)
		must(t, err)
		must(t, answer.sees(annShown))
		answer.seen.Header = nil
		if diff := cmp.Diff(want, *answer.seen); diff != "" {
			t.Errorf("the application gets (-want +got):\n%.1000s", diff)
		}
	}
}

// stopsForgery: what a client says of itself is dropped, in whatever spelling and
// wherever it is, and also where the user has nothing to put in its place.
func (a *proxiedApplication) stopsForgery(t *testing.T, p *runningProxy) {
	bob := authorizationOf(a.login(t, "bob"))
	forged := [][]string{
		{"X-Auth-User: root"},
		{"x-auth-user: root"},
		{"X-AUTH-USER: root"},
		{"X_Auth_User: root"},
		{"x_auth_user: root"},
		{"X-Auth_User: root"},
		{"X_AUTH-USER: root"},
		{"X-Auth-User: root", "X-Auth-User: root"},
		{"X-Auth-User: bob", "X-Auth-User: root"},
		{"X-Auth-User:"},
		{"X-Auth-User: "},
		{"X-Auth-User: root", "x-auth-roles: superuser", "X-Auth-Realm: reserved", "X-Auth-Email: root@example.org", "X-Auth-Full-Name: Root", "X-Auth-Scope: all"},
		{"X-Auth-Roles: app", "X-Auth-Roles: superuser"},
		{"X_Auth_Email: root@example.org", "X-Auth-Full_Name: Root"},
		{"Connection: X-Auth-User"},
		{"Connection: close, X-Auth-User, X-Auth-Roles", "X-Auth-User: root"},
	}
	for _, header := range forged {
		for _, lines := range [][]string{append([]string{bob}, header...), append(slices.Clone(header), bob)} {
			answer, err := p.get("/", lines...)
			if err == nil && answer.status != http.StatusBadRequest { // a proxy may refuse what is odd
				err = answer.sees(bobShown)
			}
			if err != nil {
				t.Errorf("%q: %v", header, err)
			}
		}
		answer, err := p.get("/", header...)
		if err != nil || answer.status != http.StatusUnauthorized && answer.status != http.StatusBadRequest {
			t.Errorf("%q, no credentials: %v %v", header, answer, err)
		}
	}
}

// refuses wants a request stopped, with a challenge that says what is wanted.
func (p *runningProxy) refuses(challenge string, header ...string) error {
	answer, err := p.get("/", header...)
	if err != nil {
		return err
	}
	if answer.status != http.StatusUnauthorized {
		return fmt.Errorf("%q: %v", header, answer)
	}
	if got := answer.header["Www-Authenticate"]; len(got) != 1 || got[0] != challenge {
		return fmt.Errorf("%q: challenges %q, want %q", header, got, challenge)
	}
	return nil
}

func (a *proxiedApplication) stopsStrangers(t *testing.T, p *runningProxy) {
	ann, bob := a.login(t, "ann"), a.login(t, "bob")
	for _, header := range [][]string{
		{},
		{"Authorization: Bearer " + ann.Refresh},
		{"Authorization: Bearer " + ann.Access + "x"},
		{"Authorization: Bearer"},
		{"Authorization: Negotiate abc"},
		{"Authorization: ApiKey abc"},
		{"Authorization: " + basic("ann", "wrong")},
		{"Authorization: Basic ???"},
		{"Cookie: access_token=" + ann.Access},
		{"X-Forwarded-User: ann"},
	} {
		if err := p.refuses(proxyChallenge, header...); err != nil {
			t.Error(err)
		}
	}
	for _, header := range [][]string{
		{authorizationOf(ann), authorizationOf(bob)},
		{authorizationOf(ann), "Authorization: " + basic("elastic", a.password)},
	} {
		// Two senders: a proxy may take the first for good, but none may mix them.
		answer, err := p.get("/", header...)
		if err == nil && answer.status == http.StatusOK {
			err = answer.sees(annShown)
		}
		if err != nil || answer.status >= http.StatusInternalServerError {
			t.Errorf("two credentials: %v %v", answer, err)
		}
	}
}

// stopsInvalidated: what is acknowledged by one node is known to whichever the proxy asks
// next.
func (a *proxiedApplication) stopsInvalidated(t *testing.T, p *runningProxy) {
	const expired = `Bearer realm="security", error="invalid_token", error_description="The access token expired"`
	for i := range 12 {
		pair := a.login(t, "bob")
		must(t, p.sees(bobShown, authorizationOf(pair)))
		must(t, a.node(i).invalidate(a.elastic, pair))
		must(t, p.refuses(expired, authorizationOf(pair)))
	}
}

func (a *proxiedApplication) stopsWithoutRole(t *testing.T, p *runningProxy) {
	eve := authorizationOf(a.login(t, "eve"))
	for _, target := range []string{"/", "/?role=other", "/?role=app", "/x?privilege=none&role=other"} {
		if answer, err := p.get(target, eve); err != nil || answer.status != http.StatusForbidden {
			t.Errorf("%s: %v %v", target, answer, err)
		}
	}
}

// refusesImpostors: a node whose certificate is of another authority, or for another
// name, is not asked.
func (a *proxiedApplication) refusesImpostors(t *testing.T) {
	pair := a.login(t, "bob")
	var group errgroup.Group
	for _, expected := range []trust{
		{filepath.Join(a.dir, "certs", "transport-ca.crt"), "localhost"}, {a.cacert, "jeton.example.org"},
	} {
		for _, program := range proxyPrograms {
			p := a.startProxy(t, program, expected)
			until(t, p.name+" listens", func() error {
				conn, err := net.Dial("tcp", p.address)
				if err == nil {
					err = conn.Close()
				}
				return err
			})
			group.Go(func() error { return p.undecided(authorizationOf(pair)) })
		}
	}
	must(t, group.Wait())
}

// undecided wants the request stopped because Jeton cannot be asked, and nobody blamed.
// Caddy says 502 if the last node it tried was not there, which clients repeat, too.
func (p *runningProxy) undecided(header ...string) error {
	answer, err := p.get("/", header...)
	if err == nil && answer.status != http.StatusServiceUnavailable && (p.name != "Caddy" || answer.status != http.StatusBadGateway) {
		err = fmt.Errorf("want 503: %v", answer)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// balances: HAProxy is a load balancer for clients of Jeton, too.
func (a *proxiedApplication) balances(t *testing.T) {
	n := a.balanced(t)
	for range 12 {
		pair, err := n.token(a.elastic, asPassword("ann", secondUser))
		must(t, err)
		must(t, n.accepts(bearer(pair.Access)))
		must(t, n.invalidate(a.elastic, pair))
		must(t, n.refuses(bearer(pair.Access)))
	}
}

// balanced is the cluster as one node.
func (a *proxiedApplication) balanced(t *testing.T) *e2eNode {
	t.Helper()
	_, port, _ := strings.Cut(a.proxies[len(a.proxies)-1].balancer, ":")
	return &e2eNode{Name: "load balancer", URL: "https://localhost:" + port, client: trusting(t, a.cacert)}
}

// meanwhile has a user of every proxy, and of the load balancer, go on from before
// something happens until after. No request may fail.
func (a *proxiedApplication) meanwhile(t *testing.T, happens func()) {
	t.Helper()
	const before, after = 10, 10
	pair := a.login(t, "bob")
	over := make(chan struct{})
	var users errgroup.Group
	var begun sync.WaitGroup
	use := func(name string, request func() error) {
		begun.Add(1)
		users.Go(func() error {
			started := sync.OnceFunc(begun.Done)
			defer started()
			var slowest time.Duration
			for requests, left := 0, after; left > 0; requests++ {
				began := time.Now()
				if err := request(); err != nil {
					return fmt.Errorf("%s, after %v and %d good requests: %w", name, time.Since(began), requests, err)
				}
				slowest = max(slowest, time.Since(began))
				if requests == before {
					started()
				}
				select {
				case <-over:
					left--
				default:
				}
			}
			t.Logf("%s: the slowest request took %v", name, slowest)
			return nil
		})
	}
	for _, p := range a.proxies {
		use(p.name, func() error { return p.sees(bobShown, authorizationOf(pair)) })
	}
	balanced := a.balanced(t)
	use(balanced.Name, func() error { return balanced.accepts(bearer(pair.Access)) })
	begun.Wait()
	happens()
	close(over)
	must(t, users.Wait())
}

// survivesRestart: nobody notices that a node is stopped in order and comes back.
func (a *proxiedApplication) survivesRestart(t *testing.T) {
	a.meanwhile(t, func() {
		n := a.leader(t)
		n.down.Store(true)
		n.signal(t, syscall.SIGTERM)
		n.gone(t)
		bringBack(t, n)
	})
}

// survivesKill: nobody notices more than a pause.
func (a *proxiedApplication) survivesKill(t *testing.T) {
	var killed *e2eNode
	a.meanwhile(t, func() {
		killed = a.leader(t)
		killed.kill(t)
		a.leader(t) // another one
	})
	bringBack(t, killed)
}

// failsClosed: a cluster that cannot know lets nobody through, and blames nobody.
func (a *proxiedApplication) failsClosed(t *testing.T) {
	pair := a.login(t, "bob")
	lost := []*e2eNode{a.nodes[0], a.nodes[2]}
	for _, n := range lost {
		n.kill(t)
	}
	everywhere := func() {
		t.Helper()
		var group errgroup.Group
		for _, p := range a.proxies {
			group.Go(func() error { return p.undecided(authorizationOf(pair)) })
		}
		must(t, group.Wait())
	}
	everywhere() // no quorum
	a.nodes[1].kill(t)
	everywhere() // nobody there
	bringBack(t, a.nodes...)
	until(t, "the proxies have noticed", func() error {
		var errs []error
		for _, p := range a.proxies {
			errs = append(errs, p.sees(bobShown, authorizationOf(pair)))
		}
		return errors.Join(errs...)
	})
}
