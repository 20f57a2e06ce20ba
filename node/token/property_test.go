package token_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// A fate is what is known of one token.
type fate int

const (
	alive fate = iota
	maybe      // an answer was lost, or never told
	dead
)

// modelPair is a pair as a client knows it.
type modelPair struct {
	pair            token.Pair
	user            string
	family          int
	accessExpires   time.Time
	refreshExpires  time.Time
	access, refresh fate
	consumedAt      time.Time // zero: not consumed
	successor       *token.Pair
}

// model holds what clients were promised, and compares what nodes answer.
type model struct {
	clock    *clock
	cluster  *testCluster
	pairs    []*modelPair
	families int
	// password is the present one of each user, former the ones before it.
	password map[string]string
	former   []token.Credentials
}

var modelUsers = []string{"ann", "bob"}

func newModel(t *testing.T) *model {
	t.Helper()
	m := &model{clock: newClock(), password: map[string]string{}}
	m.cluster = newCluster(t, 3, m.clock.now, nil)
	for _, user := range modelUsers {
		m.password[user] = user
		m.cluster.putUser(fsm.Username(user), user)
	}
	return m
}

func (m *model) node(t *rapid.T) *testNode {
	return m.cluster.nodes[rapid.IntRange(0, len(m.cluster.nodes)-1).Draw(t, "node")]
}

func (m *model) pair(t *rapid.T) *modelPair {
	if len(m.pairs) == 0 {
		t.Skip("no pair yet")
	}
	// The newest matter most.
	back := rapid.IntRange(0, min(len(m.pairs), 5)-1).Draw(t, "back")
	return m.pairs[len(m.pairs)-1-back]
}

func (m *model) add(p token.Pair, user string, family int, issued time.Time, f fate) {
	m.pairs = append(m.pairs, &modelPair{
		pair: p, user: user, family: family, access: f, refresh: f,
		accessExpires: issued.Add(accessLifetime), refreshExpires: issued.Add(refreshLifetime),
	})
}

// caller logs a user in, or shows one of the user's tokens.
func (m *model) caller(t *rapid.T, n *testNode, user string) token.Caller {
	credentials := basic(user, m.password[user])
	if len(m.pairs) > 0 && rapid.Bool().Draw(t, "with a token") {
		if p := m.pair(t); p.user == user && p.access == alive && !m.clock.now().After(p.accessExpires) {
			credentials = bearer(p.pair.AccessToken)
		}
	}
	caller, err := n.AuthenticateForWrite(t.Context(), credentials)
	if err != nil {
		t.Fatalf("authenticate %s (%s): %v", user, credentials.Scheme, err)
	}
	return caller
}

// revoked: credentials that were revoked get no answer, and no write takes effect.
func (m *model) revoked(t *rapid.T) {
	revoked := slices.Clone(m.former)
	for _, p := range m.pairs {
		if p.access == dead {
			revoked = append(revoked, bearer(p.pair.AccessToken))
		}
	}
	if len(revoked) == 0 {
		t.Skip("nothing revoked yet")
	}
	n, c := m.node(t), rapid.SampledFrom(revoked).Draw(t, "credentials")
	caller, err := n.AuthenticateForWrite(t.Context(), c)
	if err == nil {
		_, err = n.Issue(t.Context(), caller, token.IssueRequest{GrantType: token.GrantClientCredentials})
	}
	refused := func(err error) bool {
		return errors.Is(err, token.ErrExpired) || errors.Is(err, realm.ErrBadCredentials)
	}
	if !refused(err) && !errors.Is(err, token.ErrStale) {
		t.Fatalf("P3: a write: %v", err)
	}
	if c.Scheme == token.SchemeBasic {
		user := rapid.SampledFrom(modelUsers).Draw(t, "client")
		if _, err := n.Issue(t.Context(), m.caller(t, n, user), passwordGrant(c.Username, c.Password.Expose())); !refused(err) && !errors.Is(err, token.ErrStale) {
			t.Fatalf("P3: password grant: %v", err)
		}
	}
	if _, err := n.Authenticate(t.Context(), c); !refused(err) {
		t.Fatalf("P3: an answer: %v", err)
	}
}

func (m *model) changePassword(t *rapid.T) {
	user := rapid.SampledFrom(modelUsers).Draw(t, "user")
	m.former = append(m.former, basic(user, m.password[user]))
	m.password[user] = fmt.Sprintf("%s-%d", user, len(m.former))
	m.cluster.putUser(fsm.Username(user), m.password[user])
	for _, p := range m.pairs {
		if p.user == user {
			p.access, p.refresh = dead, dead
		}
	}
}

// lose makes the next proposal's answer get lost, before or after it took effect.
func (m *model) lose(t *rapid.T, n *testNode) (applied func() bool) {
	if !rapid.Bool().Draw(t, "lose the answer") {
		return nil
	}
	takesEffect := rapid.Bool().Draw(t, "after it took effect")
	done := false
	n.proposeFault = func(apply func() (fsm.Outcome, error)) (fsm.Outcome, error) {
		n.proposeFault = nil
		if takesEffect {
			outcome, err := apply()
			done = err == nil && outcome.Reason == fsm.Done
		}
		return fsm.Outcome{}, realm.ErrUnavailable
	}
	return func() bool { n.proposeFault = nil; return done }
}

func (m *model) issue(t *rapid.T) {
	n, user := m.node(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
	pair, err := n.Issue(t.Context(), m.caller(t, n, user), passwordGrant(user, m.password[user]))
	if err != nil {
		t.Fatalf("issue: %v", err)
	}
	m.families++
	m.add(pair, user, m.families, m.clock.now(), alive)
}

func (m *model) authenticate(t *rapid.T) {
	n, p := m.node(t), m.pair(t)
	caller, err := n.Authenticate(t.Context(), bearer(p.pair.AccessToken))
	switch over := p.access == dead || m.clock.now().After(p.accessExpires); {
	case over && !errors.Is(err, token.ErrExpired):
		t.Fatalf("P3: a dead token: %v", err)
	case !over && p.access == alive && err != nil:
		t.Fatalf("P4: a live token: %v", err)
	case err == nil && string(caller.Identity.Username) != p.user:
		t.Fatalf("a token of %s speaks for %s", p.user, caller.Identity.Username)
	case err != nil && !errors.Is(err, token.ErrExpired):
		t.Fatalf("a known token: %v", err)
	}
}

func (m *model) refreshToken(t *rapid.T) { m.refreshPair(t, m.pair(t)) }

// repeatRefresh shows a token again, as one does whose answer was lost.
func (m *model) repeatRefresh(t *rapid.T) {
	for _, p := range slices.Backward(m.pairs) {
		if !p.consumedAt.IsZero() {
			m.refreshPair(t, p)
			return
		}
	}
	t.Skip("nothing refreshed yet")
}

func (m *model) refreshPair(t *rapid.T, p *modelPair) {
	n := m.node(t)
	caller := m.caller(t, n, p.user)
	applied := m.lose(t, n)
	got, err := n.Refresh(t.Context(), caller, token.RefreshRequest{Presented: p.pair.RefreshToken})
	now := m.clock.now()
	late := !p.consumedAt.IsZero() && now.After(p.consumedAt.Add(refreshWindow))
	over := p.refresh == dead || now.After(p.refreshExpires)

	if applied != nil && errors.Is(err, token.ErrUnavailable) {
		if applied() && p.consumedAt.IsZero() {
			p.consumedAt = now
		}
		if late {
			m.endFamily(p.family, maybe)
		}
		return
	}
	switch {
	case over || late:
		if reasonOf(err) == fsm.Done {
			t.Fatalf("a refresh token that is over: %v", err)
		}
		if late && !over {
			m.reused(p, err)
		}
	case err != nil && p.refresh == alive:
		t.Fatalf("a live refresh token: %v", err)
	case err == nil:
		m.refreshed(t, p, got)
	}
}

// reused: the state machine saw a token again after its window.
func (m *model) reused(p *modelPair, err error) {
	f := maybe
	if reasonOf(err) == fsm.Reused {
		f = dead
	}
	m.endFamily(p.family, f)
}

func (m *model) refreshed(t *rapid.T, p *modelPair, got token.Pair) {
	if p.successor != nil {
		if diff := diffPairs(*p.successor, got); diff != "" {
			t.Fatalf("P2, P5: another successor: -first +now\n%s", diff)
		}
		return
	}
	issued, f := p.consumedAt, maybe // its first answer was lost: much may have happened to it
	if issued.IsZero() {
		issued, f = m.clock.now(), p.refresh
		p.consumedAt = issued
	}
	p.successor = &got
	m.add(got, p.user, p.family, issued, f)
}

func (m *model) endFamily(family int, f fate) {
	for _, p := range m.pairs {
		if p.family == family {
			p.access, p.refresh = max(p.access, f), max(p.refresh, f)
		}
	}
}

func (m *model) invalidate(t *rapid.T) {
	n, p := m.node(t), m.pair(t)
	var hit []*fate
	var r token.InvalidateRequest
	by := "ann"
	also := func(is func(*modelPair) bool) {
		for _, p := range m.pairs {
			if is(p) {
				hit = append(hit, &p.access, &p.refresh)
			}
		}
	}
	switch rapid.SampledFrom([]string{"access", "refresh", "pair", "family", "user", "owner", "all", "all that is old"}).Draw(t, "by") {
	case "access":
		r.Token, hit = p.pair.AccessToken, []*fate{&p.access}
	case "refresh":
		r.RefreshToken, hit = p.pair.RefreshToken, []*fate{&p.refresh}
	case "pair":
		by, r.OwnOnly = p.user, true
		r.Token, r.Reach, hit = p.pair.AccessToken, fsm.ReachPair, []*fate{&p.access, &p.refresh}
	case "family":
		r.RefreshToken, r.Reach = p.pair.RefreshToken, fsm.ReachFamily
		also(func(other *modelPair) bool { return other.family == p.family })
	case "user":
		r.Username = fsm.Username(p.user)
		also(func(other *modelPair) bool { return other.user == p.user })
	case "owner":
		by, r.Owner = p.user, true
		also(func(other *modelPair) bool { return other.user == p.user })
	case "all":
		r.All = true
		also(func(*modelPair) bool { return true })
	case "all that is old":
		r.All, r.CreatedBefore = true, m.clock.now().Add(-refreshWindow)
		also(func(other *modelPair) bool {
			return other.accessExpires.Add(-accessLifetime).Before(r.CreatedBefore)
		})
	}
	caller := m.caller(t, n, by)
	applied := m.lose(t, n)
	_, err := n.Invalidate(t.Context(), caller, r)
	f := dead
	switch {
	case applied != nil && errors.Is(err, token.ErrUnavailable):
		f = maybe
	case err != nil:
		t.Fatalf("invalidate: %v", err)
	}
	for _, h := range hit {
		*h = max(*h, f)
	}
}

func (m *model) wait(t *rapid.T) {
	m.clock.advance(rapid.SampledFrom([]time.Duration{
		time.Millisecond, refreshWindow / 2, refreshWindow, refreshWindow + time.Millisecond, accessLifetime,
	}).Draw(t, "for"))
}

// TestPromises runs random requests against nodes that are late, and whose
// answers get lost, and holds what they say against P2, P3, P4 and P5.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t)
		rt.Repeat(map[string]func(*rapid.T){
			"issue":            m.issue,
			"authenticate":     m.authenticate,
			"refresh":          m.refreshToken,
			"invalidate":       m.invalidate,
			"wait":             m.wait,
			"repeat a refresh": m.repeatRefresh,
			"revoked":          m.revoked,
			"change password":  m.changePassword,
			"catch up":         func(t *rapid.T) { m.node(t).catchUp() },
		})
	})
}
