package fsm

// ended counts tokens that a command invalidated, and those that were invalid before.
type ended struct{ now, before uint32 }

func (e *ended) add(more ended) {
	e.now += more.now
	e.before += more.before
}

// endPart invalidates one token of a pair, whether or not it has expired.
func (p *pairs) endPart(r ref, part uint16) ended {
	switch {
	case r == 0:
		return ended{}
	case p.at(r).is(part):
		return ended{before: 1}
	}
	p.records.edit(r).set(part)
	return ended{now: 1}
}

// endPair invalidates both tokens of a pair.
func (p *pairs) endPair(r ref) ended {
	sum := p.endPart(r, accessInvalidated)
	if p.at(r).hasRefresh() {
		sum.add(p.endPart(r, refreshInvalidated))
	}
	return sum
}

// endFamily invalidates all that came of the same login as a pair.
func (p *pairs) endFamily(r ref) (sum ended) {
	p.family(r, func(r ref) { sum.add(p.endPair(r)) })
	return sum
}

// family visits a pair, its predecessors and its successors.
func (p *pairs) family(r ref, visit func(ref)) {
	visit(r)
	for _, link := range []int{linkPredecessor, linkSuccessor} {
		for next := p.at(r).linked(link); next != 0; next = p.at(next).linked(link) {
			visit(next)
		}
	}
}

// endUser invalidates all that a user has, for good reason: the user is not who it was.
func (p *pairs) endUser(realm RealmName, username Username, now UnixMilli) ended {
	return p.endMatching(realm, username, MaxMoment+1, now)
}

// endMatching invalidates both tokens of every pair of a realm and/or a user that was
// created before that moment and of which one is still valid. It costs the pairs of
// those users, not all.
func (p *pairs) endMatching(realm RealmName, username Username, before, now UnixMilli) (sum ended) {
	p.holders.newestOf(realm, username, func(newest ref) {
		for r := newest; r != 0; r = p.at(r).linked(linkOlder) {
			if record := p.at(r); record.createdAt() < before && record.live(now) {
				sum.add(p.endPair(r))
			}
		}
	})
	return sum
}

// endAll invalidates both tokens of every pair that was created before that moment
// and of which one is still valid. It goes through memory in order, which takes a
// tenth of the time that following the owners' chains would.
func (p *pairs) endAll(before, now UnixMilli) (sum ended) {
	p.records.all(func(r ref, record *pair) bool {
		if record.createdAt() < before && record.live(now) {
			sum.add(p.endPair(r))
		}
		return true
	})
	return sum
}
