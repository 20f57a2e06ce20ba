package fsm

import "io"

// Save writes the state as it is at one moment, in the bytes of a snapshot, while
// entries are applied. It first hands its summary to begin, which returns where to
// write. Two replicas with the same entries applied write the same bytes.
func (f *FSM) Save(begin func(Summary) (io.Writer, error)) error {
	return f.save(func(v *view) (io.Writer, error) { return begin(v.summary.public()) })
}

// SaveForRestore writes what the chunks of a [Restore] bring: the users and roles, and
// the sessions if they are to be kept. The rest of the state would only make them larger.
func (f *FSM) SaveForRestore(to io.Writer, keepSessions bool) error {
	return f.save(func(v *view) (io.Writer, error) {
		v.forRestore(keepSessions)
		return to, nil
	})
}

func (f *FSM) save(begin func(*view) (io.Writer, error)) error {
	f.mu.Lock()
	of := f.state
	v := of.snapshot()
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		of.release()
		f.mu.Unlock()
	}()
	to, err := begin(v)
	if err != nil {
		return err
	}
	return v.write(to)
}

// forRestore leaves out what a Restore does not look at.
func (v *view) forRestore(keepSessions bool) {
	sum := v.summary
	kept := []section{sectionUsers, sectionRoles}
	if keepSessions {
		kept = append(kept, sectionRealms, sectionOwners, sectionHolders, sectionPairs, sectionDue)
	} else {
		v.realms, v.owners, v.held, v.records, v.due = nil, nil, nil, nil, nil
		sum.now = 0
	}
	v.done, v.answers, v.leases, v.staged = fifo[operation]{}, fifo[answer]{}, nil, nil
	sum.operation, sum.restore, sum.restoreAt = 0, [16]byte{}, 0
	sum.counts = [len(sum.counts)]uint64{}
	for _, s := range kept {
		sum.counts[s] = v.summary.counts[s]
	}
	v.summary = sum
}

// BeginEpoch begins a new recovery epoch outside of the log, for a state that may lack
// what was acknowledged, or have what was not: when a cluster is recovered from those of
// its members that are left. All sessions end, unless they are to be kept in spite of
// that; whatever was decided before is stale. The id is drawn at random: the same state may
// be recovered twice. It returns the number of the epoch. The caller sees to it that all
// members go on from the same state.
//
// With the epoch begins a lineage: how many recoveries the state descends from, in eight
// bytes, big endian, and eight of the id. The ids of those before it stay known (Summary). Nothing on the log changes it, a [Restore]
// neither, so it is the same at all members at all times, whatever each has applied.
func (f *FSM) BeginEpoch(id [16]byte, keepSessions bool) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.beginEpoch(id, keepSessions)
	return f.state.epoch
}
