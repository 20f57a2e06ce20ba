package realm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

// chainOf is a chain over a state and, if users is not empty, file realm files.
func chainOf(tb testing.TB, s *state, now func() time.Time, users, roles string) *realm.Chain {
	tb.Helper()
	config := realm.ChainConfig{View: s, Hasher: hasherOf(tb, "pbkdf2_1000"), Now: now}
	if users != "" {
		dir := tb.TempDir()
		config.UsersFile, config.UsersRolesFile = filepath.Join(dir, "users"), filepath.Join(dir, "users_roles")
		write(tb, config.UsersFile, users)
		write(tb, config.UsersRolesFile, roles)
	}
	chain, err := realm.NewChain(config)
	if err != nil {
		tb.Fatal(err)
	}
	return chain
}

func write(tb testing.TB, path, content string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// countHashes counts the hashes that a chain does.
func countHashes(chain *realm.Chain) *atomic.Int32 {
	var n atomic.Int32
	chain.WrapMatcher(func(inner realm.Matcher) realm.Matcher {
		return func(ctx context.Context, name fsm.Username, encoded string, password realm.Secret) (bool, error) {
			n.Add(1)
			return inner(ctx, name, encoded, password)
		}
	})
	return &n
}

// populate fills the realms: joe is native, ann is in the file, bob is in both with
// different passwords, eve is disabled; of the reserved users elastic has a
// password, beats_system is disabled, and the others have never been touched.
func populate(tb testing.TB) (s *state, users, roles string) {
	tb.Helper()
	s = newState()
	put := func(u fsm.User, password string) {
		u.Verifier, u.Enabled = verifierOf(tb, password), u.Username != "eve" && u.Username != "beats_system"
		s.users[key(u.Realm, u.Username)] = u
	}
	name, mail := "Joe", "joe@example.com"
	put(fsm.User{
		Username: "joe", Realm: fsm.RealmNative, Roles: []fsm.RoleName{"a", "b"}, FullName: &name, Email: &mail,
		Metadata: []byte(`{"k":1}`), Generation: 7,
	}, "joe-password")
	put(fsm.User{Username: "bob", Realm: fsm.RealmNative, Generation: 8}, "bob-native")
	put(fsm.User{Username: "eve", Realm: fsm.RealmNative, Generation: 9}, "eve-password")
	put(fsm.User{Username: "elastic", Realm: fsm.RealmReserved, Generation: 3}, "changeme")
	put(fsm.User{Username: "beats_system", Realm: fsm.RealmReserved, Generation: 4}, "beats-password")
	// A native record of a reserved name cannot come into being; were it there, it would not count.
	put(fsm.User{Username: "kibana", Realm: fsm.RealmNative, Generation: 5}, "kibana-password")
	users = "# comment\n\nann:" + verifierOf(tb, "ann-password") + "\nbob:" + verifierOf(tb, "bob-file") + "\n"
	return s, users, "x:ann,bob\n y : ann \n"
}

func TestChainAuthenticates(t *testing.T) {
	s, users, roles := populate(t)
	chain := chainOf(t, s, time.Now, users, roles)
	native, file := fsm.Realm{Name: fsm.RealmNative, Type: "native"}, fsm.Realm{Name: "default_file", Type: "file"}
	name, mail := "Joe", "joe@example.com"
	for _, test := range []struct {
		username, password string
		want               realm.Login
	}{
		{"joe", "joe-password", realm.Login{Generation: 7, Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "joe", Realm: native}, Roles: []fsm.RoleName{"a", "b"},
			FullName: &name, Email: &mail, Metadata: []byte(`{"k":1}`),
		}}},
		{"bob", "bob-native", realm.Login{Generation: 8, Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "bob", Realm: native},
		}}},
		{"bob", "bob-file", realm.Login{Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "bob", Realm: file}, Roles: []fsm.RoleName{"x"},
		}}},
		{"ann", "ann-password", realm.Login{Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "ann", Realm: file}, Roles: []fsm.RoleName{"x", "y"},
		}}},
		{"elastic", "changeme", realm.Login{Generation: 3, Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "elastic", Realm: fsm.Realm{Name: "reserved", Type: "reserved"}},
			Roles:     []fsm.RoleName{"superuser"}, Metadata: []byte(`{"_reserved":true}`),
		}}},
	} {
		for _, from := range []string{"a hash", "memory"} {
			got, err := chain.Authenticate(t.Context(), test.username, realm.NewSecret(test.password))
			if err != nil {
				t.Errorf("%s, from %s: %v", test.username, from, err)
			} else if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s, from %s (-want +got):\n%s", test.username, from, diff)
			}
		}
	}
}

// Whoever is refused, it is the same error after the same work: what a login costs
// does not tell who exists.
func TestChainRefusesAfterEqualWork(t *testing.T) {
	s, users, roles := populate(t)
	for name, test := range map[string]struct {
		username, password string
		hashes             int32
	}{
		"unknown user":                            {"nobody", "changeme", 1},
		"no user name":                            {"", "changeme", 1},
		"wrong password, native":                  {"joe", "joe-passwore", 1},
		"empty password":                          {"joe", "", 1},
		"wrong password, file":                    {"ann", "changeme", 1},
		"wrong password, reserved":                {"elastic", "changemf", 1},
		"wrong password in two realms":            {"bob", "changeme", 2}, // one for each realm that knows the name
		"disabled, right password":                {"eve", "eve-password", 1},
		"disabled, wrong password":                {"eve", "changeme", 1},
		"reserved and disabled, right password":   {"beats_system", "beats-password", 1},
		"reserved without password":               {"logstash_system", "", 1},
		"reserved names do not fall through":      {"kibana", "kibana-password", 1},
		"user names are told apart by every byte": {"Joe", "joe-password", 1},
	} {
		t.Run(name, func(t *testing.T) {
			chain := chainOf(t, s, time.Now, users, roles)
			hashes := countHashes(chain)
			for range 2 {
				login, err := chain.Authenticate(t.Context(), test.username, realm.NewSecret(test.password))
				if !errors.Is(err, realm.ErrBadCredentials) || login != (realm.Login{}) {
					t.Errorf("got %v, %v; want ErrBadCredentials", login, err)
				}
				// The second time nobody hashes, known or unknown.
				if n := hashes.Load(); n != test.hashes {
					t.Errorf("%d hashes, want %d", n, test.hashes)
				}
			}
		})
	}
}

// All unknown users share one verifier. Was their password remembered for all of
// them, a quick answer would mean "unknown".
func TestWhatIsRememberedOfOneUserIsNotUsedForAnother(t *testing.T) {
	chain := chainOf(t, newState(), time.Now, "", "")
	hashes := countHashes(chain)
	for _, username := range []string{"ann", "bob", "elastic"} {
		if _, err := chain.Authenticate(t.Context(), username, realm.NewSecret("changeme")); !errors.Is(err, realm.ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	if n := hashes.Load(); n != 3 {
		t.Errorf("%d hashes, want 3", n)
	}
}

func TestADamagedVerifierIsAnErrorAndNoLogin(t *testing.T) {
	s := newState()
	s.users[key(fsm.RealmNative, "joe")] = fsm.User{Username: "joe", Verifier: "changeme", Enabled: true}
	chain := chainOf(t, s, time.Now, "", "")
	login, err := chain.Authenticate(t.Context(), "joe", realm.NewSecret("changeme"))
	if err == nil || errors.Is(err, realm.ErrBadCredentials) || login.Identity != nil {
		t.Errorf("got %v, %v", login, err)
	}
}

func TestChainNeedsItsParts(t *testing.T) {
	if _, err := realm.NewChain(realm.ChainConfig{}); err == nil {
		t.Error("no error")
	}
}

func BenchmarkAuthenticateFromMemory(b *testing.B) {
	s, _, _ := populate(b)
	view := readOnly{s}
	for _, username := range []string{"elastic", "joe"} {
		password := realm.NewSecret(map[string]string{"elastic": "changeme", "joe": "joe-password"}[username])
		chain, err := realm.NewChain(realm.ChainConfig{View: view, Hasher: hasherOf(b, "pbkdf2_1000"), Now: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := chain.Authenticate(b.Context(), username, password); err != nil {
			b.Fatal(err)
		}
		b.Run(username, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := chain.Authenticate(b.Context(), username, password); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// readOnly is a view without a lock.
type readOnly struct{ *state }

func (r readOnly) User(name fsm.RealmName, username fsm.Username) (fsm.User, bool) {
	user, ok := r.users[key(name, username)]
	return user, ok
}
