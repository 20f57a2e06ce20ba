package fsm

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// logs draws entries that meet in a small world: few users, clients and tokens,
// so that commands get in each other's way, and times that jump over every limit.
type logs struct {
	t    *rapid.T
	at   UnixMilli
	ops  int
	past []Command

	tokens int       // digests drawn
	pairs  []newborn // asked for, not necessarily got

	epoch   func() uint64
	backups []logsBackup // what can be restored
	coming  []Command    // the rest of a restore that has begun
}

type newborn struct {
	access, refresh Digest
	client          Client
}

type logsBackup struct {
	bytes    []byte
	sessions bool
}

// often is true in nine cases of ten.
func (l *logs) often(name string) bool { return rapid.IntRange(0, 9).Draw(l.t, name) > 0 }

var (
	someUsers  = []Username{"ada", "bob"}
	someRealms = []Realm{{RealmNative, "native"}, {RealmReserved, "reserved"}, {"default_file", "file"}, {"l1", "ldap"}, {"l2", "ldap"}}
	someSpans  = []int64{0, 1, 60_000, 20 * 60_000, 24 * 3_600_000, 24 * 3_600_000, MaxAccessLifetime}
	someSteps  = []int64{0, 0, 0, 0, 0, 1, 1, 999, 1000, 30_000, 120_000, OperationMemory + 1, 20 * 60_000, 12 * 3_600_000, -5000}
)

func pick[T any](l *logs, name string, from []T) T { return rapid.SampledFrom(from).Draw(l.t, name) }

// digest is a new one, or, seldom, any.
func (l *logs) digest(kind byte) Digest {
	l.tokens++
	n := l.tokens
	if !l.often("new digest") {
		n = rapid.IntRange(1, l.tokens).Draw(l.t, "token")
	}
	return Digest{0: byte(n), 1: byte(n >> 8), 23: kind}
}

// pair is one that was asked for before, often one of the last.
func (l *logs) pair() newborn {
	if len(l.pairs) == 0 {
		return newborn{access: Digest{1}, refresh: Digest{2}, client: l.client()}
	}
	if rapid.Bool().Draw(l.t, "young") {
		return pick(l, "young pair", l.pairs[max(0, len(l.pairs)-3):])
	}
	return pick(l, "pair", l.pairs)
}

func (l *logs) principal(name string) Principal {
	return Principal{pick(l, name, someUsers), pick(l, name+" realm", someRealms)}
}

// client seldom is run by another: the two must not be mixed up.
func (l *logs) client() Client {
	c := Client{Principal: l.principal("client")}
	if !l.often("client itself") {
		c.RunBy = l.principal("runner")
	}
	return c
}

var someScopes = [][]string{nil, nil, nil, {"monitor"}, {"manage_token", "monitor"}}

func (l *logs) identity() Identity {
	id := Identity{Principal: l.principal("owner"), Roles: []RoleName{}}
	if rapid.Bool().Draw(l.t, "role") {
		id.Roles = append(id.Roles, "admin")
		id.Metadata = []byte(`{"a":1}`)
	}
	id.Scope = pick(l, "scope", someScopes)
	if !l.often("owner itself") {
		id.RunBy = &Actor{Principal: l.principal("actor"), Roles: []RoleName{}, Generation: Generation(rapid.IntRange(0, 2).Draw(l.t, "actor's generation"))}
	}
	return id
}

func (l *logs) header() Header {
	l.ops++
	h := Header{Operation: OperationID{0: byte(l.ops), 1: byte(l.ops >> 8), 15: 1}}
	switch rapid.IntRange(0, 9).Draw(l.t, "guard") {
	case 0:
		h.Guard.Bearer = l.pair().access
	case 1:
		h.Guard.RolesVersion = rapid.Uint64Range(1, 3).Draw(l.t, "roles version")
	case 2:
		h.Guard.Caller = l.principal("caller")
		h.Guard.CallerGeneration = Generation(rapid.IntRange(0, 4).Draw(l.t, "generation"))
	case 3:
		h.Guard.RunBy = l.principal("runner")
		h.Guard.RunByGeneration = Generation(rapid.IntRange(0, 4).Draw(l.t, "runner's generation"))
	}
	return h
}

func (l *logs) command() Command {
	if l.ops == 0 && l.often("initialized first") {
		c := Initialize{Header: l.header(), ClusterID: [16]byte{1}, KeyCheck: [32]byte{2}}
		c.Guard = Guard{}
		return c
	}
	if len(l.past) > 0 && rapid.IntRange(0, 4).Draw(l.t, "repeat") == 0 {
		return pick(l, "past", l.past)
	}
	if len(l.coming) > 0 && l.often("restore goes on") {
		c := l.coming[0]
		l.coming = l.coming[1:]
		l.past = append(l.past, c)
		return c
	}
	c := l.fresh()
	l.past = append(l.past, c)
	return c
}

func (l *logs) fresh() Command {
	h := l.header()
	switch n := rapid.IntRange(0, 20).Draw(l.t, "kind"); {
	case n == 20:
		return l.restoration(h)
	case n < 5:
		c := Issue{
			Header: h, Access: l.digest('a'), Identity: l.identity(), Client: l.client(),
			AccessLifetime: pick(l, "access", someSpans), SessionLifetime: pick(l, "session", []int64{0, 0, 0, 1, 3_600_000, MaxRefreshLifetime}),
		}
		if n > 0 {
			c.Refresh, c.RefreshLifetime = l.digest('r'), pick(l, "refresh", append(someSpans, MaxRefreshLifetime))
		}
		c.WithinSession = h.Guard.Bearer != Digest{}
		if n == 1 {
			c.IdentityGeneration = Generation(rapid.IntRange(1, 4).Draw(l.t, "generation"))
		}
		l.pairs = append(l.pairs, newborn{c.Access, c.Refresh, c.Client})
		return c
	case n < 11:
		presented := l.pair()
		c := Refresh{
			Header: h, Presented: presented.refresh, Client: presented.client, Salt: Salt(h.Operation),
			Access: l.digest('a'), Refresh: l.digest('r'), AccessLifetime: pick(l, "access", someSpans),
			RefreshLifetime: pick(l, "refresh", someSpans), Window: pick(l, "window", []int64{0, 30_000, MaxRefreshWindow}), KeepFamily: n == 5,
			Scope: pick(l, "scope", someScopes),
		}
		if c.Presented == (Digest{}) {
			c.Presented = l.digest('r')
		}
		if !l.often("same client") {
			c.Client = l.client()
		}
		l.pairs = append(l.pairs, newborn{c.Access, c.Refresh, c.Client})
		return c
	case n < 13:
		return l.invalidation(h)
	case n == 13 && l.often("lease"):
		holder := pick(l, "holder", []string{"a", "b", "c"})
		return Lease{Header: h, Holder: holder, Boot: 1, Number: uint64(l.ops), Span: 1000}
	case n < 15:
		return CollectExpired{Header: h, Limit: rapid.Uint32Range(1, 5).Draw(l.t, "limit")}
	}
	return l.freshUser(h)
}

// restoration begins a restore, of something or other, and returns its first command.
func (l *logs) restoration(h Header) Command {
	b, keep := []byte("no snapshot"), false
	if len(l.backups) > 0 && l.often("a backup") {
		from := pick(l, "backup", l.backups)
		b, keep = from.bytes, from.sessions == l.often("sessions as saved")
	}
	epoch := uint64(1)
	if l.epoch != nil {
		epoch += l.epoch()
	}
	if !l.often("the next epoch") {
		epoch = rapid.Uint64Range(0, 3).Draw(l.t, "epoch")
	}
	chunks := chunked(b, byte(l.ops), byte(epoch), keep, len(b)/rapid.IntRange(1, 3).Draw(l.t, "chunks")+1)
	first := chunks[0].(RestoreChunk)
	first.Header = h
	l.coming = nil
	for _, c := range chunks[1:] {
		switch c := c.(type) {
		case RestoreChunk:
			c.Header = l.header()
			if l.often("every chunk") {
				l.coming = append(l.coming, c)
			}
		case Restore:
			c.Header = l.header()
			if !l.often("the own cluster") {
				c.From = [16]byte{2}
			}
			l.coming = append(l.coming, c)
		}
	}
	return first
}

// backup keeps what the replica holds, for the model too.
func (l *logs) backup(f *FSM, m *model) {
	keep := rapid.Bool().Draw(l.t, "with sessions")
	b := backup(l.t, f, keep)
	l.backups = append(l.backups, logsBackup{b, keep})
	m.saved[sha256.Sum256(b)] = m.copied(keep)
}

// invalidation is one of each way to end tokens.
func (l *logs) invalidation(h Header) Command {
	c := Invalidate{Header: h}
	if rapid.IntRange(0, 2).Draw(l.t, "bulk") == 0 {
		if rapid.Bool().Draw(l.t, "young spared") {
			c.CreatedBefore = max(1, l.at+UnixMilli(rapid.IntRange(-60_000, 1).Draw(l.t, "before")))
		}
		switch rapid.IntRange(0, 4).Draw(l.t, "what") {
		case 0:
			c.All = true
		case 1:
			c.Username = pick(l, "username", someUsers)
		case 2:
			c.Realm = pick(l, "realm", someRealms).Name
		default:
			c.Username, c.Realm = pick(l, "username", someUsers), pick(l, "realm", someRealms).Name
		}
		return c
	}
	c.Reach = Reach(rapid.IntRange(0, 2).Draw(l.t, "reach"))
	if rapid.Bool().Draw(l.t, "own") {
		c.OwnedBy = l.principal("own")
	}
	switch rapid.IntRange(0, 2).Draw(l.t, "named by") {
	case 0:
		c.Access = l.pair().access
	case 1:
		if c.Refresh = l.pair().refresh; c.Refresh == (Digest{}) {
			c.Refresh = l.digest('r')
		}
	case 2:
		c.Reach = max(c.Reach, ReachPair)
		for range rapid.IntRange(1, 4).Draw(l.t, "pairs") {
			c.Pairs = append(c.Pairs, l.pair().access)
		}
		slices.SortFunc(c.Pairs, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
		c.Pairs = slices.Compact(c.Pairs)
	}
	return c
}

func (l *logs) freshUser(h Header) Command {
	username := pick(l, "username", someUsers)
	realm := pick(l, "realm", []RealmName{RealmNative, RealmReserved})
	yes := rapid.Bool().Draw(l.t, "yes")
	switch rapid.IntRange(0, 6).Draw(l.t, "user kind") {
	case 0:
		c := PutUser{Header: h, Username: username, Roles: []RoleName{"r"}, Enabled: yes}
		if rapid.Bool().Draw(l.t, "password") {
			c.Verifier = "{v}" + string(username)
		}
		return c
	case 1:
		return DeleteUser{Header: h, Username: username}
	case 2:
		return SetPassword{Header: h, Realm: realm, Username: username, Verifier: "w", OnlyIfUnset: yes}
	case 3:
		return SetEnabled{Header: h, Realm: realm, Username: username, Enabled: yes}
	case 4:
		return PutRole{Header: h, Role: Role{Name: RoleName(username), Cluster: []string{"all"}, RunAs: []string{}}}
	case 5:
		return DeleteRole{Header: h, Name: RoleName(username)}
	}
	return Initialize{Header: h, ClusterID: [16]byte{1}, KeyCheck: [32]byte{byte(l.ops)}}
}

func (l *logs) entry() (Entry, []byte) {
	l.at = max(1, l.at+UnixMilli(pick(l, "step", someSteps)))
	e := Entry{At: l.at}
	var raw [][]byte
	for range rapid.IntRange(1, 4).Draw(l.t, "commands") {
		c := l.command()
		e.Commands = append(e.Commands, c)
		raw = append(raw, AppendCommand(nil, c))
	}
	return e, AppendEntry(nil, l.at, raw)
}

// TestLogAgainstModel applies random logs to two replicas and to the model. All
// outcomes and all that can be looked up must agree; the second replica is put
// away and restored from its snapshot now and then, and the snapshots of both must
// be the same bytes.
func TestLogAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := &logs{t: rt, at: 1_700_000_000_000}
		m, a, b := newModel(), New(nil), New(nil)
		l.epoch = func() uint64 { return m.epoch }
		for index := range uint64(rapid.IntRange(1, 60).Draw(rt, "entries")) {
			e, raw := l.entry()
			m.index = index + 1
			want := m.apply(e)
			for name, f := range map[string]*FSM{"replica": a, "restored replica": b} {
				got := f.Apply(&raft.Log{Index: index + 1, Data: raw})
				if d := cmp.Diff(want, got); d != "" {
					rt.Fatalf("entry %d %+v: outcomes of %s (-want +got):\n%s", index, e, name, d)
				}
			}
			if rapid.IntRange(0, 7).Draw(rt, "restore") == 0 {
				b = New(nil)
				if err := b.Restore(source(persisted(rt, a))); err != nil {
					rt.Fatalf("restore: %v", err)
				}
			}
			if rapid.IntRange(0, 4).Draw(rt, "backup") == 0 {
				l.backup(a, m)
			}
			compareToModel(rt, m, b)
		}
		if !bytes.Equal(persisted(rt, a), persisted(rt, b)) {
			rt.Fatalf("two replicas, two snapshots")
		}
	})
}

// compareListings reads a listing to its end: every pair once, an owner's in order.
func compareListings(t *rapid.T, m *model, f *FSM) {
	t.Helper()
	q := Listing{ActiveAt: m.now, Limit: rapid.IntRange(1, 4).Draw(t, "page")}
	if rapid.Bool().Draw(t, "of a realm") {
		q.Realm = rapid.SampledFrom(someRealms).Draw(t, "listed realm").Name
	}
	if rapid.Bool().Draw(t, "of a user") {
		q.Username = rapid.SampledFrom(someUsers).Draw(t, "listed user")
	}
	got := map[Digest]Token{}
	for before := MaxMoment; ; {
		page, next := f.List(q)
		for _, v := range page {
			if _, twice := got[v.ID]; twice || q.Realm != "" && q.Username != "" && v.CreatedAt > before {
				t.Fatalf("pair %x twice, or out of order", v.ID)
			}
			before, got[v.ID] = v.CreatedAt, v.Token
		}
		if len(page) > q.Limit {
			t.Fatalf("%d pairs on a page of %d", len(page), q.Limit)
		}
		if q.After = next; next == (Position{}) {
			break
		}
	}
	if d := cmp.Diff(m.active(q.Realm, q.Username), got); d != "" {
		t.Fatalf("listing (-want +got):\n%s", d)
	}
}

func compareToModel(t *rapid.T, m *model, f *FSM) {
	t.Helper()
	if pairs, _ := f.Size(); pairs != len(m.pairs) {
		t.Fatalf("pairs: want %d, got %d", len(m.pairs), pairs)
	}
	for _, p := range m.pairs {
		got, ok := f.AccessToken(p.access)
		if d := cmp.Diff(m.seen(p), got); !ok || d != "" {
			t.Fatalf("access token (-want +got):\n%s", d)
		}
		got, ok = f.RefreshToken(p.refresh)
		if d := cmp.Diff(m.seen(p), got); ok != (p.refresh != Digest{}) || ok && d != "" {
			t.Fatalf("refresh token (-want +got):\n%s", d)
		}
	}
	compareListings(t, m, f)
	for name, u := range m.users {
		got, ok := f.User(name.realm, name.username)
		if d := cmp.Diff(u, got); !ok || d != "" {
			t.Fatalf("user (-want +got):\n%s", d)
		}
	}
	for name, r := range m.roles {
		got, ok := f.Role(name)
		if d := cmp.Diff(r, got); !ok || d != "" {
			t.Fatalf("role (-want +got):\n%s", d)
		}
	}
	leases := map[string]ReadLease{}
	for _, v := range f.ReadLeases() {
		leases[v.Holder] = v
	}
	if d := cmp.Diff(m.leases, leases); d != "" {
		t.Fatalf("leases (-want +got):\n%s", d)
	}
	if got := f.Summary().Epoch; got != m.epoch {
		t.Fatalf("epoch %d, want %d", got, m.epoch)
	}
	id, key, _ := f.Cluster()
	if id != m.cluster.ClusterID || key != m.cluster.KeyCheck || f.RolesVersion() != m.rolesVersion || f.Now() != m.now {
		t.Fatalf("cluster, roles version or time differ")
	}
	if len(f.Roles()) != len(m.roles) || f.state.users.table.used != len(m.users) {
		t.Fatalf("users or roles too many")
	}
}
