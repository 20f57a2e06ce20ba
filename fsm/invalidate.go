package fsm

import (
	"bytes"
	"slices"
)

// MaxNamed bounds Invalidate.Pairs: a command of so many digests is half as large as
// one may be.
const MaxNamed = 1000

// Reach is how much ends with a token that an [Invalidate] names. Numbers are
// explicit and appended only.
type Reach uint8

// The reaches.
const (
	ReachToken  Reach = 0 // the token alone; its other half lives on
	ReachPair   Reach = 1 // both halves of its pair
	ReachFamily Reach = 2 // everything that came of the same login
)

// Invalidate ends tokens: those it names (Access, Refresh or Pairs), or all that match
// Realm and/or Username, or All. What is named ends whether or not it has expired; a
// bulk invalidation ends both halves of every pair of which one was active.
type Invalidate struct {
	Header
	Access  Digest
	Refresh Digest
	Pairs   []Digest // by their access tokens, both halves; ascending, each once, at most MaxNamed
	Reach   Reach    // of what is named; with Pairs at least ReachPair
	// OwnedBy, unless zero, restricts what is named: if any of it is neither that user's
	// nor was obtained by it, the answer is NotOwned, without effect.
	OwnedBy Principal

	Realm    RealmName
	Username Username
	All      bool
	// CreatedBefore, unless zero, spares the pairs of a bulk invalidation that were
	// created then or later. A successor is as old as its refresh, not as its login.
	CreatedBefore UnixMilli
}

// Kind implements [Command].
func (Invalidate) Kind() Kind { return KindInvalidate }

func (c Invalidate) code(x *codec) Command {
	x.header(&c.Header)
	x.optionalDigest(&c.Access)
	x.optionalDigest(&c.Refresh)
	x.digests(&c.Pairs, MaxNamed)
	reach := uint64(c.Reach)
	x.uint(&reach, uint64(ReachFamily))
	c.Reach = Reach(reach) //nolint:gosec // within the limit
	x.principal(&c.OwnedBy)
	text(x, &c.Realm, MaxNameBytes)
	text(x, &c.Username, MaxNameBytes)
	x.flag(&c.All)
	x.millis((*int64)(&c.CreatedBefore), uint64(MaxMoment))
	c.check(x)
	return c
}

// check refuses what names nothing, or more than one thing: it could end more than
// was meant.
func (c Invalidate) check(x *codec) {
	ways := 0
	for _, asked := range []bool{c.Access != Digest{}, c.Refresh != Digest{}, len(c.Pairs) > 0, c.Realm != "" || c.Username != "", c.All} {
		if asked {
			ways++
		}
	}
	x.require(ways == 1, "an invalidation of one token, or of named pairs, or of a realm's or user's, or of all")
	if c.bulk() {
		x.require(c.Reach == ReachToken && c.OwnedBy == Principal{}, "reach or owner of a bulk invalidation")
	} else {
		x.require(c.CreatedBefore == 0, "named tokens of a certain age")
		x.require(len(c.Pairs) == 0 || c.Reach != ReachToken, "named pairs in part")
	}
}

// digests codes a list of digests in ascending order, each once. No list is nil.
func (x *codec) digests(v *[]Digest, limit uint64) {
	n := x.length(len(*v), limit)
	if x.reading && n > 0 {
		*v = make([]Digest, n)
	}
	for i := range *v {
		x.digest(&(*v)[i])
		x.require(i == 0 || bytes.Compare((*v)[i-1][:], (*v)[i][:]) < 0, "order of digests")
	}
}

func (c Invalidate) bulk() bool { return c.All || c.Realm != "" || c.Username != "" }

func (c Invalidate) apply(s *State) Outcome {
	var outcome Outcome
	before := c.CreatedBefore
	if before == 0 {
		before = MaxMoment + 1 // spares none
	}
	switch {
	case c.All:
		outcome.count(s.pairs.endAll(before, s.now))
	case c.bulk():
		outcome.count(s.pairs.endMatching(c.Realm, c.Username, before, s.now))
	default:
		return c.endNamed(s)
	}
	return outcome
}

// endNamed ends named tokens. What is unknown is not missed: it is as good as ended.
func (c Invalidate) endNamed(s *State) (outcome Outcome) {
	named, part := c.named(s)
	if c.OwnedBy != (Principal{}) {
		foreign := func(r ref) bool { return !s.pairs.holders.at(s.pairs.at(r).holder()).belongsTo(c.OwnedBy) }
		if slices.ContainsFunc(named, foreign) {
			return Outcome{Reason: NotOwned}
		}
	}
	var sum ended
	walked := make(map[ref]bool) // families that several named pairs are of
	for _, r := range named {
		switch c.Reach {
		case ReachToken:
			sum.add(s.pairs.endPart(r, part))
		case ReachPair:
			sum.add(s.pairs.endPair(r))
		case ReachFamily:
			if walked[r] {
				continue
			}
			s.pairs.family(r, func(r ref) {
				walked[r] = true
				sum.add(s.pairs.endPair(r))
			})
		}
	}
	outcome.count(sum)
	return outcome
}

// named returns the pairs that the command names and that exist, and which half of
// one a token is.
func (c Invalidate) named(s *State) (found []ref, part uint16) {
	switch {
	case c.Access != Digest{}:
		found, part = []ref{s.pairs.byAccess(c.Access)}, accessInvalidated
	case c.Refresh != Digest{}:
		found, part = []ref{s.pairs.byRefresh(c.Refresh)}, refreshInvalidated
	default:
		for _, d := range c.Pairs {
			found = append(found, s.pairs.byAccess(d))
		}
	}
	return slices.DeleteFunc(found, func(r ref) bool { return r == 0 }), part
}

// belongsTo tells whether a pair is that user's, or was obtained by it.
func (v *held) belongsTo(p Principal) bool {
	return sameUser(v.Identity.Principal, p) || sameUser(v.Client.Principal, p)
}

// count adds tokens that were ended to the outcome.
func (o *Outcome) count(e ended) {
	o.Invalidated += e.now
	o.PreviouslyInvalidated += e.before
}
