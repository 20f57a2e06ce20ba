package realm_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/node/realm"
)

// oneNode is the real state machine behind a log of one node.
type oneNode struct {
	*fsm.FSM
	index uint64
}

func (n *oneNode) Propose(_ context.Context, command fsm.Command) (fsm.Outcome, error) {
	n.index++
	entry := fsm.AppendEntry(nil, fsm.UnixMilli(1_700_000_000_000+n.index), [][]byte{fsm.AppendCommand(nil, named(command, byte(n.index)))})
	outcomes, ok := n.Apply(&raft.Log{Type: raft.LogCommand, Index: n.index, Data: entry}).([]fsm.Outcome)
	if !ok || len(outcomes) != 1 {
		return fsm.Outcome{}, errors.New("no outcome")
	}
	return outcomes[0], nil
}

// TestLifeOfAUser tells a story on the real state machine: after every step, who
// can log in with what.
func TestLifeOfAUser(t *testing.T) {
	n := &oneNode{FSM: fsm.New(nil)}
	users, roles := realm.NewUsers(n, n, hasherOf(t, "bcrypt4")), realm.NewRoles(n, n)
	chain, err := realm.NewChain(realm.ChainConfig{View: n, Hasher: hasherOf(t, "bcrypt4"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	put := func(r realm.UserRequest) error {
		_, err := users.Put(t.Context(), admin, fsm.Guard{}, r)
		return err
	}
	setPassword := func(name fsm.Username, password string) error {
		return users.SetPassword(t.Context(), fsm.Guard{}, name, secret(password), nil)
	}
	setEnabled := func(name fsm.Username, enabled bool) error {
		return users.SetEnabled(t.Context(), fsm.Principal{}, fsm.Guard{}, name, enabled)
	}
	var stale fsm.Guard
	for _, step := range []struct {
		what string
		do   func() error
		want []string
	}{
		{"a reserved user is disabled before it has a password", func() error { return setEnabled("elastic", false) }, nil},
		{"the bootstrap password", func() error {
			_, set, err := users.EnsureBootstrapPassword(t.Context(), realm.NewSecret("password-1"))
			if !set {
				t.Error("not set")
			}
			return err
		}, nil},
		{"elastic is enabled", func() error { return setEnabled("elastic", true) }, []string{"elastic:password-1"}},
		{"joe comes", func() error {
			return put(realm.UserRequest{Username: "joe", Password: secret("password-1"), Roles: []fsm.RoleName{"tokens"}, Enabled: true})
		}, []string{"elastic:password-1", "joe:password-1"}},
		{"joe decides something", func() error {
			login, err := chain.Authenticate(t.Context(), "joe", realm.NewSecret("password-1"))
			stale = fsm.Guard{Caller: login.Identity.Principal, CallerGeneration: login.Generation}
			return err
		}, []string{"elastic:password-1", "joe:password-1"}},
		{"joe gets a new password", func() error { return setPassword("joe", "password-2") }, []string{"elastic:password-1", "joe:password-2"}},
		{"what joe decided before comes too late", func() error {
			if _, err := roles.Put(t.Context(), stale, fsm.Role{Name: "r"}); !errors.Is(err, realm.ErrStale) {
				t.Errorf("got %v, want ErrStale", err)
			}
			return nil
		}, []string{"elastic:password-1", "joe:password-2"}},
		{"joe is disabled", func() error { return setEnabled("joe", false) }, []string{"elastic:password-1"}},
		{"an update that says nothing enables him again", func() error {
			return put(realm.UserRequest{Username: "joe", Roles: []fsm.RoleName{}, Enabled: true})
		}, []string{"elastic:password-1", "joe:password-2"}},
		{"elastic gets a new password", func() error { return setPassword("elastic", "password-2") }, []string{"elastic:password-2", "joe:password-2"}},
		{"joe goes", func() error { _, err := users.Delete(t.Context(), fsm.Guard{}, "joe"); return err }, []string{"elastic:password-2"}},
		{"another joe comes", func() error {
			return put(realm.UserRequest{Username: "joe", Password: secret("password-1"), Roles: []fsm.RoleName{}, Enabled: true})
		}, []string{"elastic:password-2", "joe:password-1"}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		var got []string
		for _, name := range []string{"elastic", "joe"} {
			for _, password := range []string{"password-1", "password-2"} {
				if _, err := chain.Authenticate(t.Context(), name, realm.NewSecret(password)); err == nil {
					got = append(got, name+":"+password)
				} else if !errors.Is(err, realm.ErrBadCredentials) {
					t.Fatalf("%s: %v", step.what, err)
				}
			}
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: who can log in (-want +got):\n%s", step.what, diff)
		}
	}
}
