package realm_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/node/realm"
)

// rush is who wants a worker of a hasher, from where, and what became of it.
type rush struct {
	t      *testing.T
	hasher *realm.Hasher

	mu     sync.Mutex
	served []string // names, in this order
	sent   []string // names of those that were sent away, likewise
	wg     sync.WaitGroup
}

// comes joins the queue; it returns when that is done.
func (r *rush) comes(from string, name fsm.Username) {
	r.joins(name, func() error {
		return r.hasher.Acquire(comingFrom(r.t.Context(), from), name)
	})
}

func comingFrom(ctx context.Context, network string) context.Context {
	return context.WithValue(ctx, realm.Source{}, realm.Source(netip.MustParsePrefix(network)))
}

func (r *rush) joins(name fsm.Username, acquire func() error) {
	r.wg.Go(func() {
		err := acquire()
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case err == nil:
			r.served = append(r.served, string(name))
		case errors.Is(err, realm.ErrBusy):
			r.sent = append(r.sent, string(name))
		default:
			r.t.Error(err)
		}
	})
	synctest.Wait()
}

// serves has n workers finish.
func (r *rush) serves(n int) {
	for range n {
		r.hasher.Release()
		synctest.Wait()
	}
}

// apart draws names that do not share a lane.
func apart(t *testing.T, hasher *realm.Hasher, n int) []fsm.Username {
	t.Helper()
	var names []fsm.Username
	taken := map[uint64]bool{}
	for i := 0; len(names) < n; i++ {
		name := fsm.Username(fmt.Sprint("user-", i))
		if lane := hasher.Lane(name); !taken[lane] {
			taken[lane] = true
			names = append(names, name)
		}
	}
	return names
}

const attacker, elsewhere = "192.0.2.1/32", "198.51.100.7/32"

// Requests with wrong passwords used to fill the queue for everybody.
func TestAFloodOfOneNameDoesNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rush{t: t, hasher: realm.NewBoundedHasher(1, 10)}
		names := apart(t, r.hasher, 3)
		flooded, joe, ann := names[0], names[1], names[2]
		for range 30 {
			r.comes(attacker, flooded)
		}
		r.comes(attacker, joe)
		r.comes(attacker, ann)
		if want := slices.Repeat([]string{string(flooded)}, 21); !slices.Equal(r.sent, want) {
			t.Errorf("sent away: %v", r.sent)
		}
		r.serves(3)
		if want := []string{string(flooded), string(joe), string(ann), string(flooded)}; !slices.Equal(r.served, want) {
			t.Errorf("served: %v, want %v", r.served, want)
		}
		r.serves(8)
		r.wg.Wait()
	})
}

// Ever new names, none of which exists, from one source.
func TestAFloodFromOneSourceDoesNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rush{t: t, hasher: realm.NewBoundedHasher(3, 192)}
		for i := range 230 {
			r.comes(attacker, fsm.Username(fmt.Sprint("nobody-", i)))
		}
		r.comes(elsewhere, "joe")
		for i := range 230 {
			r.comes(attacker, fsm.Username(fmt.Sprint("nobody-either-", i)))
		}
		if slices.Contains(r.sent, "joe") {
			t.Fatal("joe is sent away")
		}
		r.serves(1)
		if got := r.served[len(r.served)-1]; got != "joe" {
			t.Errorf("the next one is %s", got)
		}
		r.serves(192)
		r.wg.Wait()
	})
}

// An administrator can help a user whose name is flooded.
func TestNewPasswordsHaveALaneOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rush{t: t, hasher: realm.NewBoundedHasher(1, 4)}
		for range 10 {
			r.comes(attacker, "joe")
		}
		r.joins("new password of joe", func() error {
			return r.hasher.AcquireForNewPassword(comingFrom(t.Context(), attacker))
		})
		r.serves(1)
		if got := r.served[1]; got != "new password of joe" {
			t.Errorf("the next one is %s", got)
		}
		r.serves(4)
		r.wg.Wait()
	})
}

// Whether a name exists makes no difference to who is sent away.
func TestBeingSentAwayTellsNotWhoExists(t *testing.T) {
	s := newState()
	hasher := realm.NewBoundedHasher(1, 20)
	chain, err := realm.NewChain(realm.ChainConfig{View: s, Hasher: hasher, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	names := make([]fsm.Username, 40)
	for i := range names {
		names[i] = fsm.Username(fmt.Sprint("user-", i))
	}
	round := func(password string) (sent []fsm.Username) {
		synctest.Test(t, func(t *testing.T) {
			if err := hasher.Acquire(t.Context(), "the one who is served"); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var group sync.WaitGroup
			for _, name := range names {
				group.Go(func() {
					_, err := chain.Authenticate(t.Context(), string(name), realm.NewSecret(password))
					mu.Lock()
					defer mu.Unlock()
					if errors.Is(err, realm.ErrBusy) {
						sent = append(sent, name)
					} else if !errors.Is(err, realm.ErrBadCredentials) {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			hasher.Release()
			group.Wait()
		})
		return sent
	}
	unknown := round("password 1")
	for _, name := range names {
		s.users[key(fsm.RealmNative, name)] = fsm.User{Username: name, Verifier: verifierOf(t, "right"), Enabled: true}
	}
	known := round("password 2")
	if len(unknown) != 20 || !slices.Equal(unknown, known) {
		t.Errorf("sent away when unknown: %v, when known: %v", unknown, known)
	}
}

// Whatever comes and goes: the bounds hold, everybody gets an answer, and who is sent
// away is one of those that most wait with.
func TestQueueUnderAnything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			const workers, places = 2, 6
			hasher := realm.NewBoundedHasher(workers, places)
			var group sync.WaitGroup
			var mu sync.Mutex
			served, sent, gone, came := 0, 0, 0, 0
			var impatient []context.CancelFunc
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				switch rapid.SampledFrom([]string{"come", "come", "finish", "go"}).Draw(rt, "what") {
				case "come":
					came++
					name := fsm.Username(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "name"))
					from := rapid.SampledFrom([]string{attacker, elsewhere, "2001:db8::/64"}).Draw(rt, "source")
					ctx, cancel := context.WithCancel(comingFrom(t.Context(), from))
					impatient = append(impatient, cancel)
					group.Go(func() {
						err := hasher.Acquire(ctx, name)
						mu.Lock()
						defer mu.Unlock()
						switch {
						case err == nil:
							served++
						case errors.Is(err, realm.ErrBusy):
							sent++
						default:
							gone++
						}
					})
				case "finish":
					if served > 0 {
						served--
						came--
						hasher.Release()
					}
				case "go":
					if len(impatient) > 0 {
						impatient[0]()
						impatient = impatient[1:]
					}
				}
				synctest.Wait()
				waiting := came - served - sent - gone
				if served > workers || waiting < 0 || waiting > places || waiting > 0 && served < workers {
					rt.Fatalf("%d are served, %d wait", served, waiting)
				}
			}
			for served > 0 {
				served--
				hasher.Release()
				synctest.Wait()
			}
			group.Wait()
		})
	})
}
