package fsm

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// maxRestoreAhead is how far, in milliseconds, the time of sessions that are restored
// may be ahead of this cluster's. Time never goes back: a file with a wrong one would
// end every session, and all that come after.
const maxRestoreAhead = 60_000

// Restore puts what a [RestoreChunk] after the other has brought in the place of users,
// roles and sessions, and begins a new recovery epoch: what was decided before it is
// refused as stale. No token comes back to life. Of those that the file knows this state
// may know that they ended; of those that ended after they were forgotten nobody knows it.
// So all sessions end, the present ones too.
//
// With KeepSessions the file's sessions live on, but for the tokens that this state
// knows to be invalidated or used. It is refused where the state cannot know: see
// [State.remembers].
//
// What is not a user's, a role or a session stays: the cluster's identity, the time,
// read leases, and the outcomes of operations.
//
// Refusals, without effect: RestoreLost, RestoreUnreadable, RestoreForeign,
// RestoreOutdated, RestoreAhead.
type Restore struct {
	Header
	Restore      [16]byte // names the attempt whose chunks are meant
	Digest       [32]byte // SHA-256 of all chunks in their order
	From         [16]byte // id of the cluster that they must be of
	Epoch        uint64   // the epoch that begins: the next one, or this restore came second
	KeepSessions bool
}

// Kind implements [Command].
func (Restore) Kind() Kind { return KindRestore }

func (c Restore) code(x *codec) Command {
	x.header(&c.Header)
	x.restoreID(&c.Restore)
	x.raw(c.Digest[:])
	x.raw(c.From[:])
	x.require(c.From != [16]byte{}, "no cluster id")
	x.uint(&c.Epoch, 1<<63)
	x.flag(&c.KeepSessions)
	return c
}

// replacement is what a Restore puts in a state's place.
type replacement struct {
	operation OperationID // of the command
	refusal   Reason      // else Done
	state     *State
	answers   fifo[answer]
}

// prepare builds what the entry's Restore will need, which takes seconds if there are
// millions of sessions. It only reads the state, so that look-ups go on meanwhile; apply
// must follow, with nothing in between.
func (s *State) prepare(e Entry) {
	s.prepared = nil
	if c, ok := e.Commands[0].(Restore); ok {
		s.prepared = c.build(s)
	}
}

func (c Restore) apply(s *State) Outcome {
	made := s.prepared
	s.prepared = nil
	if made == nil || made.operation != c.Operation {
		made = c.build(s) // it was not the first of its entry
	}
	switch {
	case s.staged.id != c.Restore: // abandoned by this entry's time
		return Outcome{Reason: RestoreLost}
	case made.refusal != Done:
		return Outcome{Reason: made.refusal}
	case made.state.now > s.now+maxRestoreAhead:
		return Outcome{Reason: RestoreAhead}
	}
	for made.answers.start < s.operations.answers.start { // forgotten meanwhile
		made.answers.pop()
	}
	s.now = max(s.now, made.state.now)
	s.generation, s.rolesVersion = made.state.generation, made.state.rolesVersion
	s.pairs, s.users, s.roles = made.state.pairs, made.state.users, made.state.roles
	s.operations.answers = made.answers
	s.epoch, s.epochID = s.epoch+1, c.Restore
	s.staged = staged{}
	return Outcome{}
}

// build makes the replacement. It leaves the state alone.
func (c Restore) build(s *State) *replacement {
	made := &replacement{operation: c.Operation}
	if made.state, made.refusal = c.read(s); made.refusal != Done {
		return made
	}
	if c.KeepSessions {
		made.state.pairs.learn(s.pairs)
	} else {
		made.state.pairs, made.state.now = newPairs(maphash.MakeSeed()), 0
	}
	made.answers = s.operations.answersAbout(s.pairs, made.state.pairs)
	made.state.generation = max(made.state.generation, s.generation)
	made.state.renewUsers()
	made.state.rolesVersion = max(made.state.rolesVersion, s.rolesVersion) + 1
	return made
}

// read returns the state that was staged, or why it must not take s's place.
func (c Restore) read(s *State) (*State, Reason) {
	switch {
	case s.staged.id != c.Restore:
		return nil, RestoreLost
	case c.Epoch != s.epoch+1:
		return nil, RestoreOutdated
	case s.staged.digest() != c.Digest:
		return nil, RestoreUnreadable
	}
	from, err := restore(&chunkReader{chunks: s.staged.chunks})
	switch {
	case err != nil, from.level > s.level, max(uint64(from.generation), from.rolesVersion) > maxRestored:
		return nil, RestoreUnreadable
	case from.clusterID != c.From, from.keyCheck != s.keyCheck:
		return nil, RestoreForeign
	case c.KeepSessions && !s.remembers(from):
		return nil, RestoreOutdated
	}
	return from, Done
}

// remembers tells whether this state knows what became of every session of another one.
// Since its epoch began it has forgotten none that can still be used; at its beginning
// it may have. Of another cluster's sessions it knows nothing, and what it was told of them by one
// restore it has forgotten by the next.
func (s *State) remembers(other *State) bool {
	if other.clusterID != s.clusterID {
		return s.epoch == 0
	}
	return other.epochID == s.epochID
}

// learn ends in p what ended in other.
func (p *pairs) learn(other *pairs) {
	p.records.all(func(r ref, v *pair) bool {
		known := other.byAccess(v.access())
		if known == 0 {
			return true
		}
		if over := other.at(known).flags() & (accessInvalidated | refreshInvalidated | refreshed); over&^v.flags() != 0 {
			p.records.edit(r).set(over)
		}
		return true
	})
}

// answersAbout returns the answers with each naming its pair as it is named in another
// set of pairs, or none if it is not there.
func (o *operations) answersAbout(present, other *pairs) fifo[answer] {
	moved := fifo[answer]{start: o.answers.start, end: o.answers.start}
	for n := o.answers.start; n < o.answers.end; n++ {
		a := *o.answers.at(n)
		if r := a.pair(); present.records.has(r) {
			a.setPair(other.byAccess(present.at(r).access()))
		}
		moved.push(a)
	}
	return moved
}

// renewUsers gives every record a new generation, in the order of the former ones: what
// was decided by those is stale.
func (s *State) renewUsers() {
	records := s.users.values()
	slices.SortFunc(records, func(a, b *User) int { return cmp.Compare(a.Generation, b.Generation) })
	for _, v := range records {
		s.putUser(*v)
	}
}

// beginEpoch is what happens to a state that is not the one that was acknowledged, outside of the log.
func (s *State) beginEpoch(id [16]byte, keepSessions bool) {
	if !keepSessions {
		none := newPairs(maphash.MakeSeed())
		s.operations.answers = s.operations.answersAbout(s.pairs, none)
		s.pairs = none
	}
	s.renewUsers()
	s.rolesVersion++
	s.epoch, s.epochID = s.epoch+1, id
	s.staged = staged{}
	s.lineage, s.ancestors = branch(s.lineage, id), s.ancestors.and(s.lineage)
}

// branch is the lineage that a recovery begins.
func branch(from, id [16]byte) [16]byte {
	binary.BigEndian.PutUint64(id[:8], binary.BigEndian.Uint64(from[:8])+1)
	return id
}

// ancestors are the ids of the lineages that one descends from, newest first. The oldest of
// more are forgotten: recoveries are rare.
type ancestors [16][8]byte

// and adds a lineage from which another begins. The first recovery is from one without id.
func (a ancestors) and(l [16]byte) ancestors {
	if l == ([16]byte{}) {
		return a
	}
	copy(a[1:], a[:])
	a[0] = [8]byte(l[8:])
	return a
}
