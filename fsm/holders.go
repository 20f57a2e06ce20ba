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
	bytes     int   // of the identities as they are in a snapshot
	last      *held // added last
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
	Client   Client
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
	h.heldIndex = newIndex(func(r ref) uint64 { return h.at(r).hash(h) })
	h.ownIndex = newIndex(func(r ref) uint64 { return h.hashOwner(*h.owners.at(r).name) })
	return h
}

func (h *holders) at(r ref) *held { return h.held.at(r).held }

// intern returns the holder with that identity and client, for one more pair. It
// keeps the identity, which must not change any more.
func (h *holders) intern(identity *Identity, client Client) ref {
	hash := h.hashHeld(identity, &client)
	r, ok := h.findHeld(hash, identity, &client)
	if ok {
		h.held.edit(r).pairs++
		return r
	}
	v := h.thrifty(&held{Identity: *identity, Client: client})
	owner := h.internOwner(ownerName{realm: v.Identity.Realm.Name, username: identity.Username})
	r = h.held.add(holder{held: v, owner: owner, pairs: 1})
	h.heldIndex.add(hash, r)
	h.bytes += v.size()
	return r
}

// thrifty lets v share the texts that it has in common with the holder that was
// added before it: mostly realm, client and roles, more than half of what it takes.
func (h *holders) thrifty(v *held) *held {
	if last := h.last; last != nil {
		if v.Client == last.Client {
			v.Client = last.Client
		}
		if v.Identity.Realm == last.Identity.Realm {
			v.Identity.Realm = last.Identity.Realm
		}
		if slices.Equal(v.Identity.Roles, last.Identity.Roles) {
			v.Identity.Roles = last.Identity.Roles
		}
		if v.Identity.Scope != nil && slices.Equal(v.Identity.Scope, last.Identity.Scope) {
			v.Identity.Scope = last.Identity.Scope
		}
		if v.Identity.RunBy.is(last.Identity.RunBy) {
			v.Identity.RunBy = last.Identity.RunBy
		}
	}
	h.last = v
	return v
}

func (h *holders) findHeld(hash uint64, identity *Identity, client *Client) (ref, bool) {
	return h.heldIndex.find(hash, func(r ref) bool { return h.at(r).is(identity, client) })
}

func (h *holders) findOwner(name ownerName) (ref, bool) {
	return h.ownIndex.find(h.hashOwner(name), func(r ref) bool { return *h.owners.at(r).name == name })
}

func (h *holders) internOwner(name ownerName) ref {
	r, ok := h.findOwner(name)
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
	h.ownIndex.add(h.hashOwner(name), r)
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
	h.heldIndex.remove(holder.hash(h), r)
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
			if r, ok := h.findOwner(ownerName{realm: v.name, username: username}); ok {
				visit(h.owners.at(r).newest)
			}
		}
		return true
	})
}

func (h *holders) hashOwner(name ownerName) uint64 {
	return maphash.Comparable(h.seed, name)
}

func (h *holders) hashHeld(identity *Identity, client *Client) uint64 {
	var hash maphash.Hash
	hash.SetSeed(h.seed)
	texts := [...]string{
		string(client.Username), string(client.Realm.Name),
		string(identity.Username), string(identity.Realm.Name),
	}
	for _, s := range texts {
		_, _ = hash.WriteString(s) // never fails
		_ = hash.WriteByte(0)      // never fails
	}
	for _, role := range identity.Roles {
		_, _ = hash.WriteString(string(role))
		_ = hash.WriteByte(0)
	}
	_, _ = hash.Write(identity.Metadata)
	for _, privilege := range identity.Scope {
		_ = hash.WriteByte(0)
		_, _ = hash.WriteString(privilege)
	}
	if identity.RunBy != nil {
		_ = hash.WriteByte(0)
		_, _ = hash.WriteString(string(identity.RunBy.Username))
	}
	return hash.Sum64()
}

func (v *held) is(identity *Identity, client *Client) bool {
	return v.Client == *client && v.Identity.Principal == identity.Principal &&
		slices.Equal(v.Identity.Roles, identity.Roles) &&
		equalText(v.Identity.FullName, identity.FullName) &&
		equalText(v.Identity.Email, identity.Email) &&
		string(v.Identity.Metadata) == string(identity.Metadata) &&
		slices.Equal(v.Identity.Scope, identity.Scope) && // never nil the one and empty the other
		v.Identity.RunBy.is(identity.RunBy)
}

// is tells whether the actors are equal; nil is nobody.
func (a *Actor) is(b *Actor) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Principal == b.Principal && a.Generation == b.Generation && slices.Equal(a.Roles, b.Roles)
}

func (v *held) hash(h *holders) uint64 { return h.hashHeld(&v.Identity, &v.Client) }

func equalText(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// size is about what the value takes in a snapshot.
func (v *held) size() int {
	n := 32 + len(v.Identity.Metadata)
	people := [...]Principal{v.Identity.Principal, v.Client.Principal, v.Client.RunBy, {}}
	roles := v.Identity.Roles
	if actor := v.Identity.RunBy; actor != nil {
		people[3] = actor.Principal
		roles = slices.Concat(roles, actor.Roles)
	}
	for _, p := range people {
		n += len(p.Username) + len(p.Realm.Name) + len(p.Realm.Type)
	}
	for _, r := range roles {
		n += len(r) + 1
	}
	for _, privilege := range v.Identity.Scope {
		n += len(privilege) + 1
	}
	return n
}
