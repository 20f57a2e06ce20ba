package realm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

var (
	admin = fsm.Principal{Username: "elastic", Realm: fsm.Realm{Name: "reserved", Type: "reserved"}}
	guard = fsm.Guard{Caller: admin, CallerGeneration: 42, RolesVersion: 1}
)

func usersOf(tb testing.TB, s *state) *realm.Users {
	tb.Helper()
	return realm.NewUsers(s, s, hasherOf(tb, "bcrypt4"))
}

// check compares an error with Elasticsearch's type and text; both empty: none.
func check(t *testing.T, err error, wantType, want string) {
	t.Helper()
	gotType, got := "", ""
	if err != nil {
		got = err.Error()
	}
	if invalid, ok := errors.AsType[*realm.ValidationError](err); ok {
		gotType = invalid.Type
	} else if _, ok := errors.AsType[*realm.ArgumentError](err); ok {
		gotType = "illegal_argument_exception"
	}
	if gotType != wantType || got != want {
		t.Errorf("got  %s: %s\nwant %s: %s", gotType, got, wantType, want)
	}
}

func TestPutUserRefusesWithElasticsearchsTexts(t *testing.T) {
	const (
		action     = "action_request_validation_exception"
		plain      = "validation_exception"
		argument   = "illegal_argument_exception"
		nameText   = "names must be at least 1 and no more than 507 characters. They can contain alphanumeric characters (a-z, A-Z, 0-9), spaces, punctuation, and printable symbols in the Basic Latin (ASCII) block. Leading or trailing whitespace is not allowed."
		bcrypt4Of  = "$2a$04$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."
		bcrypt10Of = "$2a$10$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."
	)
	native := fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}
	long := strings.Repeat("x", 508)
	for name, test := range map[string]struct {
		change         func(*realm.UserRequest)
		wantType, want string
	}{
		"new user without password": {
			func(r *realm.UserRequest) { r.Password = nil },
			plain, "Validation Failed: 1: password must be specified unless you are updating an existing user;",
		},
		"roles absent": {
			func(r *realm.UserRequest) { r.Roles = nil },
			action, "Validation Failed: 1: roles are missing;",
		},
		"reserved metadata": {
			func(r *realm.UserRequest) { r.Metadata = []byte(`{"a":1,"_b":2}`) },
			action, "Validation Failed: 1: metadata keys may not start with [_];",
		},
		"both at once": {
			func(r *realm.UserRequest) { r.Roles, r.Metadata = nil, []byte(`{"_":1}`) },
			action, "Validation Failed: 1: roles are missing;2: metadata keys may not start with [_];",
		},
		"short password": {
			func(r *realm.UserRequest) { r.Password = secret("12345") },
			plain, "Validation Failed: 1: passwords must be at least [6] characters long;",
		},
		"empty password": {
			func(r *realm.UserRequest) { r.Password = secret("") },
			plain, "Validation Failed: 1: passwords must be at least [6] characters long;",
		},
		"characters are counted, not bytes": {
			func(r *realm.UserRequest) { r.Password = secret("ééééé") },
			plain, "Validation Failed: 1: passwords must be at least [6] characters long;",
		},
		"longer than bcrypt sees": {
			func(r *realm.UserRequest) { r.Password = secret(strings.Repeat("x", 73)) },
			plain, "Validation Failed: 1: passwords must be no more than [72] bytes long with the hashing algorithm [BCRYPT4];",
		},
		"both password and hash": {
			func(r *realm.UserRequest) { r.PasswordHash = secret(bcrypt4Of) },
			plain, "Validation Failed: 1: password_hash has already been set;",
		},
		"hash of another cost": {
			func(r *realm.UserRequest) { r.Password, r.PasswordHash = nil, secret(bcrypt10Of) },
			argument, "Provided password hash uses [BCRYPT] but the configured hashing algorithm is [BCRYPT4]",
		},
		"no hash at all": {
			func(r *realm.UserRequest) { r.Password, r.PasswordHash = nil, secret("changeme") },
			argument, "Provided password hash uses [NOOP] but the configured hashing algorithm is [BCRYPT4]",
		},
		"reserved user": {
			func(r *realm.UserRequest) { r.Username = "elastic" },
			action, "Validation Failed: 1: user [elastic] is reserved and only the password can be changed;",
		},
		"no user name": {
			func(r *realm.UserRequest) { r.Username = "" }, action, "Validation Failed: 1: User " + nameText + ";",
		},
		"long user name": {
			func(r *realm.UserRequest) { r.Username = fsm.Username(long) }, action, "Validation Failed: 1: User " + nameText + ";",
		},
		"leading space": {
			func(r *realm.UserRequest) { r.Username = " joe" }, action, "Validation Failed: 1: User " + nameText + ";",
		},
		"trailing space": {
			func(r *realm.UserRequest) { r.Username = "joe " }, action, "Validation Failed: 1: User " + nameText + ";",
		},
		"control character": {
			func(r *realm.UserRequest) { r.Username = "jo\ne" }, action, "Validation Failed: 1: User " + nameText + ";",
		},
		"beyond ASCII": {
			func(r *realm.UserRequest) { r.Username = "jürgen" }, action, "Validation Failed: 1: User " + nameText + ";",
		},
		"bad role names": {
			func(r *realm.UserRequest) { r.Roles = []fsm.RoleName{"a", "", "b "} },
			action, "Validation Failed: 1: Role " + nameText + ";2: Role " + nameText + ";",
		},
		"disabling oneself": {
			func(r *realm.UserRequest) { r.Enabled = false },
			action, "Validation Failed: 1: native and reserved realm users may not update the enabled status of their own account;",
		},
		"too many roles": {
			func(r *realm.UserRequest) { r.Roles = make([]fsm.RoleName, 257) },
			action, "Validation Failed: 1: [roles] must be no more than [256] values and [16384] bytes;",
		},
		"too much metadata": {
			func(r *realm.UserRequest) { r.Metadata = []byte(`{"a":"` + strings.Repeat("x", 16<<10) + `"}`) },
			action, "Validation Failed: 1: [metadata] must be no more than [16384] bytes;",
		},
		"metadata that is no object": {
			func(r *realm.UserRequest) { r.Metadata = []byte(`null`) },
			action, "Validation Failed: 1: [metadata] must be a JSON object;",
		},
		"long full name": {
			func(r *realm.UserRequest) { name := strings.Repeat("x", 1025); r.FullName = &name },
			action, "Validation Failed: 1: [full_name] must be no more than [1024] bytes;",
		},
		"e-mail that is not text": {
			func(r *realm.UserRequest) { mail := "\xff"; r.Email = &mail },
			action, "Validation Failed: 1: [email] must be valid UTF-8;",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			r := realm.UserRequest{Username: "joe", Password: secret("joe-password"), Roles: []fsm.RoleName{"a"}, Enabled: true}
			test.change(&r)
			created, err := usersOf(t, s).Put(t.Context(), native, guard, r)
			check(t, err, test.wantType, test.want)
			if created || len(s.users) != 0 {
				t.Error("something was stored")
			}
		})
	}
}

func TestPutUserCreatesThenReplaces(t *testing.T) {
	s := newState()
	users := usersOf(t, s)
	name, mail := "Joe", "joe@example.com"
	created, err := users.Put(t.Context(), admin, guard, realm.UserRequest{
		Username: "joe", Password: secret("joe-password"), Roles: []fsm.RoleName{"foo"}, FullName: &name, Email: &mail,
		Metadata: []byte(" { \"k\" : [ 1 ] } "), Enabled: true,
	})
	if !created || err != nil {
		t.Fatalf("created %v, %v", created, err)
	}
	stored, _ := s.User(fsm.RealmNative, "joe")
	want := fsm.User{
		Username: "joe", Realm: fsm.RealmNative, Verifier: stored.Verifier, Roles: []fsm.RoleName{"foo"}, FullName: &name,
		Email: &mail, Metadata: []byte(`{"k":[1]}`), Enabled: true, Generation: 1,
	}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if match, err := hasherOf(t, "bcrypt4").Matches(t.Context(), stored.Verifier, realm.NewSecret("joe-password")); !match || err != nil {
		t.Errorf("the stored verifier: %v, %v", match, err)
	}
	// Without password the verifier stays; everything else is replaced.
	created, err = users.Put(t.Context(), admin, guard, realm.UserRequest{Username: "joe", Roles: []fsm.RoleName{}, Metadata: []byte(`{}`)})
	if created || err != nil {
		t.Fatalf("created %v, %v", created, err)
	}
	want = fsm.User{Username: "joe", Realm: fsm.RealmNative, Verifier: stored.Verifier, Roles: []fsm.RoleName{}, Generation: 2}
	stored, _ = s.User(fsm.RealmNative, "joe")
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	// A verifier of one user can be given to another.
	hash := realm.NewSecret(stored.Verifier)
	created, err = users.Put(t.Context(), admin, guard, realm.UserRequest{Username: "bob", PasswordHash: &hash, Roles: []fsm.RoleName{}})
	if bob, _ := s.User(fsm.RealmNative, "bob"); !created || err != nil || bob.Verifier != stored.Verifier {
		t.Errorf("created %v, %v, verifier kept: %v", created, err, bob.Verifier == stored.Verifier)
	}
}

// A hostile request must not make a command that cannot be proposed, nor a token
// whose identity cannot.
func TestTheLargestUserFitsACommand(t *testing.T) {
	s := newState()
	fill := func(n int) *string { s := strings.Repeat("é", n/2); return &s }
	r := realm.UserRequest{
		Username: fsm.Username(strings.Repeat("u", 507)), Password: secret(strings.Repeat("x", 72)), FullName: fill(1024), Email: fill(1024),
		Metadata: []byte(`{"a":"` + strings.Repeat("x", 16<<10-8) + `"}`), Enabled: true,
	}
	for range 256 {
		r.Roles = append(r.Roles, fsm.RoleName(strings.Repeat("r", 64)))
	}
	if _, err := usersOf(t, s).Put(t.Context(), admin, guard, r); err != nil {
		t.Fatal(err)
	}
	if n := len(fsm.AppendCommand(nil, s.proposed[0])); n > fsm.MaxCommandBytes*3/4 {
		t.Errorf("the command has %d bytes", n)
	}
}

func TestGetUsers(t *testing.T) {
	s, _, _ := populate(t)
	users := usersOf(t, s)
	var names []string
	for _, user := range users.Get() {
		names = append(names, fmt.Sprintf("%s/%s/%v", user.Realm, user.Username, user.Enabled))
		if user.Verifier != "" {
			t.Errorf("%s comes with its verifier", user.Username)
		}
	}
	want := []string{
		"reserved/elastic/true", "reserved/kibana/true", "reserved/kibana_system/true", "reserved/logstash_system/true",
		"reserved/beats_system/false", "reserved/apm_system/true", "reserved/remote_monitoring_user/true",
		"default_native/bob/true", "default_native/eve/false", "default_native/joe/true", "default_native/kibana/true",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("all users (-want +got):\n%s", diff)
	}
	got := users.Get("nobody", "elastic", "bob")
	wantSome := []fsm.User{
		{
			Username: "elastic", Realm: "reserved", Roles: []fsm.RoleName{"superuser"}, Metadata: []byte(`{"_reserved":true}`),
			Enabled: true, Generation: 3,
		},
		{Username: "bob", Realm: "default_native", Enabled: true, Generation: 8},
	}
	if diff := cmp.Diff(wantSome, got); diff != "" {
		t.Errorf("some users (-want +got):\n%s", diff)
	}
	if got := users.Get("nobody"); len(got) != 0 {
		t.Errorf("nobody is %v", got)
	}
}

func TestDeleteUser(t *testing.T) {
	s, _, _ := populate(t)
	users := usersOf(t, s)
	for _, test := range []struct {
		name           fsm.Username
		found          bool
		wantType, want string
	}{
		{"joe", true, "", ""},
		{"joe", false, "", ""},
		{" not a name", false, "", ""},
		{"elastic", false, "illegal_argument_exception", "user [elastic] is reserved and cannot be deleted"},
	} {
		found, err := users.Delete(t.Context(), guard, test.name)
		check(t, err, test.wantType, test.want)
		if found != test.found {
			t.Errorf("%s: found %v", test.name, found)
		}
	}
}

func TestSetPassword(t *testing.T) {
	const bcrypt4 = "$2a$04$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."
	for name, test := range map[string]struct {
		user           fsm.Username
		password, hash *realm.Secret
		wantType, want string
	}{
		"native":        {user: "joe", password: secret("new-password")},
		"reserved":      {user: "elastic", password: secret("new-password")},
		"never touched": {user: "apm_system", password: secret("new-password")},
		"by hash":       {user: "joe", hash: secret(bcrypt4)},
		"neither": {
			user: "joe", wantType: "action_request_validation_exception", want: "Validation Failed: 1: password is missing;",
		},
		"unknown user": {
			user: "nobody", password: secret("new-password"),
			wantType: "validation_exception", want: "Validation Failed: 1: user must exist in order to change password;",
		},
		"no name": {
			user: "", password: secret("new-password"),
			wantType: "validation_exception", want: "Validation Failed: 1: user must exist in order to change password;",
		},
		"short": {
			user: "joe", password: secret("short"),
			wantType: "validation_exception", want: "Validation Failed: 1: passwords must be at least [6] characters long;",
		},
		"not a hash": {
			user: "joe", hash: secret("new-password"),
			wantType: "illegal_argument_exception",
			want:     "Provided password hash uses [NOOP] but the configured hashing algorithm is [BCRYPT4]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := populate(t)
			err := usersOf(t, s).SetPassword(t.Context(), guard, test.user, test.password, test.hash)
			check(t, err, test.wantType, test.want)
			if err != nil {
				return
			}
			c, ok := s.proposed[0].(fsm.SetPassword)
			if !ok || c.Guard != guard || c.OnlyIfUnset {
				t.Fatalf("proposed %#v", s.proposed[0])
			}
			if test.hash != nil && c.Verifier != test.hash.Expose() {
				t.Error("the hash was not taken as it is")
			}
			if test.password != nil {
				match, err := hasherOf(t, "bcrypt4").Matches(t.Context(), c.Verifier, *test.password)
				if !match || err != nil {
					t.Errorf("the verifier: %v, %v", match, err)
				}
			}
		})
	}
}

func TestSetEnabled(t *testing.T) {
	for name, test := range map[string]struct {
		caller, user   fsm.Username
		enabled        bool
		wantType, want string
	}{
		"disable": {caller: "elastic", user: "joe"},
		"enable":  {caller: "elastic", user: "eve", enabled: true},
		"idle":    {caller: "elastic", user: "joe", enabled: true},
		"elastic": {caller: "joe", user: "elastic"},
		"oneself": {
			caller: "elastic", user: "elastic", wantType: "illegal_argument_exception",
			want: "users may not update the enabled status of their own account",
		},
		"unknown, disable": {
			caller: "elastic", user: "nobody", wantType: "validation_exception",
			want: "Validation Failed: 1: only existing users can be disabled;",
		},
		"unknown, enable": {
			caller: "elastic", user: "", enabled: true, wantType: "validation_exception",
			want: "Validation Failed: 1: only existing users can be enabled;",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := populate(t)
			err := usersOf(t, s).SetEnabled(t.Context(), fsm.Principal{Username: test.caller}, guard, test.user, test.enabled)
			check(t, err, test.wantType, test.want)
			if err != nil {
				return
			}
			want := fsm.SetEnabled{Header: fsm.Header{Guard: guard}, Realm: fsm.RealmNative, Username: test.user, Enabled: test.enabled}
			if test.user == "elastic" {
				want.Realm = fsm.RealmReserved
			}
			if diff := cmp.Diff([]fsm.Command{want}, s.proposed); diff != "" {
				t.Errorf("proposed (-want +got):\n%s", diff)
			}
		})
	}
}
