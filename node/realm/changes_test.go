package realm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

// calls are all changes that the use cases can make.
func calls(t *testing.T, s *state) map[string]func(context.Context) error {
	t.Helper()
	users, roles := usersOf(t, s), realm.NewRoles(s, s)
	return map[string]func(context.Context) error{
		"put user": func(ctx context.Context) error {
			_, err := users.Put(ctx, admin, guard, realm.UserRequest{Username: "joe", Password: secret("joe-password"), Roles: []fsm.RoleName{}})
			return err
		},
		"delete user": func(ctx context.Context) error { _, err := users.Delete(ctx, guard, "joe"); return err },
		"set password": func(ctx context.Context) error {
			return users.SetPassword(ctx, guard, "joe", secret("joe-password"), nil)
		},
		"set enabled": func(ctx context.Context) error { return users.SetEnabled(ctx, admin, guard, "joe", true) },
		"put role":    func(ctx context.Context) error { _, err := roles.Put(ctx, guard, fsm.Role{Name: "r"}); return err },
		"delete role": func(ctx context.Context) error { _, err := roles.Delete(ctx, guard, "r"); return err },
	}
}

func TestEveryChangeIsGuardedAndKeepsItsError(t *testing.T) {
	unknown := errors.New("broken")
	for name, test := range map[string]struct {
		refuse fsm.Reason
		fail   error
		want   error
	}{
		"stale":        {refuse: fsm.StaleDecision, want: realm.ErrStale},
		"forgotten":    {refuse: fsm.Expired, want: realm.ErrUnavailable},
		"unavailable":  {fail: realm.ErrUnavailable, want: realm.ErrUnavailable},
		"overloaded":   {fail: realm.ErrOverloaded, want: realm.ErrOverloaded},
		"anything":     {fail: unknown, want: unknown},
		"not foreseen": {refuse: fsm.DigestTaken, want: &fsm.RefusalError{Reason: fsm.DigestTaken}},
	} {
		s := newState()
		s.refuse, s.fail = test.refuse, test.fail
		for call, do := range calls(t, s) {
			err := do(t.Context())
			if refusal, ok := errors.AsType[*fsm.RefusalError](err); ok {
				if diff := cmp.Diff(test.want, error(refusal)); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", name, call, diff)
				}
			} else if !errors.Is(err, test.want) {
				t.Errorf("%s, %s: %v", name, call, err)
			}
		}
		for _, command := range s.proposed {
			if got := guardOf(t, command); got != guard {
				t.Errorf("%T is guarded by %v", command, got)
			}
		}
	}
}

func guardOf(t *testing.T, command fsm.Command) fsm.Guard {
	t.Helper()
	switch c := command.(type) {
	case fsm.PutUser:
		return c.Guard
	case fsm.DeleteUser:
		return c.Guard
	case fsm.SetPassword:
		return c.Guard
	case fsm.SetEnabled:
		return c.Guard
	case fsm.PutRole:
		return c.Guard
	case fsm.DeleteRole:
		return c.Guard
	}
	t.Fatalf("unexpected %T", command)
	return fsm.Guard{}
}
