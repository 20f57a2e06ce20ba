package fsm

// Invalidate ends tokens: one by digest (Access or Refresh), or all that match
// Realm and/or Username. A token ends alone, its other half lives on; a bulk
// invalidation ends both halves of every pair of which one was active.
type Invalidate struct {
	Header
	Access   Digest
	Refresh  Digest
	Realm    RealmName
	Username Username
}

// Kind implements [Command].
func (Invalidate) Kind() Kind { return KindInvalidate }

func (c Invalidate) code(x *codec) Command {
	x.header(&c.Header)
	x.optionalDigest(&c.Access)
	x.optionalDigest(&c.Refresh)
	text(x, &c.Realm, MaxNameBytes)
	text(x, &c.Username, MaxNameBytes)
	ways := 0
	for _, asked := range []bool{c.Access != Digest{}, c.Refresh != Digest{}, c.Realm != "" || c.Username != ""} {
		if asked {
			ways++
		}
	}
	x.require(ways == 1, "an invalidation of one token, or of a realm's or user's")
	return c
}

func (c Invalidate) apply(s *State) Outcome {
	var outcome Outcome
	switch {
	case c.Access != Digest{}:
		outcome.count(s.pairs.endPart(s.pairs.byAccess(c.Access), accessInvalidated))
	case c.Refresh != Digest{}:
		outcome.count(s.pairs.endPart(s.pairs.byRefresh(c.Refresh), refreshInvalidated))
	default:
		outcome.count(s.pairs.endMatching(c.Realm, c.Username, s.now))
	}
	return outcome
}

// count adds tokens that were ended to the outcome.
func (o *Outcome) count(e ended) {
	o.Invalidated += e.now
	o.PreviouslyInvalidated += e.before
}
