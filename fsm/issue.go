package fsm

// Issue adds a pair (or, with a zero Refresh, an access token alone).
type Issue struct {
	Header
	Access             Digest
	Refresh            Digest // zero: no refresh token (client_credentials)
	Identity           Identity
	IdentityGeneration Generation // not zero: refuse StaleDecision unless the owner's record still has it and is enabled
	Client             Client
	AccessLifetime     int64 // milliseconds, at most MaxAccessLifetime
	RefreshLifetime    int64 // milliseconds, at most MaxRefreshLifetime; 0 without refresh token
	SessionLifetime    int64 // milliseconds from now to the end of the family, at most MaxRefreshLifetime; 0: no end

	// WithinSession makes this session end with that of Guard.Bearer, the token it is made
	// from, if that has an end. Without refresh token, the new token lives no longer than
	// that one, and ends when that one is invalidated: else whoever held a token for a
	// moment could go on making others.
	WithinSession bool
}

// Kind implements [Command].
func (Issue) Kind() Kind { return KindIssue }

func (c Issue) code(x *codec) Command {
	x.header(&c.Header)
	x.digest(&c.Access)
	x.optionalDigest(&c.Refresh)
	x.identity(&c.Identity)
	x.uint((*uint64)(&c.IdentityGeneration), 1<<64-1)
	x.client(&c.Client)
	x.millis(&c.AccessLifetime, MaxAccessLifetime)
	x.millis(&c.RefreshLifetime, MaxRefreshLifetime)
	x.millis(&c.SessionLifetime, MaxRefreshLifetime)
	x.flag(&c.WithinSession)
	x.require(c.Refresh != Digest{} || c.RefreshLifetime == 0, "refresh lifetime without refresh token")
	x.require(!c.WithinSession || c.Guard.Bearer != Digest{}, "within the session of no token")
	return c
}

func (c Issue) apply(s *State) Outcome {
	if c.IdentityGeneration != 0 && !s.users.unchanged(c.Identity.Principal, c.IdentityGeneration) {
		return Outcome{Reason: StaleDecision}
	}
	if s.pairs.taken(c.Access, c.Refresh) {
		return Outcome{Reason: DigestTaken}
	}
	p := newPair{
		access:        c.Access,
		refresh:       c.Refresh,
		holder:        s.pairs.holders.intern(&c.Identity, c.Client),
		createdAt:     s.now,
		accessExpires: s.now + UnixMilli(c.AccessLifetime),
	}
	if c.Refresh != (Digest{}) {
		p.refreshExpires = s.now + UnixMilli(c.RefreshLifetime)
	}
	p.endWith(c.sessionEnds(s))
	if c.WithinSession && c.Refresh == (Digest{}) {
		maker := s.pairs.at(s.pairs.byAccess(c.Guard.Bearer))
		p.accessExpires = min(p.accessExpires, maker.accessExpires())
		p.madeFrom = c.Guard.Bearer
		if maker.is(madeFromToken) { // then all depends on the first
			p.madeFrom = maker.madeFrom()
		}
	}
	s.pairs.add(p)
	return Outcome{}
}

// sessionEnds returns the end of the new session; zero: it has none.
func (c Issue) sessionEnds(s *State) UnixMilli {
	if c.WithinSession {
		// The guard holds, so the token is there, and its session is not over.
		if end := s.pairs.at(s.pairs.byAccess(c.Guard.Bearer)).sessionEnds(); end != 0 {
			return end
		}
	}
	if c.SessionLifetime == 0 {
		return 0
	}
	return s.now + UnixMilli(c.SessionLifetime)
}
