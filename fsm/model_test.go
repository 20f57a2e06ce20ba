package fsm

import (
	"cmp"
	"slices"
)

// model is the state as plainly as it can be written: maps, full scans, nothing
// shared with the real one but the vocabulary. It says what the rules are.
type model struct {
	now          UnixMilli
	cluster      Initialize
	generation   Generation
	rolesVersion uint64
	users        map[ownerName]User
	roles        map[RoleName]Role
	pairs        map[Digest]*modelPair // by access token
	added        int
	operations   []modelOperation
	leases       map[string]ReadLease
	index        uint64 // of the entry that is applied
	epoch        uint64
	epochID      [16]byte
	staged       modelStaged
	saved        map[[32]byte]*model // what can be restored, by the digest of its bytes
}

type modelStaged struct {
	id   [16]byte
	at   UnixMilli
	data [][]byte
}

type modelPair struct {
	Token
	access, refresh Digest
	sessionEnds     UnixMilli
	family          int // added of the first pair
	madeFrom        Digest
	consumedBy      OperationID
	consumedAt      UnixMilli
	added           int
}

type modelOperation struct {
	id      OperationID
	at      UnixMilli
	outcome Outcome
}

func newModel() *model {
	return &model{
		rolesVersion: 1,
		users:        map[ownerName]User{},
		roles:        map[RoleName]Role{},
		pairs:        map[Digest]*modelPair{},
		leases:       map[string]ReadLease{},
		saved:        map[[32]byte]*model{},
	}
}

func (m *model) apply(e Entry) []Outcome {
	m.now = max(m.now, e.At)
	m.forget(forgetPerCommand * len(e.Commands))
	if m.staged.at+RestorePatience < m.now {
		m.staged = modelStaged{}
	}
	var outcomes []Outcome
	for _, c := range e.Commands {
		outcomes = append(outcomes, m.applyCommand(c))
	}
	return outcomes
}

func (m *model) forget(limit int) {
	for ; limit > 0 && len(m.operations) > 0 && m.operations[0].at+OperationMemory < m.now; limit-- {
		m.operations = m.operations[1:]
	}
}

func (m *model) find(id OperationID) (Outcome, bool) {
	for _, op := range m.operations {
		if op.id == id {
			return op.outcome, true
		}
	}
	return Outcome{}, false
}

func (m *model) applyCommand(c Command) Outcome {
	h := c.head()
	if first, ok := m.find(h.Operation); ok {
		return first
	}
	outcome := Outcome{Reason: StaleDecision}
	if m.holds(h.Guard) {
		outcome = m.rule(c)
	}
	m.operations = append(m.operations, modelOperation{h.Operation, m.now, outcome})
	return outcome
}

func (m *model) holds(g Guard) bool {
	if !m.unchanged(g.Caller, g.CallerGeneration) || !m.unchanged(g.RunBy, g.RunByGeneration) {
		return false
	}
	if g.Bearer != (Digest{}) {
		p := m.pairs[g.Bearer]
		if p == nil || m.seen(p).AccessInvalidated || m.now > p.AccessExpiresAt {
			return false
		}
	}
	return g.RolesVersion == 0 || g.RolesVersion == m.rolesVersion
}

func (m *model) unchanged(p Principal, generation Generation) bool {
	u, ok := m.users[ownerName{p.Realm.Name, p.Username}]
	return u.Generation == generation && (u.Enabled || !ok)
}

func (m *model) rule(c Command) Outcome {
	switch c := c.(type) {
	case Initialize:
		if m.cluster.ClusterID != [16]byte{} {
			return Outcome{Reason: AlreadySet}
		}
		m.cluster = c
		return Outcome{}
	case Issue:
		return m.issue(c)
	case Refresh:
		return m.refresh(c)
	case Invalidate:
		return m.invalidate(c)
	case CollectExpired:
		return m.collect(c)
	case Lease:
		if held := m.leases[c.Holder]; c.Boot > held.Boot || c.Boot == held.Boot && c.Number >= held.Number {
			m.leases[c.Holder] = ReadLease{Holder: c.Holder, Boot: c.Boot, Number: c.Number, Span: c.Span, Index: m.index}
		}
		return Outcome{}
	case RestoreChunk:
		return m.stage(c)
	case Restore:
		return m.restore(c)
	case PutRole:
		_, existed := m.roles[c.Role.Name]
		m.roles[c.Role.Name] = c.Role
		m.rolesVersion++
		return Outcome{Existed: existed}
	case DeleteRole:
		if _, ok := m.roles[c.Name]; !ok {
			return Outcome{}
		}
		delete(m.roles, c.Name)
		m.rolesVersion++
		return Outcome{Existed: true}
	default:
		return m.userRule(c)
	}
}

func (m *model) issue(c Issue) Outcome {
	if c.IdentityGeneration != 0 {
		u, ok := m.users[ownerName{c.Identity.Realm.Name, c.Identity.Username}]
		if !ok || !u.Enabled || u.Generation != c.IdentityGeneration {
			return Outcome{Reason: StaleDecision}
		}
	}
	if m.taken(c.Access, c.Refresh) {
		return Outcome{Reason: DigestTaken}
	}
	p := &modelPair{access: c.Access, refresh: c.Refresh}
	p.Token = Token{
		Identity:        &c.Identity,
		Client:          &c.Client,
		CreatedAt:       m.now,
		AccessExpiresAt: m.now + UnixMilli(c.AccessLifetime),
	}
	if c.Refresh != (Digest{}) {
		p.RefreshExpiresAt = m.now + UnixMilli(c.RefreshLifetime)
	}
	if c.SessionLifetime != 0 {
		p.sessionEnds = m.now + UnixMilli(c.SessionLifetime)
	}
	if c.WithinSession {
		p.sessionEnds = cmp.Or(m.pairs[c.Guard.Bearer].sessionEnds, p.sessionEnds)
	}
	if p.SessionEndsAt = p.sessionEnds; p.sessionEnds != 0 {
		p.RefreshExpiresAt = min(p.RefreshExpiresAt, p.sessionEnds)
		p.AccessExpiresAt = min(p.AccessExpiresAt, p.sessionEnds)
	}
	if c.WithinSession && c.Refresh == (Digest{}) {
		maker := m.pairs[c.Guard.Bearer]
		p.madeFrom = cmp.Or(maker.madeFrom, c.Guard.Bearer)
		p.AccessExpiresAt = min(p.AccessExpiresAt, maker.AccessExpiresAt)
	}
	m.add(p)
	return Outcome{}
}

// seen is a pair as it can be looked up.
func (m *model) seen(p *modelPair) Token {
	t := p.Token
	if t.MadeFromToken = p.madeFrom != (Digest{}); t.MadeFromToken {
		first := m.pairs[p.madeFrom]
		t.AccessInvalidated = t.AccessInvalidated || first == nil || first.AccessInvalidated
	}
	return t
}

func (m *model) add(p *modelPair) {
	m.added++
	p.added = m.added
	p.family = cmp.Or(p.family, p.added)
	m.pairs[p.access] = p
}

func (m *model) byRefresh(d Digest) *modelPair {
	for _, p := range m.pairs {
		if d != (Digest{}) && p.refresh == d {
			return p
		}
	}
	return nil
}

func (m *model) taken(access, refresh Digest) bool {
	return m.pairs[access] != nil || m.byRefresh(refresh) != nil
}

func (m *model) refresh(c Refresh) Outcome {
	p := m.byRefresh(c.Presented)
	switch {
	case p == nil:
		return Outcome{Reason: UnknownToken}
	case m.now > p.RefreshExpiresAt:
		return Outcome{Reason: RefreshExpired}
	case p.RefreshInvalidated:
		return Outcome{Reason: TokenInvalidated}
	case !sameModelUser(p.Client.Principal, c.Client.Principal), !sameModelUser(p.Client.RunBy, c.Client.RunBy):
		return Outcome{Reason: NotCreatingClient}
	case !p.Refreshed:
		return m.succeed(p, c)
	}
	first, known := m.find(p.consumedBy)
	if known && c.Window > 0 && m.now-p.consumedAt <= UnixMilli(c.Window) {
		return Outcome{Salt: first.Salt}
	}
	outcome := Outcome{Reason: Reused}
	if !c.KeepFamily {
		for _, q := range m.pairs {
			if q.family == p.family {
				m.end(q, &outcome)
			}
		}
	}
	return outcome
}

func sameModelUser(a, b Principal) bool {
	return a.Username == b.Username && a.Realm.Type == b.Realm.Type && (a.Realm.Type != "ldap" || a.Realm.Name == b.Realm.Name)
}

func (m *model) succeed(p *modelPair, c Refresh) Outcome {
	if m.taken(c.Access, c.Refresh) {
		return Outcome{Reason: DigestTaken}
	}
	next := &modelPair{access: c.Access, refresh: c.Refresh, family: p.family, sessionEnds: p.sessionEnds}
	next.Token = Token{
		Identity:         new(*p.Identity),
		Client:           &c.Client,
		CreatedAt:        m.now,
		AccessExpiresAt:  m.now + UnixMilli(c.AccessLifetime),
		RefreshExpiresAt: m.now + UnixMilli(c.RefreshLifetime),
	}
	if c.Scope != nil {
		next.Identity.Scope = c.Scope
	}
	if next.sessionEnds != 0 {
		next.RefreshExpiresAt = min(next.RefreshExpiresAt, next.sessionEnds)
		next.AccessExpiresAt = min(next.AccessExpiresAt, next.sessionEnds)
		next.SessionEndsAt = next.sessionEnds
	}
	m.add(next)
	p.Refreshed, p.consumedAt, p.consumedBy = true, m.now, c.Operation
	return Outcome{Salt: c.Salt}
}

// end invalidates both tokens of a pair.
func (m *model) end(p *modelPair, o *Outcome) {
	m.endPart(&p.AccessInvalidated, o)
	if p.refresh != (Digest{}) {
		m.endPart(&p.RefreshInvalidated, o)
	}
}

func (m *model) endPart(invalidated *bool, o *Outcome) {
	if *invalidated {
		o.PreviouslyInvalidated++
		return
	}
	*invalidated = true
	o.Invalidated++
}

func (m *model) endMatching(realm RealmName, username Username, o *Outcome) {
	m.endCreatedBefore(MaxMoment+1, realm, username, o)
}

func (m *model) endCreatedBefore(before UnixMilli, realm RealmName, username Username, o *Outcome) {
	for _, p := range m.pairs {
		if p.CreatedAt >= before {
			continue
		}
		if realm != "" && p.Identity.Realm.Name != realm || username != "" && p.Identity.Username != username {
			continue
		}
		accessLive := !p.AccessInvalidated && m.now <= p.AccessExpiresAt
		refreshLive := p.refresh != Digest{} && !p.RefreshInvalidated && m.now <= p.RefreshExpiresAt
		if accessLive || refreshLive {
			m.end(p, o)
		}
	}
}

func (m *model) invalidate(c Invalidate) (o Outcome) {
	if c.All || c.Realm != "" || c.Username != "" {
		m.endCreatedBefore(cmp.Or(c.CreatedBefore, MaxMoment+1), c.Realm, c.Username, &o)
		return o
	}
	named := map[*modelPair]bool{m.pairs[c.Access]: true, m.byRefresh(c.Refresh): true}
	for _, d := range c.Pairs {
		named[m.pairs[d]] = true
	}
	delete(named, nil)
	families := map[int]bool{}
	for p := range named {
		families[p.family] = true
		own := sameUser(p.Identity.Principal, c.OwnedBy) || sameUser(p.Client.Principal, c.OwnedBy)
		if c.OwnedBy != (Principal{}) && !own {
			return Outcome{Reason: NotOwned}
		}
	}
	for _, p := range m.pairs {
		switch {
		case c.Reach == ReachFamily && families[p.family], c.Reach == ReachPair && named[p]:
			m.end(p, &o)
		case c.Reach == ReachToken && p.access == c.Access:
			m.endPart(&p.AccessInvalidated, &o)
		case c.Reach == ReachToken && named[p]:
			m.endPart(&p.RefreshInvalidated, &o)
		}
	}
	return o
}

// active lists a user's pairs that can be used, as a listing names them.
func (m *model) active(realm RealmName, username Username) map[Digest]Token {
	found := map[Digest]Token{}
	for _, p := range m.pairs {
		if realm != "" && p.Identity.Realm.Name != realm || username != "" && p.Identity.Username != username {
			continue
		}
		if !m.seen(p).AccessInvalidated && m.now <= p.AccessExpiresAt ||
			p.refresh != (Digest{}) && !p.RefreshInvalidated && !p.Refreshed && m.now <= p.RefreshExpiresAt {
			found[p.access] = m.seen(p)
		}
	}
	return found
}

func (p *modelPair) dueBucket() UnixMilli {
	return (max(p.AccessExpiresAt, p.RefreshExpiresAt) + Retention) / 65536
}

func (m *model) collect(c CollectExpired) (o Outcome) {
	m.forget(int(c.Limit))
	var due []*modelPair
	for _, p := range m.pairs {
		if (p.dueBucket()+1)*65536 <= m.now {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b *modelPair) int {
		return cmp.Or(cmp.Compare(a.dueBucket(), b.dueBucket()), cmp.Compare(b.added, a.added))
	})
	for _, p := range due[:min(len(due), int(c.Limit))] {
		delete(m.pairs, p.access)
		o.Collected++
	}
	return o
}

func (m *model) userRule(c Command) (o Outcome) {
	switch c := c.(type) {
	case PutUser:
		key := ownerName{RealmNative, c.Username}
		present, existed := m.users[key]
		verifier := cmp.Or(c.Verifier, present.Verifier)
		if verifier == "" {
			return Outcome{Reason: PasswordRequired}
		}
		m.generation++
		m.users[key] = User{c.Username, RealmNative, verifier, c.Roles, c.FullName, c.Email, c.Metadata, c.Enabled, m.generation}
		o.Existed = existed
		if c.Verifier != "" || !c.Enabled {
			m.endMatching(RealmNative, c.Username, &o)
		}
	case DeleteUser:
		key := ownerName{RealmNative, c.Username}
		if _, o.Existed = m.users[key]; o.Existed {
			delete(m.users, key)
			m.endMatching(RealmNative, c.Username, &o)
		}
	case SetPassword:
		u, ok := m.present(c.Realm, c.Username)
		switch {
		case !ok:
			return Outcome{Reason: UnknownUser}
		case c.OnlyIfUnset && u.Verifier != "":
			return Outcome{Reason: AlreadySet}
		}
		u.Verifier = c.Verifier
		m.store(u)
		m.endMatching(c.Realm, c.Username, &o)
	case SetEnabled:
		u, ok := m.present(c.Realm, c.Username)
		if !ok {
			return Outcome{Reason: UnknownUser}
		}
		u.Enabled = c.Enabled
		m.store(u)
		if !c.Enabled {
			m.endMatching(c.Realm, c.Username, &o)
		}
	}
	return o
}

func (m *model) present(realm RealmName, username Username) (User, bool) {
	u, ok := m.users[ownerName{realm, username}]
	if !ok && realm == RealmReserved {
		return User{Username: username, Realm: realm, Roles: []RoleName{}, Enabled: true}, true
	}
	return u, ok
}

func (m *model) store(u User) {
	m.generation++
	u.Generation = m.generation
	m.users[ownerName{u.Realm, u.Username}] = u
}
