package fsm

import (
	"hash/maphash"
	"slices"
)

// holders are the identities and clients of all pairs, each kept once however many
// pairs share it, and the owners and realms through which pairs are reached. Each
// is freed when the last pair goes.
type holders struct {
	seed      maphash.Seed // random: nobody can aim at the indexes, and nothing that leaves depends on it
	held      table[holder]
	owners    table[owner]
	realms    table[realm]
	heldIndex index
	ownIndex  index
	bytes     int // of the identities as they are in a snapshot
}

// holder counts the pairs that share an identity and client.
type holder struct {
	*held
	owner ref
	pairs uint32
}

// held is whose a pair is and who obtained it. It is shared and immutable.
type held struct {
	Identity Identity
	Client   Principal
}

// owner is a user with pairs. Identities differ as roles change; an owner stays.
type owner struct {
	name    *ownerName
	realm   ref
	holders uint32
	newest  ref // pair, head of the chain of all of the owner's
	next    ref // owner in the realm
	before  ref // owner in the realm
}

// ownerName is immutable.
type ownerName struct {
	realm    RealmName
	username Username
}

// realm heads the chain of its owners.
type realm struct {
	name RealmName
	head ref
}

func newHolders(seed maphash.Seed) *holders {
	h := &holders{seed: seed}
	h.heldIndex = newIndex(func(r ref) uint64 { return h.hashHeld(h.held.at(r).held) })
	h.ownIndex = newIndex(func(r ref) uint64 { return h.hashOwner(*h.owners.at(r).name) })
	return h
}

func (h *holders) at(r ref) *held { return h.held.at(r).held }

// intern returns the holder with that identity and client, for one more pair. It
// keeps the identity, which must not change any more.
func (h *holders) intern(identity *Identity, client Principal) ref {
	wanted := held{Identity: *identity, Client: client}
	hash := h.hashHeld(&wanted)
	r, ok := h.heldIndex.find(hash, func(r ref) bool { return h.at(r).equal(&wanted) })
	if ok {
		h.held.edit(r).pairs++
		return r
	}
	owner := h.internOwner(ownerName{realm: identity.Realm.Name, username: identity.Username})
	r = h.held.add(holder{held: &wanted, owner: owner, pairs: 1})
	h.heldIndex.add(hash, r)
	h.bytes += wanted.size()
	return r
}

func (h *holders) internOwner(name ownerName) ref {
	hash := h.hashOwner(name)
	r, ok := h.ownIndex.find(hash, func(r ref) bool { return *h.owners.at(r).name == name })
	if ok {
		h.owners.edit(r).holders++
		return r
	}
	in := h.findRealm(name.realm)
	if in == 0 {
		in = h.realms.add(realm{name: name.realm})
	}
	head := h.realms.at(in).head
	r = h.owners.add(owner{name: &name, realm: in, holders: 1, next: head})
	h.ownIndex.add(hash, r)
	h.realms.edit(in).head = r
	if head != 0 {
		h.owners.edit(head).before = r
	}
	return r
}

// findRealm looks at all realms with pairs: a handful.
func (h *holders) findRealm(name RealmName) (found ref) {
	h.realms.all(func(r ref, v *realm) bool {
		if v.name == name {
			found = r
		}
		return found == 0
	})
	return found
}

// release gives back what intern gave.
func (h *holders) release(r ref) {
	holder := h.held.edit(r)
	holder.pairs--
	if holder.pairs > 0 {
		return
	}
	owner := holder.owner
	h.bytes -= holder.size()
	h.heldIndex.remove(h.hashHeld(holder.held), r)
	h.held.remove(r)
	h.releaseOwner(owner)
}

func (h *holders) releaseOwner(r ref) {
	o := h.owners.edit(r)
	o.holders--
	if o.holders > 0 {
		return
	}
	gone := *o
	if gone.next != 0 {
		h.owners.edit(gone.next).before = gone.before
	}
	switch {
	case gone.before != 0:
		h.owners.edit(gone.before).next = gone.next
	case gone.next != 0:
		h.realms.edit(gone.realm).head = gone.next
	default:
		h.realms.remove(gone.realm)
	}
	h.ownIndex.remove(h.hashOwner(*gone.name), r)
	h.owners.remove(r)
}

// prepend makes a pair the newest of its owner and returns the one that was.
func (h *holders) prepend(holder, pair ref) (older ref) {
	o := h.owners.edit(h.held.at(holder).owner)
	older, o.newest = o.newest, pair
	return older
}

// setNewest is called when the newest pair of an owner goes.
func (h *holders) setNewest(holder, pair ref) {
	h.owners.edit(h.held.at(holder).owner).newest = pair
}

// newestOf calls visit with the newest pair of each owner that matches. An empty
// realm or username matches all; both must not be empty.
func (h *holders) newestOf(in RealmName, username Username, visit func(ref)) {
	h.realms.all(func(_ ref, v *realm) bool {
		switch {
		case in != "" && v.name != in:
		case username == "":
			for r := v.head; r != 0; r = h.owners.at(r).next {
				visit(h.owners.at(r).newest)
			}
		default:
			name := ownerName{realm: v.name, username: username}
			if r, ok := h.ownIndex.find(h.hashOwner(name), func(r ref) bool { return *h.owners.at(r).name == name }); ok {
				visit(h.owners.at(r).newest)
			}
		}
		return true
	})
}

func (h *holders) hashOwner(name ownerName) uint64 {
	return maphash.Comparable(h.seed, name)
}

// hashHeld need not tell all apart: those who hold tokens under the same name from
// the same client, with the same number of roles, share a hash.
func (h *holders) hashHeld(v *held) uint64 {
	return maphash.Comparable(h.seed, heldKey{v.Identity.Principal, v.Client, len(v.Identity.Roles)})
}

type heldKey struct {
	owner, client Principal
	roles         int
}

func (v *held) equal(w *held) bool {
	return v.Client == w.Client && v.Identity.Principal == w.Identity.Principal &&
		slices.Equal(v.Identity.Roles, w.Identity.Roles) &&
		equalText(v.Identity.FullName, w.Identity.FullName) &&
		equalText(v.Identity.Email, w.Identity.Email) &&
		string(v.Identity.Metadata) == string(w.Identity.Metadata)
}

func equalText(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// size is about what the value takes in a snapshot.
func (v *held) size() int {
	n := 32 + len(v.Identity.Metadata)
	for _, p := range []Principal{v.Identity.Principal, v.Client} {
		n += len(p.Username) + len(p.Realm.Name) + len(p.Realm.Type)
	}
	for _, r := range v.Identity.Roles {
		n += len(r) + 1
	}
	return n
}
