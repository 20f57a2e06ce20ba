package fsm

// maxVisits bounds the pairs that one [FSM.List] looks at: half a millisecond in which
// no entry can be applied.
const maxVisits = 2000

// Listed is a pair in a listing. Nothing in it is a secret.
type Listed struct {
	ID Digest // of the access token; names the pair in [Invalidate]
	Token
}

// ActiveAt tells whether something of the pair can be used at that moment: the access
// token, or the refresh token if it was not used before.
func (t *Token) ActiveAt(now UnixMilli) bool {
	return !t.AccessInvalidated && now <= t.AccessExpiresAt ||
		!t.RefreshInvalidated && !t.Refreshed && now <= t.RefreshExpiresAt
}

// Listing asks for pairs.
type Listing struct {
	// Realm and Username are whose pairs are meant; empty: anybody's. One owner's come
	// newest first, several owners' in no order that means anything.
	Realm    RealmName
	Username Username
	// ActiveAt, unless zero, leaves out the pairs of which nothing can be used any more
	// at that moment: a refresh token that was used is nothing that can be used.
	ActiveAt UnixMilli
	Limit    int // pairs at most; at least 1
	// After is where an earlier page ended. Zero: from the beginning.
	After Position
}

// Position is a place in a listing, the same on every replica. It stays good when
// pairs are added or collected: a pair that is there all the time while the pages are
// asked for is on one of them. Only if the very pair where a page ended was collected
// meanwhile may those of the same millisecond come twice. Any value is safe.
type Position struct {
	Slot      uint32    // of several owners' pairs: how many slots have been looked at
	CreatedAt UnixMilli // of one owner's: the age of the last pair that was looked at
	ID        Digest    // and its name
}

// List returns the next pairs of a listing, and where it goes on; the zero Position at
// its end. It looks at a bounded number of pairs: fewer than Limit, or none, does not
// mean that there are no more.
func (f *FSM) List(q Listing) (page []Listed, next Position) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if q.Realm != "" && q.Username != "" {
		return f.state.pairs.listOwner(&q)
	}
	return f.state.pairs.listAll(&q)
}

// listOwner follows the chain of one owner's pairs.
func (p *pairs) listOwner(q *Listing) (page []Listed, next Position) {
	owner, found := p.holders.findOwner(ownerName{q.Realm, q.Username})
	if !found {
		return nil, Position{}
	}
	r := p.holders.owners.at(owner).newest
	if last := p.byAccess(q.After.ID); last != 0 && p.holders.held.at(p.at(last).holder()).owner == owner {
		r = p.at(last).linked(linkOlder)
	}
	for visits := 0; r != 0; r = p.at(r).linked(linkOlder) {
		record := p.at(r)
		visits++
		// The pair where the last page ended is gone: look for its place from the newest on.
		seeking := q.After.CreatedAt != 0 && record.createdAt() > q.After.CreatedAt
		if !seeking && p.listed(record, q) {
			page = append(page, Listed{ID: record.access(), Token: p.token(r)})
		}
		if record.linked(linkOlder) != 0 && (len(page) == q.Limit || visits == maxVisits) {
			next = Position{CreatedAt: record.createdAt(), ID: record.access()}
			if seeking {
				next.CreatedAt = q.After.CreatedAt
			}
			return page, next
		}
	}
	return page, Position{}
}

// listAll goes through all slots. A pair keeps its slot for life.
func (p *pairs) listAll(q *Listing) (page []Listed, next Position) {
	end := uint32(len(p.records.pages) * pageSlots)                  //nolint:gosec // at most maxPages pages
	stop := uint32(min(uint64(end), uint64(q.After.Slot)+maxVisits)) //nolint:gosec // at most end
	for slot := q.After.Slot; slot < stop; slot++ {
		r := ref(slot + 1)
		if !p.records.has(r) {
			continue
		}
		record := p.at(r)
		held := p.holders.at(record.holder())
		if q.Realm != "" && held.Identity.Realm.Name != q.Realm || q.Username != "" && held.Identity.Username != q.Username {
			continue
		}
		if !p.listed(record, q) {
			continue
		}
		page = append(page, Listed{ID: record.access(), Token: p.token(r)})
		if len(page) == q.Limit {
			stop = slot + 1
		}
	}
	if stop < end {
		next.Slot = stop
	}
	return page, next
}

// listed tells whether a pair of the right owner belongs into a listing.
func (p *pairs) listed(record *pair, q *Listing) bool {
	return q.ActiveAt == 0 || p.accessLive(record, q.ActiveAt) || record.refreshLive(q.ActiveAt) && !record.is(refreshed)
}
