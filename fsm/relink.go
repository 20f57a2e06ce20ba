package fsm

// relink rebuilds what a snapshot leaves out, the indexes above all, and refuses
// on x what no state could have written.
func (s *State) relink(x *codec) {
	x.require(s.rolesVersion != 0, "no version of the roles")
	x.require(s.level != 0, "no command-set level")
	s.users.relink(x)
	s.roles.relink(x)
	s.users.table.all(func(_ ref, u **User) bool {
		x.require((*u).Generation != 0 && (*u).Generation <= s.generation, "generation of a user")
		return x.err == nil
	})
	s.leases.relink(x, s.applied)
	s.staged.relink(x, s.now)
	for _, step := range []func(*codec){
		s.pairs.holders.relinkOwners, s.pairs.holders.relinkHeld,
		s.pairs.relinkRecords, s.pairs.holders.checkUse, s.pairs.checkDue,
		func(x *codec) { s.operations.relink(x, s.now) },
	} {
		if x.err == nil {
			step(x)
		}
	}
}

func (n *named[K, V]) relink(x *codec) {
	n.table.all(func(r ref, v **V) bool {
		_, known := n.lookup(n.key(*v))
		x.require(!known, "name used twice")
		n.index.add(n.hash(n.key(*v)), r)
		return x.err == nil
	})
}

// relinkOwners finds the head of each realm's chain and checks that the chains
// hold every owner once.
func (h *holders) relinkOwners(x *codec) {
	h.owners.all(func(r ref, o *owner) bool {
		x.require(h.realms.has(o.realm), "owner without realm")
		x.require(o.next == 0 || h.owners.has(o.next) && h.owners.at(o.next).before == r, "chain of owners")
		x.require(o.before == 0 || h.owners.has(o.before) && h.owners.at(o.before).next == r, "chain of owners")
		if x.err != nil {
			return false
		}
		if o.before == 0 {
			head := &h.realms.edit(o.realm).head
			x.require(*head == 0, "two chains of one realm")
			*head = r
		}
		o.name.realm = h.realms.at(o.realm).name
		_, known := h.findOwner(*o.name)
		x.require(!known, "owner twice")
		h.ownIndex.add(h.hashOwner(*o.name), r)
		return x.err == nil
	})
	if x.err != nil {
		return
	}
	names, seen := map[RealmName]bool{}, 0
	h.realms.all(func(in ref, v *realm) bool {
		x.require(v.head != 0 && !names[v.name], "realm empty or twice")
		names[v.name] = true
		for r := v.head; r != 0 && x.err == nil; r = h.owners.at(r).next {
			seen++
			x.require(h.owners.at(r).realm == in && seen <= h.owners.used, "chain of owners")
		}
		return x.err == nil
	})
	x.require(seen == h.owners.used, "owners outside their chains")
}

func (h *holders) relinkHeld(x *codec) {
	h.held.all(func(r ref, v *holder) bool {
		x.require(h.owners.has(v.owner), "holder without owner")
		if x.err != nil {
			return false
		}
		h.thrifty(v.held)
		owner := h.owners.edit(v.owner)
		owner.holders++
		x.require(*owner.name == ownerName{v.Identity.Realm.Name, v.Identity.Username}, "holder of another owner")
		hash := v.hash(h)
		_, known := h.findHeld(hash, &v.Identity, &v.Client)
		x.require(!known, "holder twice")
		h.heldIndex.add(hash, r)
		h.bytes += v.size()
		return x.err == nil
	})
}

// relinkRecords indexes the pairs, counts their holders' uses, finds the newest of
// each owner and checks each pair's neighbours in the chains of owners and families.
func (p *pairs) relinkRecords(x *codec) {
	access := p.access.load(p.records.used, func(a, b ref) bool { return p.at(a).access() == p.at(b).access() })
	refresh := p.refresh.load(p.records.used, func(a, b ref) bool { return p.at(a).refresh() == p.at(b).refresh() })
	owned, families := 0, 0
	p.records.all(func(r ref, v *pair) bool {
		x.require(p.holders.held.has(v.holder()) && v.flags()&^knownFlags == 0, "holder or flags of a pair")
		x.require(!v.is(madeFromToken) || v.madeFrom() != Digest{} && v.refreshExpires() == 0 && v.linked(linkPredecessor) == 0 && v.linked(linkSuccessor) == 0, "token made from a token")
		x.require(v.createdAt() <= MaxMoment && v.refreshExpires() <= MaxMoment+MaxRefreshLifetime, "moments of a pair")
		x.require(v.linked(linkDue) == 0 || p.records.has(v.linked(linkDue)), "chain of due pairs")
		x.require(x.err != nil || p.ordered(r, linkOlder, linkNewer, p.sameOwner), "owner's chain")
		x.require(x.err != nil || p.ordered(r, linkPredecessor, linkSuccessor, anyPair), "family")
		if x.err != nil {
			return false
		}
		owned += p.begins(r, linkOlder, linkNewer)
		families += p.begins(r, linkPredecessor, linkSuccessor)
		x.require(max(owned, families) <= p.records.used, "chains that meet")
		x.require(access.add(r) && (!v.hasRefresh() || refresh.add(r)), "digest twice")
		p.holders.held.edit(v.holder()).pairs++
		if v.linked(linkNewer) == 0 {
			x.require(p.holders.prepend(v.holder(), r) == 0, "two chains of one owner")
		}
		return x.err == nil
	})
	x.require(x.err != nil || access.flush() && refresh.flush(), "digest twice")
	x.require(x.err != nil || owned == p.records.used, "ring of an owner's pairs")
	x.require(x.err != nil || families == p.records.used, "ring of a family")
}

// ordered tells whether the neighbours of a pair in a chain know it as theirs, fit
// it, and were created before and after it.
func (p *pairs) ordered(r ref, before, after int, fit func(a, b *pair) bool) bool {
	v := p.at(r)
	if previous := v.linked(before); previous != 0 {
		if !p.records.has(previous) || p.at(previous).linked(after) != r {
			return false
		}
	}
	next := v.linked(after)
	if next == 0 {
		return true
	}
	if !p.records.has(next) {
		return false
	}
	w := p.at(next)
	return w.linked(before) == r && w.createdAt() >= v.createdAt() && p.holders.held.has(w.holder()) && fit(v, w)
}

// begins counts the pairs that a chain has from r on and that were created at the
// same moment, if r is the first of those. Since a chain is in the order of time,
// a ring can only be among such pairs, and then none of them is the first. So if
// the counts of all pairs add up, there is no ring, and nearly all pairs were
// counted without a walk.
func (p *pairs) begins(r ref, before, after int) (n int) {
	at := p.at(r).createdAt()
	if previous := p.at(r).linked(before); previous != 0 && p.at(previous).createdAt() == at {
		return 0
	}
	for n <= p.records.used && p.records.has(r) && p.at(r).createdAt() == at { // what comes later is not checked yet
		n++
		r = p.at(r).linked(after)
	}
	return n
}

func (p *pairs) sameOwner(v, w *pair) bool {
	return p.holders.held.at(v.holder()).owner == p.holders.held.at(w.holder()).owner
}

func anyPair(_, _ *pair) bool { return true }

// checkUse checks that no identity and no owner outlived its pairs.
func (h *holders) checkUse(x *codec) {
	h.held.all(func(_ ref, v *holder) bool {
		x.require(v.pairs > 0, "holder without pairs")
		return x.err == nil
	})
	h.owners.all(func(_ ref, o *owner) bool {
		x.require(o.holders > 0 && o.newest != 0, "owner without pairs")
		return x.err == nil
	})
}

// checkDue checks that the buckets hold every pair once.
func (p *pairs) checkDue(x *codec) {
	seen := 0
	for i, b := range p.due {
		x.require(i == 0 || b.number > p.due[i-1].number, "order of buckets")
		x.require(p.records.has(b.head), "empty bucket")
		for r := b.head; r != 0 && x.err == nil; r = p.at(r).linked(linkDue) {
			seen++
			x.require(seen <= p.records.used && p.at(r).dueBucket() == b.number, "pair in a wrong bucket")
		}
	}
	x.require(seen == p.records.used, "pairs without bucket")
}

// relink indexes the operations and checks that the answers belong to them.
func (o *operations) relink(x *codec, now UnixMilli) {
	index := o.index.load(o.done.len(), func(a, b ref) bool { return o.at(a).id() == o.at(b).id() })
	next := o.answers.start
	var last UnixMilli
	for n := o.done.start; n < o.done.end && x.err == nil; n++ {
		op := o.done.at(n)
		x.require(op.id() != OperationID{} && index.add(ref(n)), "operation twice") //nolint:gosec // the low half is meant
		x.require(last <= op.time() && op.time() <= now, "order of operations")
		last = op.time()
		if op.answered() {
			x.require(next < o.answers.end && o.answers.at(next).number() == n, "operation without answer")
			next++
		}
	}
	x.require(x.err != nil || index.flush(), "operation twice")
	x.require(next == o.answers.end, "answer without operation")
}
