package node

import (
	"testing"

	"github.com/hashicorp/raft"

	"jeton/fsm"
)

var (
	ada     = fsm.Principal{Username: "ada", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}
	bob     = fsm.Principal{Username: "bob", Realm: ada.Realm}
	adas    = &fsm.Identity{Principal: ada}
	bobs    = &fsm.Identity{Principal: bob}
	asAda   = &fsm.Identity{Principal: ada, RunBy: &fsm.Actor{Principal: bob}}
	digestA = fsm.Digest{1}
	digestB = fsm.Digest{2}
)

func newTestPending(t *testing.T, logs raft.LogStore, state *fsm.FSM) *pendingLog {
	t.Helper()
	p, err := newPendingLog(logs, state)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// entryOf is a log entry of some commands.
func entryOf(index uint64, commands ...fsm.Command) *raft.Log {
	encoded := make([][]byte, len(commands))
	for i, c := range commands {
		encoded[i] = fsm.AppendCommand(nil, c)
		fsm.OperationID{byte(index), byte(i), 1}.Name(encoded[i])
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: fsm.AppendEntry(nil, 1, encoded)}
}

func TestWhatIsAppendedAndNotAppliedConcernsItsReaders(t *testing.T) {
	issue := fsm.Issue{Access: digestA, Identity: *adas, Client: fsm.Client{Principal: ada}, AccessLifetime: 1000}
	for name, c := range map[string]struct {
		do        fsm.Command
		adas      bool // concerns ada's token digestA
		adasOther bool
		bobs      bool
		asAda     bool
	}{
		"issue":              {do: issue},
		"lease":              {do: fsm.Lease{Holder: "n1", Span: 1}},
		"invalidate token":   {do: fsm.Invalidate{Access: digestA}, adas: true},
		"invalidate user":    {do: fsm.Invalidate{Username: "ada"}, adas: true, adasOther: true, asAda: true},
		"invalidate realm":   {do: fsm.Invalidate{Realm: fsm.RealmNative}, adas: true, adasOther: true, bobs: true, asAda: true},
		"another's realm":    {do: fsm.Invalidate{Realm: "default_file"}},
		"delete bob":         {do: fsm.DeleteUser{Username: "bob"}, bobs: true, asAda: true},
		"password of ada":    {do: fsm.SetPassword{Realm: fsm.RealmNative, Username: "ada", Verifier: "v"}, adas: true, adasOther: true, asAda: true},
		"disable elastic":    {do: fsm.SetEnabled{Realm: fsm.RealmReserved, Username: "elastic"}},
		"role":               {do: fsm.DeleteRole{Name: "r"}, adas: true, adasOther: true, bobs: true, asAda: true},
		"refresh, the first": {do: fsm.Refresh{Presented: fsm.Digest{9}, Salt: fsm.Salt{1}, Access: digestB, Refresh: fsm.Digest{8}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPending(t, raft.NewInmemStore(), fsm.New(nil))
			if err := p.StoreLog(entryOf(5, c.do)); err != nil {
				t.Fatal(err)
			}
			check := func(what string, got, want bool) {
				t.Helper()
				if got != want {
					t.Errorf("%s: concerns %v, want %v", what, got, want)
				}
			}
			check("ada's", p.concerns(digestA, adas), c.adas)
			check("ada's other token", p.concerns(digestB, adas), c.adasOther)
			check("bob's", p.concerns(digestB, bobs), c.bobs)
			check("bob's as ada", p.concerns(digestB, asAda), c.asAda)
			p.applied(4)
			check("ada's before it is applied", p.concerns(digestA, adas), c.adas)
			p.applied(5)
			check("ada's once it is applied", p.concerns(digestA, adas), false)
		})
	}
}

func TestASecondRefreshMayEndAnything(t *testing.T) {
	refresh := fsm.Refresh{Presented: fsm.Digest{9}, Salt: fsm.Salt{1}, Access: digestB, Refresh: fsm.Digest{8}}
	t.Run("the first is pending", func(t *testing.T) {
		p := newTestPending(t, raft.NewInmemStore(), fsm.New(nil))
		if err := p.StoreLogs([]*raft.Log{entryOf(5, refresh), entryOf(6, refresh)}); err != nil {
			t.Fatal(err)
		}
		if !p.concerns(digestA, adas) {
			t.Error("a reuse is not expected")
		}
	})
	t.Run("the first is applied", func(t *testing.T) {
		state := fsm.New(nil)
		state.Apply(entryOf(1, fsm.Issue{Access: digestA, Refresh: fsm.Digest{9}, Identity: *adas, Client: refresh.Client, AccessLifetime: 9, RefreshLifetime: 9}, refresh))
		p := newTestPending(t, raft.NewInmemStore(), state)
		if err := p.StoreLog(entryOf(2, refresh)); err != nil {
			t.Fatal(err)
		}
		if !p.concerns(digestA, adas) {
			t.Error("a reuse is not expected")
		}
	})
}

// A node that was started again had the first refresh in its log, and neither in its
// state nor pending. The second one was taken for harmless.
func TestASecondRefreshAfterARestartMayEndAnything(t *testing.T) {
	refresh := fsm.Refresh{Presented: fsm.Digest{9}, Salt: fsm.Salt{1}, Access: digestB, Refresh: fsm.Digest{8}}
	issue := fsm.Issue{Access: digestA, Refresh: fsm.Digest{9}, Identity: *adas, Client: refresh.Client, AccessLifetime: 9, RefreshLifetime: 9}
	logs, state := raft.NewInmemStore(), fsm.New(nil)
	first := entryOf(2, refresh)
	if err := logs.StoreLogs([]*raft.Log{entryOf(1, issue), first}); err != nil {
		t.Fatal(err)
	}
	state.Apply(entryOf(1, issue))
	p := newTestPending(t, logs, state)
	if err := p.StoreLog(entryOf(3, refresh)); err != nil {
		t.Fatal(err)
	}
	state.Apply(first)
	p.applied(2)
	if !p.concerns(digestA, adas) {
		t.Error("a reuse is not expected")
	}
	state.Apply(entryOf(3, refresh))
	p.applied(3)
	another := refresh
	another.Presented = fsm.Digest{8}
	if err := p.StoreLog(entryOf(4, another)); err != nil {
		t.Fatal(err)
	}
	if p.concerns(digestA, adas) {
		t.Error("a reuse is expected although all that was in the log is in the state")
	}
}

func TestWhatIsCutOffTheLogIsNotPending(t *testing.T) {
	p := newTestPending(t, raft.NewInmemStore(), fsm.New(nil))
	for index := uint64(1); index <= 3; index++ {
		if err := p.StoreLog(entryOf(index, fsm.Invalidate{Access: fsm.Digest{byte(index)}})); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.DeleteRange(2, 3); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false} {
		if got := p.concerns(fsm.Digest{byte(i + 1)}, adas); got != want {
			t.Errorf("entry %d: pending %v, want %v", i+1, got, want)
		}
	}
}
