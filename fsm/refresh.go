package fsm

// Refresh consumes one refresh token and adds its successor pair. The old access
// token lives on until it expires, as in Elasticsearch.
type Refresh struct {
	Header
	Presented       Digest
	Client          Client
	Salt            Salt
	Access          Digest // of the successor
	Refresh         Digest // of the successor
	AccessLifetime  int64  // milliseconds, at most MaxAccessLifetime
	RefreshLifetime int64  // milliseconds, at most MaxRefreshLifetime; the session's end comes first
	Window          int64  // milliseconds in which a repetition by the same client gets the same successor, at most MaxRefreshWindow; 0: a repetition is reuse at once
	KeepFamily      bool   // reuse after the window leaves the family alive (as Elasticsearch does)

	// Scope is the successor's. Nil: the presented pair's. That it does not widen that is
	// for the proposer to see to: a pair keeps its scope for life, so no guard is needed.
	Scope []string
}

// Kind implements [Command].
func (Refresh) Kind() Kind { return KindRefresh }

func (c Refresh) code(x *codec) Command {
	x.header(&c.Header)
	x.digest(&c.Presented)
	x.client(&c.Client)
	x.raw(c.Salt[:])
	x.require(c.Salt != Salt{}, "no salt")
	x.digest(&c.Access)
	x.digest(&c.Refresh)
	x.millis(&c.AccessLifetime, MaxAccessLifetime)
	x.millis(&c.RefreshLifetime, MaxRefreshLifetime)
	x.millis(&c.Window, MaxRefreshWindow)
	x.flag(&c.KeepFamily)
	x.scope(&c.Scope)
	return c
}

// apply makes Elasticsearch's checks in Elasticsearch's order.
func (c Refresh) apply(s *State) Outcome {
	presented := s.pairs.byRefresh(c.Presented)
	if presented == 0 {
		return Outcome{Reason: UnknownToken}
	}
	p := s.pairs.at(presented)
	switch {
	case s.now > p.refreshExpires():
		return Outcome{Reason: RefreshExpired}
	case p.is(refreshInvalidated):
		return Outcome{Reason: TokenInvalidated}
	case !sameClient(s.pairs.holders.at(p.holder()).Client, c.Client):
		return Outcome{Reason: NotCreatingClient} // and nothing is consumed
	case p.is(refreshed):
		return c.again(s, presented)
	case s.pairs.taken(c.Access, c.Refresh):
		return Outcome{Reason: DigestTaken}
	}
	c.consume(s, presented)
	return Outcome{Salt: c.Salt}
}

// consume adds the successor of the presented pair.
func (c Refresh) consume(s *State, presented ref) {
	p := s.pairs.at(presented)
	identity := &s.pairs.holders.at(p.holder()).Identity
	if c.Scope != nil {
		narrowed := *identity
		narrowed.Scope, identity = c.Scope, &narrowed
	}
	successor := newPair{
		access:         c.Access,
		refresh:        c.Refresh,
		holder:         s.pairs.holders.intern(identity, c.Client),
		createdAt:      s.now,
		accessExpires:  s.now + UnixMilli(c.AccessLifetime),
		refreshExpires: s.now + UnixMilli(c.RefreshLifetime),
		predecessor:    presented,
	}
	successor.endWith(p.sessionEnds())
	s.pairs.add(successor)
	s.operations.consume(presented, c.Salt)
}

// again answers the second and every later presentation. Within the window it is
// a client that lost its answer, or two threads of one client; after it, one of
// two parties holds a stolen token, and nobody can tell which (RFC 9700, 4.14.2).
func (c Refresh) again(s *State, presented ref) Outcome {
	if at, ok := s.pairs.consumedAt(presented); ok && c.Window > 0 && s.now-at <= UnixMilli(c.Window) {
		if salt, ok := s.operations.salt(presented, at); ok {
			return Outcome{Salt: salt}
		}
	}
	outcome := Outcome{Reason: Reused}
	if !c.KeepFamily {
		outcome.count(s.pairs.endFamily(presented))
	}
	return outcome
}

// sameClient tells whether b may refresh what a obtained. Who acted as the client
// counts as much as the client itself.
func sameClient(a, b Client) bool {
	return sameUser(a.Principal, b.Principal) && sameUser(a.RunBy, b.RunBy)
}

// sameUser goes by the realm's type alone where a cluster has one such realm, so
// that it may be renamed.
func sameUser(a, b Principal) bool {
	if a.Username != b.Username || a.Realm.Type != b.Realm.Type {
		return false
	}
	switch a.Realm.Type {
	case "native", "file", "reserved":
		return true
	}
	return a.Realm.Name == b.Realm.Name
}
