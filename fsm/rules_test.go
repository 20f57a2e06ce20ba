package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	start  UnixMilli = 1_700_000_000_000
	minute UnixMilli = 60_000
	hour             = 60 * minute
)

var (
	ada      = Principal{"ada", Realm{RealmNative, "native"}}
	kibana   = Client{Principal: Principal{"kibana", Realm{RealmReserved, "reserved"}}}
	stranger = Client{Principal: Principal{"stranger", Realm{RealmNative, "native"}}}
)

// step is a command, how long after the one before it comes, and what it must answer.
type step struct {
	after UnixMilli
	do    Command
	want  Outcome
}

// story is a state with a script. Operations are numbered as they come.
type story struct {
	t     *testing.T
	state *State
	at    UnixMilli
	index uint64
}

func newStory(t *testing.T) *story { return &story{t: t, state: newState(), at: start} }

func (s *story) play(steps ...step) {
	s.t.Helper()
	for i, step := range steps {
		s.at += step.after
		if d := cmp.Diff(step.want, s.apply(step.do)); d != "" {
			s.t.Errorf("step %d, %T (-want +got):\n%s", i, step.do, d)
		}
	}
}

func (s *story) apply(c Command) Outcome {
	s.t.Helper()
	s.index++
	raw := AppendCommand(nil, c)
	OperationID{0: 0xff, 1: byte(s.index >> 8), 2: byte(s.index)}.Name(raw)
	e, err := decodeEntry(AppendEntry(nil, s.at, [][]byte{raw}))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.state.apply(s.index, e)[0]
}

// pairOf is the Issue of ada's n-th pair, obtained by kibana: 20 minutes, and a day.
func pairOf(n byte) Issue {
	return Issue{
		Access: Digest{n, 'a'}, Refresh: Digest{n, 'r'},
		Identity: Identity{Principal: ada, Roles: []RoleName{"superuser"}}, Client: kibana,
		AccessLifetime: int64(20 * minute), RefreshLifetime: int64(24 * hour),
	}
}

// refreshOf consumes pair n and adds pair next.
func refreshOf(n, next byte) Refresh {
	return Refresh{
		Presented: Digest{n, 'r'}, Client: kibana, Salt: Salt{next},
		Access: Digest{next, 'a'}, Refresh: Digest{next, 'r'},
		AccessLifetime: int64(20 * minute), RefreshLifetime: int64(24 * hour), Window: 30_000,
	}
}

func saltOf(next byte) Outcome { return Outcome{Salt: Salt{next}} }
func refused(r Reason) Outcome { return Outcome{Reason: r} }
func counts(now, before uint32) Outcome {
	return Outcome{Invalidated: now, PreviouslyInvalidated: before}
}

// live returns which of the pairs' tokens could be used now, such as "1a 1r".
func (s *story) live(pairs ...byte) string {
	text := ""
	add := func(n byte, part string) {
		if text != "" {
			text += " "
		}
		text += string('0'+rune(n)) + part
	}
	for _, n := range pairs {
		if r := s.state.pairs.byAccess(Digest{n, 'a'}); r != 0 && s.state.pairs.accessLive(s.state.pairs.at(r), s.at) {
			add(n, "a")
		}
		if r := s.state.pairs.byRefresh(Digest{n, 'r'}); r != 0 && s.state.pairs.at(r).refreshLive(s.at) {
			add(n, "r")
		}
	}
	return text
}

func (s *story) wantLive(want string, pairs ...byte) {
	s.t.Helper()
	if got := s.live(pairs...); got != want {
		s.t.Errorf("live tokens: want %q, got %q", want, got)
	}
}

func TestInitialize(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.play(
		step{0, Initialize{ClusterID: [16]byte{1}, KeyCheck: [32]byte{2}}, Outcome{}},
		step{0, Initialize{ClusterID: [16]byte{3}, KeyCheck: [32]byte{4}}, refused(AlreadySet)},
	)
	if s.state.clusterID != [16]byte{1} || s.state.keyCheck != [32]byte{2} {
		t.Error("the first one did not count")
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	guarded := func(g Guard) Command { return DeleteRole{Header{Guard: g}, "none"} }
	file := Principal{"ada", Realm{"default_file", "file"}}
	cases := map[string]struct {
		guard Guard
		want  Outcome
	}{
		"asks for nothing":              {Guard{}, Outcome{}},
		"caller unchanged":              {Guard{Caller: ada, CallerGeneration: 1}, Outcome{}},
		"caller changed":                {Guard{Caller: ada, CallerGeneration: 9}, refused(StaleDecision)},
		"caller disabled":               {Guard{Caller: Principal{"off", ada.Realm}, CallerGeneration: 2}, refused(StaleDecision)},
		"caller unknown":                {Guard{Caller: stranger.Principal, CallerGeneration: 1}, refused(StaleDecision)},
		"caller of another realm":       {Guard{Caller: file, CallerGeneration: 1}, refused(StaleDecision)},
		"caller not replicated":         {Guard{Caller: file}, Outcome{}},
		"caller without record has one": {Guard{Caller: ada}, refused(StaleDecision)},
		"caller never had a record":     {Guard{Caller: kibana.Principal}, Outcome{}},
		"run by unchanged":              {Guard{RunBy: ada, RunByGeneration: 1}, Outcome{}},
		"run by changed":                {Guard{RunBy: ada, RunByGeneration: 9}, refused(StaleDecision)},
		"run by disabled":               {Guard{RunBy: Principal{"off", ada.Realm}, RunByGeneration: 2}, refused(StaleDecision)},
		"run by unknown":                {Guard{Caller: ada, CallerGeneration: 1, RunBy: stranger.Principal, RunByGeneration: 1}, refused(StaleDecision)},
		"run by not replicated":         {Guard{Caller: ada, CallerGeneration: 1, RunBy: file}, Outcome{}},
		"bearer live":                   {Guard{Bearer: Digest{1, 'a'}}, Outcome{}},
		"bearer is a refresh token":     {Guard{Bearer: Digest{1, 'r'}}, refused(StaleDecision)},
		"bearer unknown":                {Guard{Bearer: Digest{7, 'a'}}, refused(StaleDecision)},
		"bearer invalidated":            {Guard{Bearer: Digest{2, 'a'}}, refused(StaleDecision)},
		"bearer expired":                {Guard{Bearer: Digest{3, 'a'}}, refused(StaleDecision)},
		"bearer in its last moment":     {Guard{Bearer: Digest{4, 'a'}}, Outcome{}},
		"roles unchanged":               {Guard{RolesVersion: 2}, Outcome{}},
		"roles changed":                 {Guard{RolesVersion: 1}, refused(StaleDecision)},
		"all of them":                   {Guard{Caller: ada, CallerGeneration: 1, Bearer: Digest{1, 'a'}, RolesVersion: 2}, Outcome{}},
		"all of them, but one is stale": {Guard{Caller: ada, CallerGeneration: 1, Bearer: Digest{1, 'a'}, RolesVersion: 3}, refused(StaleDecision)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			expired, last := pairOf(3), pairOf(4)
			expired.AccessLifetime, last.AccessLifetime = int64(minute)-1, int64(minute)
			s.play(
				step{0, PutUser{Username: "ada", Verifier: "v", Enabled: true}, Outcome{}},
				step{0, PutUser{Username: "off", Verifier: "v"}, Outcome{}},
				step{0, PutRole{Role: Role{Name: "r"}}, Outcome{}},
				step{0, pairOf(1), Outcome{}},
				step{0, pairOf(2), Outcome{}},
				step{0, Invalidate{Access: Digest{2, 'a'}}, counts(1, 0)},
				step{0, expired, Outcome{}},
				step{0, last, Outcome{}},
				step{minute, guarded(c.guard), c.want},
			)
		})
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	alone := pairOf(1)
	alone.Refresh, alone.RefreshLifetime = Digest{}, 0
	session := pairOf(1)
	session.SessionLifetime = int64(hour)
	short := pairOf(1)
	short.SessionLifetime = int64(minute)
	long := pairOf(1)
	long.AccessLifetime, long.RefreshLifetime, long.SessionLifetime = MaxAccessLifetime, MaxRefreshLifetime, MaxRefreshLifetime
	cases := map[string]struct {
		issue Issue
		want  Token
	}{
		"pair":         {pairOf(1), Token{AccessExpiresAt: start + 20*minute, RefreshExpiresAt: start + 24*hour}},
		"access alone": {alone, Token{AccessExpiresAt: start + 20*minute}},
		"session":      {session, Token{AccessExpiresAt: start + 20*minute, RefreshExpiresAt: start + hour, SessionEndsAt: start + hour}},
		"a session shorter than its access token": {
			short, Token{AccessExpiresAt: start + minute, RefreshExpiresAt: start + minute, SessionEndsAt: start + minute},
		},
		"longest": {long, Token{AccessExpiresAt: start + MaxAccessLifetime, RefreshExpiresAt: start + MaxRefreshLifetime, SessionEndsAt: start + MaxRefreshLifetime}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.play(step{0, c.issue, Outcome{}})
			c.want.Identity, c.want.Client, c.want.CreatedAt = &c.issue.Identity, &kibana, start
			got, ok := s.state.token(s.state.pairs.byAccess(c.issue.Access))
			if d := cmp.Diff(c.want, got); !ok || d != "" {
				t.Errorf("by access token (-want +got):\n%s", d)
			}
			got, ok = s.state.token(s.state.pairs.byRefresh(c.issue.Refresh))
			if d := cmp.Diff(c.want, got); ok != (c.issue.Refresh != Digest{}) || ok && d != "" {
				t.Errorf("by refresh token (-want +got):\n%s", d)
			}
		})
	}
}

// madeFrom is the Issue of ada's n-th token, asked for with the access token of pair maker.
func madeFrom(maker, n byte) Issue {
	c := pairOf(n)
	c.Guard.Bearer, c.WithinSession = Digest{maker, 'a'}, true
	c.Refresh, c.RefreshLifetime = Digest{}, 0
	return c
}

// TestWhatIsMadeFromATokenEndsWithIt: else whoever held a token for a moment could go on
// making others, whatever became of the login.
func TestWhatIsMadeFromATokenEndsWithIt(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]step{
		"its family":       {0, Invalidate{Refresh: Digest{1, 'r'}, Reach: ReachFamily}, counts(4, 0)},
		"the token itself": {0, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)},
		"its pair":         {0, Invalidate{Pairs: []Digest{{1, 'a'}}, Reach: ReachPair}, counts(2, 0)},
		"a theft":          {minute, refreshOf(1, 9), Outcome{Reason: Reused, Invalidated: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.play(
				step{0, pairOf(1), Outcome{}},
				step{5 * minute, madeFrom(1, 2), Outcome{}},
				step{0, madeFrom(2, 3), Outcome{}}, // and what is made from that
				step{0, refreshOf(1, 4), saltOf(4)},
				step{0, pairOf(5), Outcome{}},
			)
			s.wantLive("1a 1r 2a 3a", 1, 2, 3)
			s.play(end)
			s.wantLive("5a 5r", 2, 3, 5)
			s.play(step{0, madeFrom(3, 6), refused(StaleDecision)}) // it makes no more, either
			r := s.state.pairs.byAccess(Digest{3, 'a'})
			if token := s.state.pairs.token(r); !token.AccessInvalidated || !token.MadeFromToken {
				t.Errorf("seen as %+v", token)
			}
		})
	}
	t.Run("its lifetime", func(t *testing.T) {
		t.Parallel()
		s := newStory(t)
		s.play(step{0, pairOf(1), Outcome{}}, step{15 * minute, madeFrom(1, 2), Outcome{}}, step{4 * minute, madeFrom(2, 3), Outcome{}})
		s.at += minute
		s.wantLive("1a 1r 2a 3a", 1, 2, 3)
		s.at++
		s.wantLive("1r", 1, 2, 3)
	})
}

func TestIssueRefused(t *testing.T) {
	t.Parallel()
	sameAccess, sameRefresh, swapped := pairOf(2), pairOf(2), pairOf(2)
	sameAccess.Access = Digest{1, 'a'}
	sameRefresh.Refresh = Digest{1, 'r'}
	swapped.Access = Digest{1, 'r'} // the digest of another kind of token is another token
	generation := func(n byte, g Generation, p Principal) Issue {
		c := pairOf(n)
		c.IdentityGeneration, c.Identity.Principal = g, p
		return c
	}
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}},
		step{0, sameAccess, refused(DigestTaken)},
		step{0, sameRefresh, refused(DigestTaken)},
		step{0, swapped, Outcome{}},
		step{0, generation(3, 1, ada), refused(StaleDecision)},
		step{0, PutUser{Username: "ada", Verifier: "v", Enabled: true}, counts(4, 0)},
		step{0, generation(3, 1, ada), Outcome{}},
		step{0, generation(4, 2, ada), refused(StaleDecision)},
		step{0, SetEnabled{Realm: RealmNative, Username: "ada"}, counts(2, 0)},
		step{0, generation(4, 2, ada), refused(StaleDecision)},
		step{0, SetEnabled{Realm: RealmNative, Username: "ada", Enabled: true}, Outcome{}},
		step{0, generation(4, 3, ada), Outcome{}},
		step{0, DeleteUser{Username: "ada"}, Outcome{Existed: true, Invalidated: 2}},
		step{0, generation(5, 3, ada), refused(StaleDecision)},
	)
}

// TestIdentitiesAreToldApart: what differs in one field is another identity.
func TestIdentitiesAreToldApart(t *testing.T) {
	t.Parallel()
	name, other := "Ada", "Ada L."
	identity := func(change func(*Identity)) Issue {
		c := pairOf(0)
		change(&c.Identity)
		return c
	}
	issues := []Issue{
		identity(func(*Identity) {}),
		identity(func(i *Identity) { i.FullName = &name }),
		identity(func(i *Identity) { i.FullName = &other }),
		identity(func(i *Identity) { i.Email = &name }),
		identity(func(i *Identity) { i.Metadata = []byte("{}") }),
		identity(func(i *Identity) { i.Roles = []RoleName{"superuser", "b"} }),
		identity(func(i *Identity) { i.Roles = []RoleName{"superuserb"} }),
		identity(func(i *Identity) { i.Realm.Type = "file" }),
	}
	s := newStory(t)
	for round := range byte(2) {
		for i, c := range issues {
			c.Access, c.Refresh = Digest{byte(i), 'a', round}, Digest{byte(i), 'r', round}
			s.play(step{0, c, Outcome{}})
			if got, _ := s.state.token(s.state.pairs.byAccess(c.Access)); !cmp.Equal(c.Identity, *got.Identity) {
				t.Errorf("identity %d: %s", i, cmp.Diff(c.Identity, *got.Identity))
			}
		}
	}
	if got := s.state.pairs.holders.held.used; got != len(issues) {
		t.Errorf("identities: want %d, got %d", len(issues), got)
	}
	if got := s.state.pairs.holders.owners.used; got != 1 {
		t.Errorf("owners: want 1, got %d", got)
	}
}

func TestInvalidate(t *testing.T) {
	t.Parallel()
	alone := pairOf(2)
	alone.Refresh, alone.RefreshLifetime = Digest{}, 0
	other, file := pairOf(3), pairOf(4)
	other.Identity.Username = "bob"
	file.Identity.Realm = Realm{"default_file", "file"}
	cases := map[string]struct {
		steps []step
		live  string
	}{
		"access token, again": {[]step{
			{0, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)},
			{0, Invalidate{Access: Digest{1, 'a'}}, counts(0, 1)},
		}, "1r 2a 3a 3r 4a 4r"},
		"refresh token, again": {[]step{
			{0, Invalidate{Refresh: Digest{1, 'r'}}, counts(1, 0)},
			{0, Invalidate{Refresh: Digest{1, 'r'}}, counts(0, 1)},
		}, "1a 2a 3a 3r 4a 4r"},
		"unknown": {[]step{
			{0, Invalidate{Access: Digest{9, 'a'}}, Outcome{}},
			{0, Invalidate{Refresh: Digest{9, 'r'}}, Outcome{}},
		}, "1a 1r 2a 3a 3r 4a 4r"},
		"of the wrong kind": {[]step{
			{0, Invalidate{Access: Digest{1, 'r'}}, Outcome{}},
			{0, Invalidate{Refresh: Digest{1, 'a'}}, Outcome{}},
		}, "1a 1r 2a 3a 3r 4a 4r"},
		"user in every realm": {[]step{
			{0, Invalidate{Username: "ada"}, counts(5, 0)},
			{0, Invalidate{Username: "ada"}, Outcome{}},
		}, "3a 3r"},
		"realm":              {[]step{{0, Invalidate{Realm: RealmNative}, counts(5, 0)}}, "4a 4r"},
		"user of a realm":    {[]step{{0, Invalidate{Realm: "default_file", Username: "ada"}, counts(2, 0)}}, "1a 1r 2a 3a 3r"},
		"nobody":             {[]step{{0, Invalidate{Username: "eve"}, Outcome{}}}, "1a 1r 2a 3a 3r 4a 4r"},
		"realm without user": {[]step{{0, Invalidate{Realm: RealmReserved}, Outcome{}}}, "1a 1r 2a 3a 3r 4a 4r"},
		"user, half dead": {[]step{
			{0, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)},
			{0, Invalidate{Realm: RealmNative, Username: "ada"}, counts(2, 1)},
		}, "3a 3r 4a 4r"},
		"expired access tokens": {[]step{
			{hour, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)}, // of one token, expiry is not looked at
			{0, Invalidate{Username: "ada"}, counts(3, 1)},           // 1r, 4a though expired, 4r; not 2a, which nothing keeps active
		}, "3r"},
		"all expired": {[]step{{25 * hour, Invalidate{Realm: RealmNative}, Outcome{}}}, ""},
		"superseded pairs count": {[]step{
			{0, refreshOf(1, 5), saltOf(5)},
			{0, Invalidate{Username: "ada", Realm: RealmNative}, counts(5, 0)},
		}, "3a 3r 4a 4r"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.play(
				step{0, pairOf(1), Outcome{}}, step{0, alone, Outcome{}},
				step{0, other, Outcome{}}, step{0, file, Outcome{}},
			)
			s.play(c.steps...)
			s.wantLive(c.live, 1, 2, 3, 4, 5)
		})
	}
}
