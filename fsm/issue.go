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
	x.require(c.Refresh != Digest{} || c.RefreshLifetime == 0, "refresh lifetime without refresh token")
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
		if c.SessionLifetime > 0 {
			p.sessionEnds = s.now + UnixMilli(c.SessionLifetime)
			p.refreshExpires = min(p.refreshExpires, p.sessionEnds)
			p.accessExpires = min(p.accessExpires, p.sessionEnds)
		}
	}
	s.pairs.add(p)
	return Outcome{}
}
