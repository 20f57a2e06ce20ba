package fsm

// Summary says what a state is, without anything that is in it.
type Summary struct {
	ClusterID [16]byte    // zero until the cluster is initialized
	KeyCheck  [32]byte    // fingerprint of the cluster key
	Epoch     uint64      // the recovery epoch: how often the state was restored or recovered
	Lineage   [16]byte    // which recovery outside of the log it descends from; see [FSM.BeginEpoch]
	Ancestors [16][8]byte // the ids of the lineages before that, newest first; the oldest of more are forgotten
	Level     uint64      // the command-set level
	Applied   uint64      // raft index of the newest command entry
	Now       UnixMilli

	Pairs      int
	Identities int // with the clients that obtained them
	Users      int // records; reserved users have one once it was changed
	Roles      int
	Operations int // whose outcome is remembered
}

// Summary returns what the state is now.
func (f *FSM) Summary() Summary {
	f.mu.RLock()
	defer f.mu.RUnlock()
	sum := f.state.summary()
	return sum.public()
}

func (v *summary) public() Summary {
	count := func(s section) int { return int(v.counts[s]) } //nolint:gosec // it is in memory
	return Summary{
		ClusterID:  v.clusterID,
		KeyCheck:   v.keyCheck,
		Epoch:      v.epoch,
		Lineage:    v.lineage,
		Ancestors:  v.ancestors,
		Level:      v.level,
		Applied:    v.applied,
		Now:        v.now,
		Pairs:      count(sectionPairs),
		Identities: count(sectionHolders),
		Users:      count(sectionUsers),
		Roles:      count(sectionRoles),
		Operations: count(sectionOperations),
	}
}

// summary is the first thing in a snapshot: what is not in a table, and how much
// there is of all that follows.
type summary struct {
	now          UnixMilli
	applied      uint64
	clusterID    [16]byte
	keyCheck     [32]byte
	level        uint64
	epoch        uint64
	epochID      [16]byte
	lineage      [16]byte
	ancestors    ancestors
	generation   Generation
	rolesVersion uint64
	operation    uint64                    // number of the first operation
	restore      [16]byte                  // of which chunks follow; zero: none
	restoreAt    UnixMilli                 // time of the newest of these
	counts       [sectionStaged + 1]uint64 // items by section; pairs, not pages
}

func (v *summary) code(x *codec) {
	x.millis((*int64)(&v.now), uint64(MaxMoment))
	x.uint(&v.applied, maxCounter)
	x.raw(v.clusterID[:])
	x.raw(v.keyCheck[:])
	x.uint(&v.level, 1<<32)
	x.uint(&v.epoch, maxCounter)
	x.raw(v.epochID[:])
	x.raw(v.lineage[:])
	for i := range v.ancestors {
		x.raw(v.ancestors[i][:])
	}
	x.uint((*uint64)(&v.generation), maxCounter)
	x.uint(&v.rolesVersion, maxCounter)
	x.uint(&v.operation, maxCounter)
	x.raw(v.restore[:])
	x.millis((*int64)(&v.restoreAt), uint64(MaxMoment))
	for i := range v.counts {
		x.uint(&v.counts[i], maxPages*pageSlots)
	}
}

func (s *State) summary() summary {
	h := s.pairs.holders
	return summary{
		now:          s.now,
		applied:      s.applied,
		clusterID:    s.clusterID,
		keyCheck:     s.keyCheck,
		level:        s.level,
		epoch:        s.epoch,
		epochID:      s.epochID,
		lineage:      s.lineage,
		ancestors:    s.ancestors,
		generation:   s.generation,
		rolesVersion: s.rolesVersion,
		operation:    s.operations.done.start,
		restore:      s.staged.id,
		restoreAt:    s.staged.at,
		counts: [...]uint64{
			sectionRealms:     uint64(h.realms.used),        //nolint:gosec // a count
			sectionOwners:     uint64(h.owners.used),        //nolint:gosec // a count
			sectionHolders:    uint64(h.held.used),          //nolint:gosec // a count
			sectionPairs:      uint64(s.pairs.records.used), //nolint:gosec // a count
			sectionDue:        uint64(len(s.pairs.due)),
			sectionUsers:      uint64(s.users.table.used), //nolint:gosec // a count
			sectionRoles:      uint64(s.roles.table.used), //nolint:gosec // a count
			sectionOperations: s.operations.done.end - s.operations.done.start,
			sectionAnswers:    s.operations.answers.end - s.operations.answers.start,
			sectionLeases:     uint64(len(s.leases)),
			sectionStaged:     uint64(len(s.staged.chunks)),
		},
	}
}

// restoreSummary takes over what is in no table.
func (s *State) restoreSummary(sum *summary) {
	s.now, s.applied = sum.now, sum.applied
	s.clusterID, s.keyCheck = sum.clusterID, sum.keyCheck
	s.level, s.epoch, s.epochID = sum.level, sum.epoch, sum.epochID
	s.lineage, s.ancestors = sum.lineage, sum.ancestors
	s.generation, s.rolesVersion = sum.generation, sum.rolesVersion
	s.staged.id, s.staged.at = sum.restore, sum.restoreAt
}
