package fsm

import "encoding/binary"

// pair is the record of an access token and its refresh token: 96 bytes without a
// pointer, little endian whatever the machine, the same in memory and in a
// snapshot. A page of them wastes nothing of what the allocator hands out.
//
//	 0  digest of the access token, never zero (24)
//	24  created (6)
//	30  flags (2)
//	32  lifetime of the access token (4)
//	36  holder: whose it is and who obtained it (4)
//	40  moment after which the refresh token has expired, zero if there is none (6)
//	46  moment at which the family's session ends, zero if it does not (6)
//	52  digest of the refresh token, zero if there is none (24); with madeFromToken, which
//	    has none: of the access token that this one depends on
//	76  newer and (80) older pair of the same owner (4 each)
//	84  predecessor and (88) successor in the family (4 each)
//	92  next pair that is due for collection in the same bucket (4)
//
// What a look-up by access token reads comes first: one cache line in half the cases.
type pair [pairSize]byte

const pairSize = 96

// The flags.
const (
	accessInvalidated uint16 = 1 << iota
	refreshInvalidated
	refreshed
	madeFromToken

	knownFlags = accessInvalidated | refreshInvalidated | refreshed | madeFromToken
)

// Where the links are.
const (
	linkHolder      = 36
	linkNewer       = 76
	linkOlder       = 80
	linkPredecessor = 84
	linkSuccessor   = 88
	linkDue         = 92
)

// newPair is what a pair is made from.
type newPair struct {
	access, refresh Digest
	madeFrom        Digest // zero: of no token
	holder          ref
	createdAt       UnixMilli
	accessExpires   UnixMilli
	refreshExpires  UnixMilli
	sessionEnds     UnixMilli
	predecessor     ref
}

// endWith puts a pair into a session that ends at that moment; zero: never.
func (n *newPair) endWith(session UnixMilli) {
	n.sessionEnds = session
	if session == 0 {
		return
	}
	n.accessExpires = min(n.accessExpires, session)
	n.refreshExpires = min(n.refreshExpires, session) // zero, if there is none, stays
}

func (n *newPair) record() (p pair) {
	copy(p[0:], n.access[:])
	copy(p[52:], n.refresh[:])
	if n.madeFrom != (Digest{}) {
		copy(p[52:], n.madeFrom[:])
		p.set(madeFromToken)
	}
	putMoment(p[24:], n.createdAt)
	binary.LittleEndian.PutUint32(p[32:], uint32(n.accessExpires-n.createdAt)) //nolint:gosec // at most MaxAccessLifetime
	p.link(linkHolder, n.holder)
	putMoment(p[40:], n.refreshExpires)
	putMoment(p[46:], n.sessionEnds)
	p.link(linkPredecessor, n.predecessor)
	return p
}

func (p *pair) access() Digest            { return Digest(p[0:24]) }
func (p *pair) madeFrom() Digest          { return Digest(p[52:76]) } // with madeFromToken
func (p *pair) createdAt() UnixMilli      { return moment(p[24:]) }
func (p *pair) refreshExpires() UnixMilli { return moment(p[40:]) }
func (p *pair) sessionEnds() UnixMilli    { return moment(p[46:]) }
func (p *pair) hasRefresh() bool          { return p.refresh() != Digest{} }
func (p *pair) holder() ref               { return p.linked(linkHolder) }

// refresh is zero if there is no refresh token.
func (p *pair) refresh() Digest {
	if p.is(madeFromToken) {
		return Digest{}
	}
	return Digest(p[52:76])
}

func (p *pair) accessExpires() UnixMilli {
	return p.createdAt() + UnixMilli(binary.LittleEndian.Uint32(p[32:]))
}

func (p *pair) flags() uint16      { return binary.LittleEndian.Uint16(p[30:]) }
func (p *pair) is(f uint16) bool   { return p.flags()&f != 0 }
func (p *pair) set(f uint16)       { binary.LittleEndian.PutUint16(p[30:], p.flags()|f) }
func (p *pair) linked(at int) ref  { return ref(binary.LittleEndian.Uint32(p[at:])) }
func (p *pair) link(at int, r ref) { binary.LittleEndian.PutUint32(p[at:], uint32(r)) }

func (p *pair) accessLive(now UnixMilli) bool {
	return !p.is(accessInvalidated) && now <= p.accessExpires()
}

func (p *pair) refreshLive(now UnixMilli) bool {
	return p.hasRefresh() && !p.is(refreshInvalidated) && now <= p.refreshExpires()
}

// live tells whether one of the pair's tokens could be used, a refresh token that was
// used before included, as in Elasticsearch.
func (p *pair) live(now UnixMilli) bool { return p.accessLive(now) || p.refreshLive(now) }

// dueBucket numbers the 65 seconds in which the pair may be collected.
func (p *pair) dueBucket() uint32 {
	return uint32((max(p.accessExpires(), p.refreshExpires()) + Retention) >> bucketBits) //nolint:gosec // a moment has 48 bits
}

// moment reads 48 bits.
func moment(b []byte) UnixMilli {
	_ = b[5]
	return UnixMilli(binary.LittleEndian.Uint32(b)) | UnixMilli(binary.LittleEndian.Uint16(b[4:]))<<32
}

func putMoment(b []byte, at UnixMilli) {
	binary.LittleEndian.PutUint32(b, uint32(at))         //nolint:gosec // the low half is meant
	binary.LittleEndian.PutUint16(b[4:], uint16(at>>32)) //nolint:gosec // at most MaxMoment and a lifetime
}
