package fsm

import "hash/maphash"

// named keeps immutable values by name, in pages like everything else, so that a
// snapshot costs as little however many there are.
type named[K comparable, V any] struct {
	table table[*V]
	index index
	seed  maphash.Seed
	key   func(*V) K
}

func newNamed[K comparable, V any](seed maphash.Seed, key func(*V) K) *named[K, V] {
	n := &named[K, V]{seed: seed, key: key}
	n.index = newIndex(func(r ref) uint64 { return n.hash(key(*n.table.at(r))) })
	return n
}

func (n *named[K, V]) hash(key K) uint64 { return maphash.Comparable(n.seed, key) }

func (n *named[K, V]) lookup(key K) (ref, bool) {
	return n.index.find(n.hash(key), func(r ref) bool { return n.key(*n.table.at(r)) == key })
}

// get returns the value of that name, or nil.
func (n *named[K, V]) get(key K) *V {
	if r, ok := n.lookup(key); ok {
		return *n.table.at(r)
	}
	return nil
}

// put adds a value or replaces the one of the same name; it tells which.
func (n *named[K, V]) put(v *V) (replaced bool) {
	key := n.key(v)
	if r, ok := n.lookup(key); ok {
		*n.table.edit(r) = v
		return true
	}
	n.index.add(n.hash(key), n.table.add(v))
	return false
}

// remove tells whether there was such a value.
func (n *named[K, V]) remove(key K) bool {
	r, ok := n.lookup(key)
	if ok {
		n.index.remove(n.hash(key), r)
		n.table.remove(r)
	}
	return ok
}

// values returns all values in the order of their slots.
func (n *named[K, V]) values() []*V {
	all := make([]*V, 0, n.table.used)
	n.table.all(func(_ ref, v **V) bool {
		all = append(all, *v)
		return true
	})
	return all
}

type (
	users struct{ *named[ownerName, User] }
	roles struct{ *named[RoleName, Role] }
)

func newUsers(seed maphash.Seed) users {
	return users{newNamed(seed, func(u *User) ownerName { return ownerName{u.Realm, u.Username} })}
}

func newRoles(seed maphash.Seed) roles {
	return roles{newNamed(seed, func(r *Role) RoleName { return r.Name })}
}

// find returns a user's record, or nil.
func (u users) find(realm RealmName, username Username) *User {
	return u.get(ownerName{realm, username})
}

// change returns a copy of a user's record to be changed. A reserved user needs no
// record; the copy is then what a user without one is. False: no such user.
func (u users) change(realm RealmName, username Username) (User, bool) {
	if present := u.find(realm, username); present != nil {
		return *present, true
	}
	return User{Realm: realm, Username: username, Roles: []RoleName{}, Enabled: true}, realm == RealmReserved
}

// unchanged tells whether a user's record still has that generation and is enabled,
// or, for generation zero, that there still is none.
func (u users) unchanged(p Principal, generation Generation) bool {
	user := u.find(p.Realm.Name, p.Username)
	if user == nil {
		return generation == 0
	}
	return user.Generation == generation && user.Enabled
}

// remove removes a user's record.
func (u users) remove(realm RealmName, username Username) {
	u.named.remove(ownerName{realm, username})
}
