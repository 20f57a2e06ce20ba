package fsm

import (
	"hash/maphash"
	"slices"
)

// pairs are all the pairs there are, and the ways to them.
type pairs struct {
	records table[pair]
	access  index // by the access token's digest
	refresh index // by the refresh token's digest
	holders *holders
	due     []bucket // in order
	seed    maphash.Seed
}

// bucket heads the chain of the pairs that may be collected when its 65 seconds
// are over. Collecting therefore never looks at a pair that has to stay.
type bucket struct {
	number uint32
	head   ref
}

const bucketBits = 16

func newPairs(seed maphash.Seed) *pairs {
	p := &pairs{holders: newHolders(seed), seed: seed}
	p.access = newIndex(func(r ref) uint64 { return p.hash(p.at(r).access()) })
	p.refresh = newIndex(func(r ref) uint64 { return p.hash(p.at(r).refresh()) })
	return p
}

func (p *pairs) at(r ref) *pair { return p.records.at(r) }

// byAccess returns the pair with that access token, or zero.
func (p *pairs) byAccess(d Digest) ref {
	r, _ := p.access.find(p.hash(d), func(r ref) bool { return p.at(r).access() == d })
	return r
}

// byRefresh returns the pair with that refresh token, or zero.
func (p *pairs) byRefresh(d Digest) ref {
	r, _ := p.refresh.find(p.hash(d), func(r ref) bool { return p.at(r).refresh() == d })
	return r
}

func (p *pairs) hash(d Digest) uint64 { return maphash.Bytes(p.seed, d[:]) }

// taken tells whether one of the digests is in use. A zero one never is.
func (p *pairs) taken(access, refresh Digest) bool {
	return p.byAccess(access) != 0 || p.byRefresh(refresh) != 0
}

// add adds a pair whose digests are not taken. It takes over the reference to the
// holder. The predecessor, if there is one, counts as refreshed from now on.
func (p *pairs) add(n newPair) {
	record := n.record()
	r := p.records.add(record)
	p.access.add(p.hash(record.access()), r)
	if record.hasRefresh() {
		p.refresh.add(p.hash(record.refresh()), r)
	}
	p.schedule(r)
	if older := p.holders.prepend(n.holder, r); older != 0 {
		p.records.edit(older).link(linkNewer, r)
		p.records.edit(r).link(linkOlder, older)
	}
	if n.predecessor != 0 {
		predecessor := p.records.edit(n.predecessor)
		predecessor.set(refreshed)
		predecessor.link(linkSuccessor, r)
	}
}

// schedule puts a pair into the bucket in which it is due.
func (p *pairs) schedule(r ref) {
	number := p.at(r).dueBucket()
	i, found := slices.BinarySearchFunc(p.due, number, func(b bucket, n uint32) int { return int(b.number) - int(n) })
	if !found {
		p.due = slices.Insert(p.due, i, bucket{number: number})
	}
	p.records.edit(r).link(linkDue, p.due[i].head)
	p.due[i].head = r
}

// collect removes at most limit pairs that are due.
func (p *pairs) collect(now UnixMilli, limit uint32) (collected uint32) {
	for collected < limit && len(p.due) > 0 {
		b := &p.due[0]
		if (UnixMilli(b.number)+1)<<bucketBits > now {
			break
		}
		r := b.head
		b.head = p.at(r).linked(linkDue)
		if b.head == 0 {
			p.due = slices.Delete(p.due, 0, 1)
		}
		p.remove(r)
		collected++
	}
	return collected
}

// remove removes a pair that no bucket holds any more.
func (p *pairs) remove(r ref) {
	record := *p.at(r)
	p.access.remove(p.hash(record.access()), r)
	if record.hasRefresh() {
		p.refresh.remove(p.hash(record.refresh()), r)
	}
	newer, older := p.unlink(&record, linkNewer, linkOlder)
	p.unlink(&record, linkPredecessor, linkSuccessor)
	if newer == 0 {
		p.holders.setNewest(record.holder(), older)
	}
	p.holders.release(record.holder())
	p.records.remove(r)
}

// unlink joins the neighbours of a pair in one of its chains.
func (p *pairs) unlink(record *pair, before, after int) (previous, next ref) {
	previous, next = record.linked(before), record.linked(after)
	if previous != 0 {
		p.records.edit(previous).link(after, next)
	}
	if next != 0 {
		p.records.edit(next).link(before, previous)
	}
	return previous, next
}

// consumedAt returns when the refresh token of a refreshed pair was consumed: when
// its successor was created. False: that was collected, so long ago it was.
func (p *pairs) consumedAt(r ref) (UnixMilli, bool) {
	successor := p.at(r).linked(linkSuccessor)
	if successor == 0 {
		return 0, false
	}
	return p.at(successor).createdAt(), true
}

// token returns a pair as its holder may see it.
func (p *pairs) token(r ref) Token {
	record := p.at(r)
	held := p.holders.at(record.holder())
	return Token{
		Identity:           &held.Identity,
		Client:             &held.Client, // not read: that would cost a look-up a third of what it takes
		CreatedAt:          record.createdAt(),
		AccessExpiresAt:    record.accessExpires(),
		RefreshExpiresAt:   record.refreshExpires(),
		SessionEndsAt:      record.sessionEnds(),
		AccessInvalidated:  record.is(accessInvalidated) || p.bereft(record),
		RefreshInvalidated: record.is(refreshInvalidated),
		Refreshed:          record.is(refreshed),
		MadeFromToken:      record.is(madeFromToken),
	}
}

// bereft tells whether the token that this one depends on was invalidated. It cannot have
// been collected while this one was valid.
func (p *pairs) bereft(record *pair) bool {
	if !record.is(madeFromToken) {
		return false
	}
	r := p.byAccess(record.madeFrom())
	return r == 0 || p.at(r).is(accessInvalidated)
}

// accessLive tells whether the access token of a pair is valid.
func (p *pairs) accessLive(record *pair, now UnixMilli) bool {
	return record.accessLive(now) && !p.bereft(record)
}
