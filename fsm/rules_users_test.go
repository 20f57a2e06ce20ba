package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (s *story) wantUser(want User) {
	s.t.Helper()
	got := s.state.users.find(want.Realm, want.Username)
	if got == nil {
		s.t.Fatalf("no user %s", want.Username)
	}
	if d := cmp.Diff(want, *got); d != "" {
		s.t.Errorf("user (-want +got):\n%s", d)
	}
}

func TestPutUser(t *testing.T) {
	t.Parallel()
	name, mail := "Ada", "a@b"
	full := PutUser{Username: "ada", Verifier: "v", Roles: []RoleName{"r"}, FullName: &name, Email: &mail, Metadata: []byte("{}"), Enabled: true}
	s := newStory(t)
	s.play(
		step{0, PutUser{Username: "ada", Enabled: true}, refused(PasswordRequired)},
		step{0, full, Outcome{}},
		step{0, pairOf(1), Outcome{}},
	)
	s.wantUser(User{"ada", RealmNative, "v", []RoleName{"r"}, &name, &mail, []byte("{}"), true, 1})
	s.play(step{0, PutUser{Username: "ada", Enabled: true}, Outcome{Existed: true}}) // same password: tokens live on
	s.wantUser(User{"ada", RealmNative, "v", []RoleName{}, nil, nil, nil, true, 2})
	s.wantLive("1a 1r", 1)
	s.play(step{0, full, Outcome{Existed: true, Invalidated: 2}}, step{0, pairOf(2), Outcome{}})
	s.wantLive("2a 2r", 1, 2)
	s.play(step{0, PutUser{Username: "ada"}, Outcome{Existed: true, Invalidated: 2}})
	s.wantUser(User{"ada", RealmNative, "v", []RoleName{}, nil, nil, nil, false, 4})
	s.wantLive("", 1, 2)
}

// TestUsersOfOtherRealmsKeepTheirTokens: only native users are put and deleted.
func TestUsersOfOtherRealmsKeepTheirTokens(t *testing.T) {
	t.Parallel()
	file := pairOf(1)
	file.Identity.Realm = Realm{"default_file", "file"}
	s := newStory(t)
	s.play(
		step{0, file, Outcome{}},
		step{0, PutUser{Username: "ada", Verifier: "v"}, Outcome{}},
		step{0, SetPassword{Realm: RealmNative, Username: "ada", Verifier: "w"}, Outcome{}},
		step{0, DeleteUser{Username: "ada"}, Outcome{Existed: true}},
		step{0, SetEnabled{Realm: RealmReserved, Username: "ada"}, Outcome{}},
	)
	s.wantLive("1a 1r", 1)
}

func TestDeleteUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.play(
		step{0, DeleteUser{Username: "ada"}, Outcome{}},
		step{0, PutUser{Username: "ada", Verifier: "v", Enabled: true}, Outcome{}},
		step{0, pairOf(1), Outcome{}},
		step{0, DeleteUser{Username: "ada"}, Outcome{Existed: true, Invalidated: 2}},
		step{0, PutUser{Username: "ada", Verifier: "v", Enabled: true}, Outcome{}},
	)
	s.wantUser(User{"ada", RealmNative, "v", []RoleName{}, nil, nil, nil, true, 2}) // never generation 1 again
	s.wantLive("", 1)
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	elastic := func(verifier string, onlyIfUnset bool) SetPassword {
		return SetPassword{Realm: RealmReserved, Username: "elastic", Verifier: verifier, OnlyIfUnset: onlyIfUnset}
	}
	owned := pairOf(1)
	owned.Identity.Principal = Principal{"elastic", Realm{RealmReserved, "reserved"}}
	s := newStory(t)
	s.play(
		step{0, SetPassword{Realm: RealmNative, Username: "ada", Verifier: "v"}, refused(UnknownUser)},
		step{0, elastic("bootstrap", true), Outcome{}},
		step{0, owned, Outcome{}},
		step{0, elastic("bootstrap again", true), refused(AlreadySet)},
	)
	s.wantUser(User{"elastic", RealmReserved, "bootstrap", []RoleName{}, nil, nil, nil, true, 1})
	s.wantLive("1a 1r", 1)
	s.play(step{0, elastic("changed", false), counts(2, 0)})
	s.wantUser(User{"elastic", RealmReserved, "changed", []RoleName{}, nil, nil, nil, true, 2})
	s.wantLive("", 1)
	s.play(
		step{0, PutUser{Username: "ada", Verifier: "v", Roles: []RoleName{"r"}, Enabled: true}, Outcome{}},
		step{0, SetPassword{Realm: RealmNative, Username: "ada", Verifier: "w"}, Outcome{}},
	)
	s.wantUser(User{"ada", RealmNative, "w", []RoleName{"r"}, nil, nil, nil, true, 4})
}

func TestSetEnabled(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.play(
		step{0, SetEnabled{Realm: RealmNative, Username: "ada"}, refused(UnknownUser)},
		step{0, PutUser{Username: "ada", Verifier: "v", Enabled: true}, Outcome{}},
		step{0, pairOf(1), Outcome{}},
		step{0, SetEnabled{Realm: RealmNative, Username: "ada", Enabled: true}, Outcome{}},
	)
	s.wantLive("1a 1r", 1)
	s.play(step{0, SetEnabled{Realm: RealmNative, Username: "ada"}, counts(2, 0)})
	s.wantUser(User{"ada", RealmNative, "v", []RoleName{}, nil, nil, nil, false, 3})
	s.wantLive("", 1)
	s.play(step{0, SetEnabled{Realm: RealmReserved, Username: "elastic"}, Outcome{}})
	s.wantUser(User{"elastic", RealmReserved, "", []RoleName{}, nil, nil, nil, false, 4})
	// A bootstrap password still finds a reserved user who was only disabled.
	s.play(step{0, SetPassword{Realm: RealmReserved, Username: "elastic", Verifier: "v", OnlyIfUnset: true}, Outcome{}})
	s.wantUser(User{"elastic", RealmReserved, "v", []RoleName{}, nil, nil, nil, false, 5})
}

func TestRoles(t *testing.T) {
	t.Parallel()
	role := Role{"r", []string{"all"}, []string{}, []byte("{}")}
	s := newStory(t)
	s.play(step{0, DeleteRole{Name: "r"}, Outcome{}})
	if s.state.rolesVersion != 1 {
		t.Error("deleting no role changed the version")
	}
	s.play(step{0, PutRole{Role: role}, Outcome{}})
	if d := cmp.Diff(&role, s.state.roles.get("r")); d != "" {
		t.Errorf("role (-want +got):\n%s", d)
	}
	s.play(
		step{0, PutRole{Role: Role{Name: "r"}}, Outcome{Existed: true}},
		step{0, DeleteRole{Name: "r"}, Outcome{Existed: true}},
	)
	if s.state.rolesVersion != 4 || s.state.roles.get("r") != nil {
		t.Errorf("version %d, role %v", s.state.rolesVersion, s.state.roles.get("r"))
	}
}

func TestCollectExpired(t *testing.T) {
	t.Parallel()
	collected := func(n uint32) Outcome { return Outcome{Collected: n} }
	s := newStory(t)
	short := pairOf(2)
	short.Refresh, short.RefreshLifetime = Digest{}, 0
	s.play(
		step{0, pairOf(1), Outcome{}}, step{0, short, Outcome{}}, step{0, pairOf(3), Outcome{}}, step{0, pairOf(4), Outcome{}},
		step{0, Invalidate{Username: "ada"}, counts(7, 0)}, // the invalidated stay as long as the others
		step{20*minute + Retention - 1, CollectExpired{Limit: 10}, collected(0)},
		step{2 * minute, Invalidate{Access: Digest{2, 'a'}}, counts(0, 1)},
		step{0, CollectExpired{Limit: 10}, collected(1)},
		step{0, Invalidate{Access: Digest{2, 'a'}}, counts(0, 0)},
		step{24 * hour, CollectExpired{Limit: 2}, collected(2)},
		step{0, CollectExpired{Limit: 2}, collected(1)},
		step{0, CollectExpired{Limit: 2}, collected(0)},
	)
	h := s.state.pairs.holders
	if h.held.used+h.owners.used+h.realms.used+h.bytes+h.heldIndex.used+h.ownIndex.used != 0 {
		t.Errorf("identities outlived their pairs: %+v", h)
	}
	if pairs := s.state.pairs; pairs.records.used+pairs.access.used+pairs.refresh.used+len(pairs.due) != 0 {
		t.Error("indexes outlived their pairs")
	}
}

// TestCollectInTheMiddleOfAFamily: the lifetimes were changed, a middle pair goes
// first, and reuse still reaches everybody who is left.
func TestCollectInTheMiddleOfAFamily(t *testing.T) {
	t.Parallel()
	middle := refreshOf(1, 2)
	middle.RefreshLifetime = int64(hour)
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}},
		step{0, middle, saltOf(2)},
		step{hour, refreshOf(2, 3), saltOf(3)},
		step{hour, CollectExpired{Limit: 10}, Outcome{Collected: 1}},
		step{0, refreshOf(1, 9), Outcome{Reason: Reused, Invalidated: 4}},
	)
	s.wantLive("", 1, 2, 3)
}

// TestRefreshedPairWhoseSuccessorIsGone: nothing is left to repeat.
func TestRefreshedPairWhoseSuccessorIsGone(t *testing.T) {
	t.Parallel()
	next := refreshOf(1, 2)
	next.AccessLifetime, next.RefreshLifetime = 0, 0
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}},
		step{0, next, saltOf(2)},
		step{hour, CollectExpired{Limit: 10}, Outcome{Collected: 1}},
		step{0, refreshOf(1, 9), Outcome{Reason: Reused, Invalidated: 2}},
	)
}

// TestRepeatedOperation: whatever a command is, its repetition gets the first
// outcome and changes nothing, until the memory of operations ends.
func TestRepeatedOperation(t *testing.T) {
	t.Parallel()
	named := Header{Operation: OperationID{1}}
	guarded := named
	guarded.Guard.RolesVersion = 99
	issue, refresh := pairOf(5), refreshOf(1, 6)
	issue.Header, refresh.Header = named, named
	cases := map[string]struct {
		do   Command
		want Outcome
	}{
		"initialize":      {Initialize{named, [16]byte{1}, [32]byte{}}, Outcome{}},
		"issue":           {issue, Outcome{}},
		"refresh":         {refresh, saltOf(6)},
		"invalidate":      {Invalidate{Header: named, Username: "ada"}, counts(3, 1)},
		"put user":        {PutUser{Header: named, Username: "bob", Verifier: "v"}, Outcome{}},
		"delete user":     {DeleteUser{named, "ada"}, Outcome{Existed: true, Invalidated: 3, PreviouslyInvalidated: 1}},
		"set password":    {SetPassword{named, RealmNative, "ada", "v", false}, counts(3, 1)},
		"set enabled":     {SetEnabled{named, RealmNative, "ada", false}, counts(3, 1)},
		"put role":        {PutRole{named, Role{Name: "r"}}, Outcome{}},
		"delete role":     {DeleteRole{named, "own"}, Outcome{Existed: true}},
		"collect expired": {CollectExpired{named, 1}, Outcome{Collected: 1}},
		"lease":           {Lease{named, "a", 1, 1, 1000}, Outcome{}},
		"restore chunk":   {RestoreChunk{named, [16]byte{1}, 0, []byte("a")}, Outcome{}},
		"raise level":     {RaiseLevel{named, 2}, Outcome{}},
		"refusal":         {DeleteUser{guarded, "ada"}, refused(StaleDecision)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			old := pairOf(4)
			old.AccessLifetime, old.RefreshLifetime = 0, 0
			s.play(
				step{0, old, Outcome{}},
				step{hour, PutUser{Username: "ada", Verifier: "v", Enabled: true}, Outcome{}},
				step{0, pairOf(1), Outcome{}},
				step{0, pairOf(2), Outcome{}},
				step{0, Invalidate{Access: Digest{2, 'a'}}, counts(1, 0)},
				step{0, PutRole{Role: Role{Name: "own"}}, Outcome{}},
				step{0, c.do, c.want},
			)
			before := s.state.summary()
			s.play(step{0, c.do, c.want}, step{OperationMemory, c.do, c.want})
			after := s.state.summary()
			before.now, before.applied = after.now, after.applied
			before.operation, before.counts = after.operation, after.counts // old operations were forgotten
			if before != after {
				t.Errorf("the repetition changed the state: %+v, then %+v", before, after)
			}
		})
	}
}

// TestOperationForgotten: after the memory of operations, a command is a new one.
func TestOperationForgotten(t *testing.T) {
	t.Parallel()
	named := DeleteRole{Header{Operation: OperationID{1}}, "r"}
	s := newStory(t)
	s.play(
		step{0, PutRole{Role: Role{Name: "r"}}, Outcome{}},
		step{0, named, Outcome{Existed: true}},
		step{OperationMemory, named, Outcome{Existed: true}},
		step{1, named, Outcome{}},
	)
}

// TestRepeatedRepetition: the repetition of a refresh by another operation is
// remembered with its salt, which outlives the window.
func TestRepeatedRepetition(t *testing.T) {
	t.Parallel()
	again := refreshOf(1, 3)
	again.Operation = OperationID{1}
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}},
		step{0, refreshOf(1, 2), saltOf(2)},
		step{30_000, again, saltOf(2)},
		step{OperationMemory, again, saltOf(2)},
		step{1, again, Outcome{Reason: Reused, Invalidated: 4}},
	)
}

// TestForgettingIsBounded: operations that grew old together are forgotten a few
// at a time, and soon.
func TestForgettingIsBounded(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	for range 100 {
		s.apply(DeleteRole{Name: "r"})
	}
	s.at += hour
	s.apply(DeleteRole{Name: "r"})
	if got, want := s.state.operations.done.len(), 101-forgetPerCommand; got != want {
		t.Errorf("after one command %d operations are left, want %d", got, want)
	}
	s.apply(CollectExpired{Limit: 10})
	if got, want := s.state.operations.done.len(), 102-2*forgetPerCommand-10; got != want {
		t.Errorf("after collecting %d operations are left, want %d", got, want)
	}
}

// TestTimeNeverGoesBack: a new leader's clock may be behind.
func TestTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}},
		step{25 * hour, DeleteRole{Name: "r"}, Outcome{}},
		step{-25 * hour, refreshOf(1, 2), refused(RefreshExpired)},
	)
	if s.state.now != start+25*hour {
		t.Errorf("time is %d", s.state.now)
	}
}
