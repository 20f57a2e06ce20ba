package fsm

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// FSM adapts a [State] to raft and lets the rest of the node look at it. All
// methods may be called concurrently, Apply and Restore by one goroutine, as raft
// does. What they return is shared and immutable.
type FSM struct {
	notify  func(index uint64)
	applied atomic.Uint64

	mu    sync.RWMutex // held once per entry, so that an entry is seen whole or not at all
	state *State
}

// New returns the state machine of a new or restarted member. After each entry
// and each restore, applied is called, without a lock held, with what
// [FSM.Applied] returns from then on. It may be nil.
func New(applied func(index uint64)) *FSM {
	if applied == nil {
		applied = func(uint64) {}
	}
	return &FSM{notify: applied, state: newState()}
}

// Apply implements raft.FSM. Its result is a []Outcome, one for each command of
// the entry. It panics if it cannot read the entry: a newer peer wrote it, or the
// disk is damaged. Stopping is safe; skipping would diverge. What the state has already
// it does not apply again, and answers nil: see [FSM.Restore].
func (f *FSM) Apply(entry *raft.Log) any {
	if entry.Type != raft.LogCommand {
		return nil
	}
	e, err := decodeEntry(entry.Data)
	if err != nil {
		panic(fmt.Sprintf("fsm: log entry %d: %v", entry.Index, err))
	}
	if entry.Index <= f.state.applied { // raft calls Apply and Restore one at a time, and nobody else changes the state
		return nil
	}
	f.state.prepare(e)
	f.mu.Lock()
	outcomes := f.state.apply(entry.Index, e)
	f.mu.Unlock()
	f.applied.Store(entry.Index)
	f.notify(entry.Index)
	return outcomes
}

// Snapshot implements raft.FSM. It takes less than a millisecond, however large the
// state is; see [State].
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &snapshot{fsm: f, state: f.state, view: f.state.snapshot()}, nil
}

// Restore implements raft.FSM. It builds a new state aside; the old one stays, and
// is what readers see, until the new one has been verified to the last byte. The state
// never goes back: of a snapshot that is older than the state nothing is taken. A leader
// may send one again, for the answer was lost, and it arrive late; readers may rely on
// what came after. Raft then applies that again.
func (f *FSM) Restore(source io.ReadCloser) error {
	restored, err := restore(source)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.mu.Lock()
	if restored.applied < f.state.applied {
		f.mu.Unlock()
		return nil
	}
	f.state = restored
	f.mu.Unlock()
	f.applied.Store(restored.applied)
	f.notify(restored.applied)
	return nil
}

// snapshot is a view of a state on its way to a file.
type snapshot struct {
	fsm   *FSM
	state *State // of which it is a view
	view  *view  // nil once released
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.view.write(sink); err != nil {
		return errors.Join(fmt.Errorf("persist: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("persist: close: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	s.fsm.mu.Lock()
	defer s.fsm.mu.Unlock()
	if s.view != nil {
		s.view = nil
		s.state.release()
	}
}

// AccessToken returns the pair with that access token.
func (f *FSM) AccessToken(d Digest) (Token, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.token(f.state.pairs.byAccess(d))
}

// RefreshToken returns the pair with that refresh token.
func (f *FSM) RefreshToken(d Digest) (Token, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.token(f.state.pairs.byRefresh(d))
}

func (s *State) token(r ref) (Token, bool) {
	if r == 0 {
		return Token{}, false
	}
	return s.pairs.token(r), true
}

// User returns a user's record. A reserved user has none until its password is
// set or it is enabled or disabled.
func (f *FSM) User(realm RealmName, username Username) (User, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if u := f.state.users.find(realm, username); u != nil {
		return *u, true
	}
	return User{}, false
}

// Users returns the native users, sorted by name.
func (f *FSM) Users() []User {
	f.mu.RLock()
	all := f.state.users.values()
	f.mu.RUnlock()
	users := make([]User, 0, len(all))
	for _, u := range all {
		if u.Realm == RealmNative {
			users = append(users, *u)
		}
	}
	slices.SortFunc(users, func(a, b User) int { return cmp.Compare(a.Username, b.Username) })
	return users
}

// Role returns a role.
func (f *FSM) Role(name RoleName) (Role, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if r := f.state.roles.get(name); r != nil {
		return *r, true
	}
	return Role{}, false
}

// Roles returns all roles, sorted by name.
func (f *FSM) Roles() []Role {
	f.mu.RLock()
	all := f.state.roles.values()
	f.mu.RUnlock()
	roles := make([]Role, 0, len(all))
	for _, r := range all {
		roles = append(roles, *r)
	}
	slices.SortFunc(roles, func(a, b Role) int { return cmp.Compare(a.Name, b.Name) })
	return roles
}

// RolesVersion changes whenever a role does. It is never zero.
func (f *FSM) RolesVersion() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.rolesVersion
}

// ReadLeases returns the newest lease of each holder.
func (f *FSM) ReadLeases() []ReadLease {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.leases
}

// Applied returns the raft index of the newest command entry in the state. Not so
// raft's AppliedIndex, which runs ahead of the state machine.
func (f *FSM) Applied() uint64 { return f.applied.Load() }

// Now returns the time of the state: the largest of any entry. It never goes back.
func (f *FSM) Now() UnixMilli {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.now
}

// Cluster returns the cluster's identity, once it has one.
func (f *FSM) Cluster() (id [16]byte, keyCheck [32]byte, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.clusterID, f.state.keyCheck, f.state.clusterID != [16]byte{}
}

// Size returns the number of pairs and about how many bytes a snapshot would take.
func (f *FSM) Size() (pairs, snapshotBytes int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.size()
}
