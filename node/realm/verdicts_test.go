package realm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/node/realm"
)

// gate is a matcher that lets a test watch and end the hashing. Its verifiers are
// the passwords themselves.
type gate struct {
	hashes atomic.Int32
	open   chan error // one value ends one hash
}

func (g *gate) wrap(realm.Matcher) realm.Matcher {
	return func(ctx context.Context, _ fsm.Username, encoded string, password realm.Secret) (bool, error) {
		g.hashes.Add(1)
		select {
		case err := <-g.open:
			return err == nil && encoded == password.Expose(), err
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func gatedChain(t *testing.T) (*realm.Chain, *gate) {
	t.Helper()
	s := newState()
	s.users[key(fsm.RealmNative, "joe")] = fsm.User{Username: "joe", Verifier: "joe-password", Enabled: true}
	chain := chainOf(t, s, time.Now, "", "")
	g := &gate{open: make(chan error)}
	chain.WrapMatcher(g.wrap)
	return chain, g
}

// logins starts n logins at once and returns how they end.
func logins(ctx context.Context, chain *realm.Chain, n int, password string) func() map[string]int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	ends := map[string]int{}
	for range n {
		wg.Go(func() {
			_, err := chain.Authenticate(ctx, "joe", realm.NewSecret(password))
			mu.Lock()
			defer mu.Unlock()
			ends[fmt.Sprint(err)]++
		})
	}
	return func() map[string]int { wg.Wait(); return ends }
}

func TestParallelLoginsShareOneHash(t *testing.T) {
	for password, want := range map[string]string{"joe-password": "<nil>", "wrong": realm.ErrBadCredentials.Error()} {
		synctest.Test(t, func(t *testing.T) {
			chain, g := gatedChain(t)
			ends := logins(t.Context(), chain, 64, password)
			synctest.Wait()
			g.open <- nil
			if got := ends(); got[want] != 64 {
				t.Errorf("%s: logins ended with %v", password, got)
			}
			if n := g.hashes.Load(); n != 1 {
				t.Errorf("%s: %d hashes, want 1", password, n)
			}
		})
	}
}

// Who comes just as a hash ends must find either the flight or the verdict.
func TestNobodySlipsBetweenFlightAndMemory(t *testing.T) {
	s := newState()
	s.users[key(fsm.RealmNative, "joe")] = fsm.User{Username: "joe", Verifier: "joe-password", Enabled: true}
	chain := chainOf(t, s, time.Now, "", "")
	var hashes atomic.Int32
	chain.WrapMatcher(func(realm.Matcher) realm.Matcher {
		return func(context.Context, fsm.Username, string, realm.Secret) (bool, error) {
			hashes.Add(1)
			return false, nil
		}
	})
	const rounds = 1000
	for i := range rounds {
		logins(t.Context(), chain, 8, fmt.Sprint(i))()
	}
	if n := hashes.Load(); n != rounds {
		t.Errorf("%d hashes of %d passwords", n, rounds)
	}
}

func TestOneCallersImpatienceIsNotTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain, g := gatedChain(t)
		hasty, cancel := context.WithCancel(t.Context())
		first := logins(hasty, chain, 1, "joe-password")
		synctest.Wait()
		rest := logins(t.Context(), chain, 8, "joe-password")
		alsoHasty := logins(hasty, chain, 1, "joe-password")
		synctest.Wait()
		cancel()
		synctest.Wait()
		g.open <- nil
		if got := rest(); got["<nil>"] != 8 {
			t.Errorf("the others ended with %v", got)
		}
		for _, ends := range []map[string]int{first(), alsoHasty()} {
			if ends["<nil>"] != 0 {
				t.Errorf("the impatient ended with %v", ends)
			}
		}
		if n := g.hashes.Load(); n != 2 {
			t.Errorf("%d hashes, want 2: the one given up and one for all others", n)
		}
	})
}

func TestAFailureIsSharedButNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain, g := gatedChain(t)
		ends := logins(t.Context(), chain, 8, "joe-password")
		synctest.Wait()
		g.open <- realm.ErrBusy
		if got := ends(); got[realm.ErrBusy.Error()] != 8 {
			t.Errorf("ended with %v", got)
		}
		ends = logins(t.Context(), chain, 1, "joe-password")
		g.open <- nil
		if got := ends(); got["<nil>"] != 1 {
			t.Errorf("then ended with %v", got)
		}
	})
}

func TestVerdictsExpireAfterTwentyMinutes(t *testing.T) {
	s := newState()
	s.users[key(fsm.RealmNative, "joe")] = fsm.User{Username: "joe", Verifier: verifierOf(t, "joe-password"), Enabled: true}
	c := &clock{time.Unix(1_700_000_000, 0)}
	chain := chainOf(t, s, c.now, "", "")
	hashes := countHashes(chain)
	for _, step := range []struct {
		after time.Duration
		want  int32
	}{{0, 1}, {20*time.Minute - 1, 1}, {1, 2}, {time.Minute, 2}} {
		c.t = c.t.Add(step.after)
		if _, err := chain.Authenticate(t.Context(), "joe", realm.NewSecret("joe-password")); err != nil {
			t.Fatal(err)
		}
		if n := hashes.Load(); n != step.want {
			t.Errorf("%v later: %d hashes, want %d", step.after, n, step.want)
		}
	}
}

func TestVerdictsCanBeForgotten(t *testing.T) {
	chain, g := gatedChain(t)
	login := func(password string, hashed bool) {
		t.Helper()
		before := g.hashes.Load()
		end := logins(t.Context(), chain, 1, password)
		if hashed {
			g.open <- nil
		}
		end()
		if did := g.hashes.Load() > before; did != hashed {
			t.Errorf("%s: hashed %t, want %t", password, did, hashed)
		}
	}
	for _, password := range []string{"joe-password", "wrong"} {
		login(password, true)
		login(password, false)
		chain.Forget()
		login(password, true)
	}
}

// A password that nobody uses any more must not be derivable from memory for longer,
// although there is room for it.
func TestExpiredVerdictsAreDropped(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s := newState()
	s.users[key(fsm.RealmNative, "joe")] = fsm.User{Username: "joe", Verifier: "joe-password", Enabled: true}
	chain := chainOf(t, s, c.now, "", "")
	chain.WrapMatcher(func(realm.Matcher) realm.Matcher {
		return func(_ context.Context, _ fsm.Username, encoded string, password realm.Secret) (bool, error) {
			return encoded == password.Expose(), nil
		}
	})
	login := func(password string) { _, _ = chain.Authenticate(t.Context(), "joe", realm.NewSecret(password)) }
	remembered := func(what string, right, wrong int) {
		t.Helper()
		if r, w := chain.Remembered(); r != right || w != wrong {
			t.Errorf("%s: %d right and %d wrong are remembered, want %d and %d", what, r, w, right, wrong)
		}
	}
	login("joe-password")
	c.t = c.t.Add(10 * time.Minute)
	login("wrong 1")
	login("wrong 2")
	remembered("before", 1, 2)
	c.t = c.t.Add(10 * time.Minute)
	chain.ForgetExpired()
	remembered("after 20 minutes", 0, 2)
	c.t = c.t.Add(10 * time.Minute)
	login("wrong 3")
	remembered("after a login 10 minutes later", 0, 1)
	login("wrong 3")
	c.t = c.t.Add(-time.Hour) // somebody sets the clock back
	login("wrong 3")
	login("wrong 4")
	remembered("with the clock set back", 0, 2)
}

func TestVerdictsAreBounded(t *testing.T) {
	s := newState()
	s.users[key(fsm.RealmNative, "joe")] = fsm.User{Username: "joe", Verifier: "joe-password", Enabled: true}
	chain := chainOf(t, s, time.Now, "", "")
	chain.WrapMatcher(func(realm.Matcher) realm.Matcher {
		return func(_ context.Context, _ fsm.Username, encoded string, password realm.Secret) (bool, error) {
			return encoded == password.Expose(), nil
		}
	})
	login := func(password string) error {
		_, err := chain.Authenticate(t.Context(), "joe", realm.NewSecret(password))
		return err
	}
	if err := login("joe-password"); err != nil {
		t.Fatal(err)
	}
	for i := range realm.MaxWrongVerdicts + 100 {
		if err := login(fmt.Sprint(i)); !errors.Is(err, realm.ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	// Guesses never displace those who know their password.
	if right, wrong := chain.Remembered(); right != 1 || wrong != realm.MaxWrongVerdicts {
		t.Errorf("%d right and %d wrong are remembered", right, wrong)
	}
}

// TestOnlyTheCurrentPasswordLogsIn drives users through everything that can happen
// to them, through the use cases, and asks after each step with all passwords.
func TestOnlyTheCurrentPasswordLogsIn(t *testing.T) {
	passwords := []string{"password-1", "password-2", "password-3"}
	names := []fsm.Username{"elastic", "joe", "ann"}
	rapid.Check(t, func(rt *rapid.T) {
		s, c := newState(), &clock{time.Unix(1_700_000_000, 0)}
		chain := chainOf(t, s, c.now, "", "")
		chain.WrapMatcher(func(realm.Matcher) realm.Matcher { // a verifier is "number:password" here
			return func(_ context.Context, _ fsm.Username, encoded string, password realm.Secret) (bool, error) {
				return len(encoded) > 4 && encoded[4:] == password.Expose(), nil
			}
		})
		current := map[fsm.Username]string{} // the model: who can log in, with what
		lastSet := map[fsm.Username]string{}
		salt := 0
		propose := func(command fsm.Command) fsm.Outcome {
			outcome, _ := s.Propose(t.Context(), command)
			return outcome
		}
		user := rapid.SampledFrom(names)
		actions := map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				name, password := user.Draw(rt, "user"), rapid.SampledFrom(append(passwords, "")).Draw(rt, "password")
				if name == "elastic" {
					rt.Skip("reserved")
				}
				salt++
				command := fsm.PutUser{Username: name, Enabled: rapid.Bool().Draw(rt, "enabled")}
				if password != "" {
					command.Verifier = fmt.Sprintf("%03d:%s", salt, password)
				}
				if propose(command).Reason != fsm.Done {
					return
				}
				if password != "" {
					lastSet[name] = password
				}
				delete(current, name)
				if command.Enabled {
					current[name] = lastSet[name]
				}
			},
			"delete": func(rt *rapid.T) {
				name := user.Draw(rt, "user")
				propose(fsm.DeleteUser{Username: name})
				if name != "elastic" {
					delete(current, name)
				}
			},
			"setPassword": func(rt *rapid.T) {
				name, password := user.Draw(rt, "user"), rapid.SampledFrom(passwords).Draw(rt, "password")
				salt++
				in := fsm.RealmNative
				if name == "elastic" {
					in = fsm.RealmReserved
				}
				if propose(fsm.SetPassword{Realm: in, Username: name, Verifier: fmt.Sprintf("%03d:%s", salt, password)}).Reason != fsm.Done {
					return
				}
				lastSet[name] = password
				if u, _ := s.User(in, name); u.Enabled {
					current[name] = password
				}
			},
			"setEnabled": func(rt *rapid.T) {
				name, enabled := user.Draw(rt, "user"), rapid.Bool().Draw(rt, "enabled")
				in := fsm.RealmNative
				if name == "elastic" {
					in = fsm.RealmReserved
				}
				if propose(fsm.SetEnabled{Realm: in, Username: name, Enabled: enabled}).Reason != fsm.Done {
					return
				}
				delete(current, name)
				if enabled && lastSet[name] != "" {
					current[name] = lastSet[name]
				}
			},
			"wait": func(rt *rapid.T) {
				c.t = c.t.Add(time.Duration(rapid.IntRange(1, 30).Draw(rt, "minutes")) * time.Minute)
			},
			"": func(rt *rapid.T) {
				for _, name := range names {
					for _, password := range passwords {
						_, err := chain.Authenticate(t.Context(), string(name), realm.NewSecret(password))
						if want := current[name] == password; want != (err == nil) {
							rt.Fatalf("%s with %s: %v; current: %v", name, password, err, current)
						}
						if err != nil && !errors.Is(err, realm.ErrBadCredentials) {
							rt.Fatal(err)
						}
					}
				}
			},
		}
		rt.Repeat(actions)
	})
}
