package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	by := func(c Refresh, client Client) Refresh { c.Client = client; return c }
	window := func(c Refresh, ms int64) Refresh { c.Window = ms; return c }
	keep := func(c Refresh) Refresh { c.KeepFamily = true; return c }
	cases := map[string][]step{
		"unknown token":            {{0, refreshOf(9, 2), refused(UnknownToken)}},
		"access token as refresh":  {{0, Refresh{Presented: Digest{1, 'a'}, Client: kibana, Salt: Salt{2}, Access: Digest{2, 'a'}, Refresh: Digest{2, 'r'}}, refused(UnknownToken)}},
		"in its last moment":       {{24 * hour, refreshOf(1, 2), saltOf(2)}},
		"expired":                  {{24*hour + 1, refreshOf(1, 2), refused(RefreshExpired)}},
		"expired before all else":  {{24*hour + 1, by(refreshOf(1, 2), stranger), refused(RefreshExpired)}},
		"invalidated":              {{0, Invalidate{Refresh: Digest{1, 'r'}}, counts(1, 0)}, {0, by(refreshOf(1, 2), stranger), refused(TokenInvalidated)}},
		"access token invalidated": {{0, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)}, {0, refreshOf(1, 2), saltOf(2)}},
		"access token expired":     {{hour, refreshOf(1, 2), saltOf(2)}},
		"other client, nothing consumed": {
			{0, by(refreshOf(1, 2), stranger), refused(NotCreatingClient)},
			{0, refreshOf(1, 3), saltOf(3)},
		},
		"other client, used token": {
			{0, refreshOf(1, 2), saltOf(2)},
			{0, by(refreshOf(1, 3), stranger), refused(NotCreatingClient)},
		},
		"successor digest taken, nothing consumed": {
			{0, pairOf(2), Outcome{}},
			{0, refreshOf(1, 2), refused(DigestTaken)},
			{0, refreshOf(1, 3), saltOf(3)},
		},
		"repeated to the last moment of the window": {
			{0, refreshOf(1, 2), saltOf(2)},
			{0, refreshOf(1, 3), saltOf(2)},
			{30_000, refreshOf(1, 4), saltOf(2)},
		},
		"repeated after the window": {
			{0, refreshOf(1, 2), saltOf(2)},
			{30_001, refreshOf(1, 3), Outcome{Reason: Reused, Invalidated: 4}},
			{0, refreshOf(1, 3), refused(TokenInvalidated)},
			{0, refreshOf(2, 3), refused(TokenInvalidated)},
		},
		"repeated after the window, family kept": {
			{0, refreshOf(1, 2), saltOf(2)},
			{30_001, keep(refreshOf(1, 3)), refused(Reused)},
			{0, refreshOf(2, 3), saltOf(3)},
		},
		"window of the one who repeats": {
			{0, window(refreshOf(1, 2), 0), saltOf(2)},
			{MaxRefreshWindow, window(refreshOf(1, 3), MaxRefreshWindow), saltOf(2)},
			{1, window(keep(refreshOf(1, 3)), MaxRefreshWindow), refused(Reused)},
		},
		"repeated when the successor is dead": {
			{0, refreshOf(1, 2), saltOf(2)},
			{0, Invalidate{Refresh: Digest{2, 'r'}}, counts(1, 0)},
			{0, refreshOf(1, 3), saltOf(2)},
		},
		"reuse reaches both ways": {
			{0, refreshOf(1, 2), saltOf(2)},
			{minute, refreshOf(2, 3), saltOf(3)},
			{minute, refreshOf(3, 4), saltOf(4)},
			{0, Invalidate{Access: Digest{4, 'a'}}, counts(1, 0)},
			{0, refreshOf(2, 5), Outcome{Reason: Reused, Invalidated: 7, PreviouslyInvalidated: 1}},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.play(step{0, pairOf(1), Outcome{}})
			s.play(steps...)
		})
	}
}

func TestRefreshInheritsAndRenews(t *testing.T) {
	t.Parallel()
	first := pairOf(1)
	first.SessionLifetime = int64(30 * hour)
	renamed := kibana
	renamed.Realm.Name = "reserved_2"
	next := refreshOf(1, 2)
	next.Client = renamed
	s := newStory(t)
	s.play(step{0, first, Outcome{}}, step{10 * hour, next, saltOf(2)})
	s.wantLive("1r 2a 2r", 1, 2)
	got, _ := s.state.token(s.state.pairs.byRefresh(Digest{2, 'r'}))
	want := Token{
		Identity: &first.Identity, Client: &renamed, CreatedAt: start + 10*hour,
		AccessExpiresAt:  start + 10*hour + 20*minute,
		RefreshExpiresAt: start + 30*hour, // the session ends before the day is over
		SessionEndsAt:    start + 30*hour,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("successor (-want +got):\n%s", d)
	}
	s.at = start + 30*hour + 1
	s.play(step{0, refreshOf(2, 3), refused(RefreshExpired)})
}

func TestSameClient(t *testing.T) {
	t.Parallel()
	p := func(username Username, name RealmName, kind string) Principal {
		return Principal{username, Realm{name, kind}}
	}
	cases := map[string]struct {
		a, b Principal
		want bool
	}{
		"same":                {p("u", "n", "native"), p("u", "n", "native"), true},
		"native realm named":  {p("u", "n", "native"), p("u", "m", "native"), true},
		"file realm named":    {p("u", "n", "file"), p("u", "m", "file"), true},
		"one of two ldap":     {p("u", "n", "ldap"), p("u", "m", "ldap"), false},
		"the same ldap":       {p("u", "n", "ldap"), p("u", "n", "ldap"), true},
		"another user":        {p("u", "n", "native"), p("v", "n", "native"), false},
		"another type":        {p("u", "n", "native"), p("u", "n", "file"), false},
		"no realm whatsoever": {p("u", "", ""), p("u", "", ""), true},
	}
	proxy := p("proxy", "n", "native")
	for name, c := range cases {
		for _, clients := range [][2]Client{
			{{Principal: c.a}, {Principal: c.b}},
			{{Principal: c.a, RunBy: proxy}, {Principal: c.b, RunBy: proxy}},
			{{Principal: proxy, RunBy: c.a}, {Principal: proxy, RunBy: c.b}},
		} {
			if got := sameClient(clients[0], clients[1]); got != c.want {
				t.Errorf("%s: want %v, got %v for %v", name, c.want, got, clients)
			}
		}
		itself, acted := Client{Principal: c.a}, Client{Principal: c.a, RunBy: c.a}
		if sameClient(itself, acted) && name != "no realm whatsoever" {
			t.Errorf("%s: a user is the same as one who acts as it", name)
		}
	}
}

// TestRefreshNarrows: the successor has the scope that was asked for, and the
// identity otherwise; a repetition changes nothing of it.
func TestRefreshNarrows(t *testing.T) {
	t.Parallel()
	narrow := refreshOf(1, 2)
	narrow.Scope = []string{"monitor"}
	again := refreshOf(1, 3)
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}}, step{0, narrow, saltOf(2)}, step{0, again, saltOf(2)},
		step{0, refreshOf(2, 4), saltOf(4)},
	)
	for n, want := range map[byte][]string{1: nil, 2: {"monitor"}, 4: {"monitor"}} {
		got, ok := s.state.token(s.state.pairs.byAccess(Digest{n, 'a'}))
		identity := pairOf(1).Identity
		identity.Scope = want
		if d := cmp.Diff(&identity, got.Identity); !ok || d != "" {
			t.Errorf("pair %d (-want +got):\n%s", n, d)
		}
	}
	if used := s.state.pairs.holders.held.used; used != 2 {
		t.Errorf("%d holders of two scopes", used)
	}
}
