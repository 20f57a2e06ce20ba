package fsm

import (
	"crypto/sha256"
	"maps"
	"slices"
)

// copied is the model as a backup holds it.
func (m *model) copied(keepSessions bool) *model {
	c := *m
	c.users, c.roles, c.pairs = maps.Clone(m.users), maps.Clone(m.roles), map[Digest]*modelPair{}
	if !keepSessions {
		c.now = 0
		return &c
	}
	for d, p := range m.pairs {
		c.pairs[d] = new(*p)
	}
	return &c
}

func (m *model) stage(c RestoreChunk) Outcome {
	if c.Restore != m.staged.id && c.Sequence == 0 {
		m.staged = modelStaged{id: c.Restore}
	}
	switch have := uint32(len(m.staged.data)); {
	case c.Restore != m.staged.id, c.Sequence > have:
		return Outcome{Reason: RestoreLost}
	case c.Sequence == have:
		m.staged.data, m.staged.at = append(m.staged.data, c.Data), m.now
	}
	return Outcome{}
}

func (m *model) restore(c Restore) Outcome {
	digest := sha256.Sum256(slices.Concat(m.staged.data...))
	from := m.saved[digest]
	switch {
	case c.Restore != m.staged.id:
		return Outcome{Reason: RestoreLost}
	case c.Epoch != m.epoch+1:
		return Outcome{Reason: RestoreOutdated}
	case digest != c.Digest, from == nil:
		return Outcome{Reason: RestoreUnreadable}
	case from.cluster.ClusterID != c.From, from.cluster.KeyCheck != m.cluster.KeyCheck:
		return Outcome{Reason: RestoreForeign}
	case c.KeepSessions && from.cluster.ClusterID == m.cluster.ClusterID && from.epochID != m.epochID,
		c.KeepSessions && from.cluster.ClusterID != m.cluster.ClusterID && m.epoch != 0:
		return Outcome{Reason: RestoreOutdated}
	case c.KeepSessions && from.now > m.now+60_000:
		return Outcome{Reason: RestoreAhead}
	}
	next := from.copied(c.KeepSessions)
	for d, p := range next.pairs {
		known := m.pairs[d]
		if known == nil {
			continue
		}
		if known.Refreshed && !p.Refreshed {
			p.Refreshed, p.consumedBy = true, OperationID{} // its successor is not restored
		}
		p.AccessInvalidated = p.AccessInvalidated || known.AccessInvalidated
		p.RefreshInvalidated = p.RefreshInvalidated || known.RefreshInvalidated
	}
	m.now = max(m.now, next.now)
	m.pairs, m.users, m.roles = next.pairs, next.users, next.roles
	m.generation = max(m.generation, from.generation)
	users := slices.SortedFunc(maps.Values(next.users), func(a, b User) int { return int(a.Generation) - int(b.Generation) })
	for _, u := range users {
		m.store(u)
	}
	m.rolesVersion = max(m.rolesVersion, from.rolesVersion) + 1
	m.epoch, m.epochID = m.epoch+1, c.Restore
	m.staged = modelStaged{}
	return Outcome{}
}
