package fsm

import "hash/maphash"

// State is the replicated state. It is pure: the same entries in the same order
// give the same state and the same outcomes on every replica, and the same bytes
// in a snapshot. It knows no lock; see [FSM].
type State struct {
	now          UnixMilli // the largest time of any entry
	applied      uint64    // raft index of the newest entry
	clusterID    [16]byte
	keyCheck     [32]byte
	generation   Generation // of the user's record that changed last
	rolesVersion uint64     // never zero, which a Guard takes for "not asked"
	epoch        uint64     // of the last recovery; see [Restore]
	epochID      [16]byte   // drawn when the epoch began; zero in the first
	lineage      [16]byte   // of the last recovery outside of the log; see [FSM.BeginEpoch]
	ancestors    ancestors  // of the lineage
	level        uint64     // of the command set; never zero
	pairs        *pairs
	users        users
	roles        roles
	operations   *operations
	leases       leases
	staged       staged       // an unfinished restore
	prepared     *replacement // of the entry that is about to be applied; not part of the state
	snapshots    int          // taken and not yet released
}

func newState() *State {
	seed := maphash.MakeSeed()
	return &State{
		rolesVersion: 1,
		level:        1,
		pairs:        newPairs(seed),
		users:        newUsers(seed),
		roles:        newRoles(seed),
		operations:   newOperations(seed),
	}
}

// forgetPerCommand is how many old operations each command makes the state forget:
// more than it adds, so that the memory is bounded, and few, so that a burst of
// operations that grew old together stops nobody.
const forgetPerCommand = 4

// apply changes the state by one entry of the log and returns the outcome of each
// of its commands.
func (s *State) apply(index uint64, e Entry) []Outcome {
	s.now = max(s.now, e.At)
	s.applied = index
	s.operations.trim(s.now, forgetPerCommand*len(e.Commands))
	s.staged.abandon(s.now)
	outcomes := make([]Outcome, len(e.Commands))
	for i, c := range e.Commands {
		outcomes[i] = s.applyCommand(c)
	}
	return outcomes
}

func (s *State) applyCommand(c Command) Outcome {
	header := c.head()
	if first, known := s.operations.recall(header.Operation); known {
		return first
	}
	outcome := Outcome{Reason: StaleDecision}
	if s.holds(&header.Guard) {
		outcome = c.apply(s)
	}
	s.operations.remember(header.Operation, s.now, outcome)
	return outcome
}

// holds tells whether what a decision rested on is still so.
func (s *State) holds(g *Guard) bool {
	if g.Caller != (Principal{}) && !s.users.unchanged(g.Caller, g.CallerGeneration) {
		return false
	}
	if g.RunBy != (Principal{}) && !s.users.unchanged(g.RunBy, g.RunByGeneration) {
		return false
	}
	if g.RolesVersion != 0 && g.RolesVersion != s.rolesVersion {
		return false
	}
	if g.Bearer == (Digest{}) {
		return true
	}
	r := s.pairs.byAccess(g.Bearer)
	return r != 0 && s.pairs.accessLive(s.pairs.at(r), s.now)
}

// putUser stores a new or changed record under the next generation. Generations
// are never used twice, so a user who was deleted and created again never fits a
// decision about the first one.
func (s *State) putUser(u User) {
	s.generation++
	u.Generation = s.generation
	s.users.put(&u)
}

// size returns the number of pairs and about how many bytes a snapshot would take.
func (s *State) size() (pairs, snapshotBytes int) {
	pairs = s.pairs.records.used
	bytes := pairs*pairSize + s.pairs.holders.bytes +
		s.operations.done.len()*len(operation{}) + s.operations.answers.len()*len(answer{}) + s.staged.bytes
	const recordBytes = 512 // a guess at a user or role
	return pairs, bytes + recordBytes*(s.users.table.used+s.roles.table.used)
}
