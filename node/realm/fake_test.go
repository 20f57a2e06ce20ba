package realm_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// state is a replicated state of one node: a [realm.Log] that applies at once, and
// the [realm.View] of it. It knows the rules of users and roles only.
type state struct {
	mu       sync.Mutex
	users    map[fsm.Principal]fsm.User
	roles    map[fsm.RoleName]fsm.Role
	version  uint64
	count    fsm.Generation
	proposed []fsm.Command
	refuse   fsm.Reason // if set: what every proposal is refused with
	fail     error      // if set: what every proposal fails with
}

func newState() *state {
	return &state{users: map[fsm.Principal]fsm.User{}, roles: map[fsm.RoleName]fsm.Role{}, version: 1}
}

func key(r fsm.RealmName, name fsm.Username) fsm.Principal {
	return fsm.Principal{Username: name, Realm: fsm.Realm{Name: r}}
}

func (s *state) Propose(_ context.Context, command fsm.Command) (fsm.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proposed = append(s.proposed, command)
	// As the leader does: what it cannot read, it does not propose.
	if _, err := fsm.DecodeCommand(fsm.AppendCommand(nil, named(command, 1))); err != nil {
		return fsm.Outcome{}, fmt.Errorf("decode: %w", err)
	}
	if s.fail != nil || s.refuse != fsm.Done {
		return fsm.Outcome{Reason: s.refuse}, s.fail
	}
	switch c := command.(type) {
	case fsm.PutRole:
		_, existed := s.roles[c.Role.Name]
		s.roles[c.Role.Name] = c.Role
		s.version++
		return fsm.Outcome{Existed: existed}, nil
	case fsm.DeleteRole:
		_, existed := s.roles[c.Name]
		delete(s.roles, c.Name)
		s.version++
		return fsm.Outcome{Existed: existed}, nil
	}
	return s.changeUser(command), nil
}

// named gives a command the operation id that the proposer draws.
func named(command fsm.Command, number byte) fsm.Command {
	id := fsm.OperationID{number}
	switch c := command.(type) {
	case fsm.PutUser:
		c.Operation = id
		return c
	case fsm.DeleteUser:
		c.Operation = id
		return c
	case fsm.SetPassword:
		c.Operation = id
		return c
	case fsm.SetEnabled:
		c.Operation = id
		return c
	case fsm.PutRole:
		c.Operation = id
		return c
	case fsm.DeleteRole:
		c.Operation = id
		return c
	}
	return command
}

func (s *state) changeUser(command fsm.Command) fsm.Outcome {
	s.count++
	switch c := command.(type) {
	case fsm.PutUser:
		k := key(fsm.RealmNative, c.Username)
		old, existed := s.users[k]
		if c.Verifier == "" {
			if !existed {
				return fsm.Outcome{Reason: fsm.PasswordRequired}
			}
			c.Verifier = old.Verifier
		}
		s.users[k] = fsm.User{
			Username: c.Username, Realm: fsm.RealmNative, Verifier: c.Verifier, Roles: c.Roles, FullName: c.FullName,
			Email: c.Email, Metadata: c.Metadata, Enabled: c.Enabled, Generation: s.count,
		}
		return fsm.Outcome{Existed: existed}
	case fsm.DeleteUser:
		k := key(fsm.RealmNative, c.Username)
		_, existed := s.users[k]
		delete(s.users, k)
		return fsm.Outcome{Existed: existed}
	case fsm.SetPassword:
		user, ok := s.record(c.Realm, c.Username)
		switch {
		case !ok:
			return fsm.Outcome{Reason: fsm.UnknownUser}
		case c.OnlyIfUnset && user.Verifier != "":
			return fsm.Outcome{Reason: fsm.AlreadySet}
		}
		user.Verifier = c.Verifier
		s.users[key(c.Realm, c.Username)] = user
	case fsm.SetEnabled:
		user, ok := s.record(c.Realm, c.Username)
		if !ok {
			return fsm.Outcome{Reason: fsm.UnknownUser}
		}
		user.Enabled = c.Enabled
		s.users[key(c.Realm, c.Username)] = user
	}
	return fsm.Outcome{}
}

// record returns a user to be changed. A reserved user exists before its record does.
func (s *state) record(r fsm.RealmName, name fsm.Username) (fsm.User, bool) {
	user, ok := s.users[key(r, name)]
	if !ok && r == fsm.RealmReserved {
		user, ok = fsm.User{Username: name, Realm: r, Enabled: true}, true
	}
	user.Generation = s.count
	return user, ok
}

func (s *state) User(r fsm.RealmName, name fsm.Username) (fsm.User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.users[key(r, name)]
	return user, ok
}

func (s *state) Users() []fsm.User {
	s.mu.Lock()
	defer s.mu.Unlock()
	var users []fsm.User
	for _, user := range s.users {
		if user.Realm == fsm.RealmNative {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, func(a, b fsm.User) int { return cmp.Compare(a.Username, b.Username) })
	return users
}

func (s *state) Role(name fsm.RoleName) (fsm.Role, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	role, ok := s.roles[name]
	return role, ok
}

func (s *state) Roles() []fsm.Role {
	s.mu.Lock()
	defer s.mu.Unlock()
	var roles []fsm.Role
	for _, role := range s.roles {
		roles = append(roles, role)
	}
	slices.SortFunc(roles, func(a, b fsm.Role) int { return cmp.Compare(a.Name, b.Name) })
	return roles
}

func (s *state) RolesVersion() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// clock is a time that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// hasherOf makes a hasher with a cheap algorithm.
func hasherOf(tb testing.TB, algorithm string) *realm.Hasher {
	tb.Helper()
	hasher, err := realm.NewHasher(algorithm)
	if err != nil {
		tb.Fatal(err)
	}
	return hasher
}

// verifierOf hashes a password at the least cost.
func verifierOf(tb testing.TB, password string) string {
	tb.Helper()
	encoded, err := hasherOf(tb, "pbkdf2_1000").NewVerifier(tb.Context(), realm.NewSecret(password))
	if err != nil {
		tb.Fatal(err)
	}
	return encoded
}

func secret(s string) *realm.Secret {
	value := realm.NewSecret(s)
	return &value
}
