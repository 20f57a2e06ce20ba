package realm_test

import (
	"errors"
	"regexp"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestBootstrapPassword(t *testing.T) {
	for name, configured := range map[string]string{"configured": "changeme", "generated": ""} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			generated, set, err := usersOf(t, s).EnsureBootstrapPassword(t.Context(), realm.NewSecret(configured))
			if err != nil || !set {
				t.Fatalf("set %v, %v", set, err)
			}
			password := realm.NewSecret(configured)
			if configured == "" {
				password = generated
				if !regexp.MustCompile(`^[2-9A-HJ-NP-Za-km-z]{20}$`).MatchString(generated.Expose()) {
					t.Errorf("generated %q", generated.Expose())
				}
			} else if !generated.IsZero() {
				t.Error("generated beside a configured one")
			}
			login, err := chainOf(t, s, time.Now, "", "").Authenticate(t.Context(), "elastic", password)
			if err != nil || login.Identity.Roles[0] != "superuser" {
				t.Errorf("login %v, %v", login, err)
			}
			before, _ := s.User(fsm.RealmReserved, "elastic")
			again, set, err := usersOf(t, s).EnsureBootstrapPassword(t.Context(), realm.NewSecret("another"))
			if after, _ := s.User(fsm.RealmReserved, "elastic"); err != nil || set || !again.IsZero() || after.Verifier != before.Verifier {
				t.Errorf("the second time: set %v, %v", set, err)
			}
		})
	}
}

// Another node was faster: what this one generated is not the password and must not be shown.
func TestBootstrapPasswordOfAnotherNodeWins(t *testing.T) {
	s := newState()
	s.refuse = fsm.AlreadySet
	generated, set, err := usersOf(t, s).EnsureBootstrapPassword(t.Context(), realm.Secret{})
	if err != nil || set || !generated.IsZero() {
		t.Errorf("generated %q, set %v, %v", generated.Expose(), set, err)
	}
}

// It may have been set: the only copy of it is not thrown away.
func TestBootstrapPasswordSurvivesAnUnknownOutcome(t *testing.T) {
	s := newState()
	s.fail = realm.ErrUnavailable
	generated, set, err := usersOf(t, s).EnsureBootstrapPassword(t.Context(), realm.Secret{})
	if !errors.Is(err, realm.ErrUnavailable) || set || generated.IsZero() {
		t.Errorf("generated %v, set %v, %v", !generated.IsZero(), set, err)
	}
}

func TestBootstrapPasswordMustBeOne(t *testing.T) {
	s := newState()
	_, set, err := usersOf(t, s).EnsureBootstrapPassword(t.Context(), realm.NewSecret("short"))
	if err == nil || set || len(s.proposed) != 0 {
		t.Errorf("set %v, %v", set, err)
	}
}

func TestGeneratedPasswordsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 8 {
		generated, _, err := usersOf(t, newState()).EnsureBootstrapPassword(t.Context(), realm.Secret{})
		if err != nil || seen[generated.Expose()] {
			t.Fatalf("%v, seen before: %v", err, seen[generated.Expose()])
		}
		seen[generated.Expose()] = true
	}
}
