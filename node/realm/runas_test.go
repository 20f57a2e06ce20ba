package realm_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestNamePatterns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"joe", []string{"joe"}, []string{"jo", "joes", "JOE", ""}},
		{"*", []string{"joe", "", "a\nb"}, nil},
		{"", []string{""}, []string{"a"}},
		{"j*", []string{"j", "joe"}, []string{"aj", ""}},
		{"*-svc-?", []string{"a-svc-1", "-svc-é"}, []string{"a-svc-", "a-svc-12"}},
		{`a\*`, []string{"a*"}, []string{"ab", `a\*`}},
		{`a\`, []string{`a\`}, []string{"a"}},
		{"a.b", []string{"a.b"}, []string{"axb"}},
		{"a.*", []string{"a.b", "a."}, []string{"axb"}},
		{"a|b", []string{"a|b"}, []string{"a", "b"}},
		{"(*", []string{"(x"}, []string{"x"}},
		{"/jo?e|ann/", []string{"joe", "je", "ann"}, []string{"joes", "xann", "/jo?e|ann/"}},
		{"/[a-c]{2}[^0-9]*/", []string{"ab", "cax"}, []string{"a", "ab1", "abcd1"}},
		{`/a\.b\/c\b/`, []string{"a.b/cb"}, []string{"axb/cb"}},
		{`/[a\-z]/`, []string{"a", "-", "z"}, []string{"m"}},
		{"/^a$/", []string{"^a$"}, []string{"a"}},
		{"/.*/", []string{"joe", "", "a\nb"}, nil},
		// What is not understood matches nobody.
		{"/", nil, []string{"", "/", "joe"}},
		{"/joe", nil, []string{"joe", "/joe"}},
		{"/jo(e/", nil, []string{"joe", "jo(e"}},
		{"/joe)|(.*/", nil, []string{"joe", "ann", ""}},
		{"/(?i)joe/", nil, []string{"joe", "JOE"}},
		{"/~(joe)/", nil, []string{"ann", "joe"}},
		{"/a&b/", nil, []string{"a", "b", "a&b"}},
		{"/<1-10>/", nil, []string{"5", "<1-10>"}},
		{`/\d/`, nil, []string{"5", "d"}},
		{`/a\/`, nil, []string{"a", "a/"}},
		{"/[[:alpha:]]/", nil, []string{"a", ":]"}},
		{"/[]a]/", nil, []string{"a", "]"}},
		{"/[a/", nil, []string{"a", "[a"}},
	} {
		for _, name := range test.yes {
			if !realm.MatchesName(test.pattern, name) {
				t.Errorf("%q does not match %q", test.pattern, name)
			}
		}
		for _, name := range test.no {
			if realm.MatchesName(test.pattern, name) {
				t.Errorf("%q matches %q", test.pattern, name)
			}
		}
	}
}

// proxy is populate's world with a role proxy and its user, native.
func proxy(t *testing.T, runAs ...string) (*state, *realm.Chain, *fsm.Identity) {
	t.Helper()
	s, users, roles := populate(t)
	s.roles["proxy"] = fsm.Role{Name: "proxy", RunAs: runAs}
	s.users[key(fsm.RealmNative, "proxy")] = fsm.User{
		Username: "proxy", Realm: fsm.RealmNative, Roles: []fsm.RoleName{"nowhere", "proxy"}, Enabled: true, Generation: 20,
	}
	return s, chainOf(t, s, time.Now, users, roles), &fsm.Identity{
		Principal: fsm.Principal{Username: "proxy", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
		Roles:     []fsm.RoleName{"nowhere", "proxy"},
	}
}

func TestRunAsFindsUsersOfAllRealms(t *testing.T) {
	t.Parallel()
	_, chain, caller := proxy(t, "*")
	actor := &fsm.Actor{Principal: caller.Principal, Roles: caller.Roles, Generation: 20}
	name, mail := "Joe", "joe@example.com"
	for username, want := range map[fsm.Username]realm.Login{
		"joe": {Generation: 7, Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
			Roles:     []fsm.RoleName{"a", "b"}, FullName: &name, Email: &mail, Metadata: []byte(`{"k":1}`), RunBy: actor,
		}},
		"ann": {Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "ann", Realm: fsm.Realm{Name: "default_file", Type: "file"}},
			Roles:     []fsm.RoleName{"x", "y"}, RunBy: actor,
		}},
		// The first realm that knows the name, whoever could log in by it.
		"bob": {Generation: 8, Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "bob", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}, RunBy: actor,
		}},
		"elastic": {Generation: 3, Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "elastic", Realm: fsm.Realm{Name: "reserved", Type: "reserved"}},
			Roles:     []fsm.RoleName{"superuser"}, Metadata: []byte(`{"_reserved":true}`), RunBy: actor,
		}},
		// Never touched: enabled, without a record.
		"apm_system": {Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: "apm_system", Realm: fsm.Realm{Name: "reserved", Type: "reserved"}},
			Roles:     []fsm.RoleName{"apm_system"}, Metadata: []byte(`{"_reserved":true}`), RunBy: actor,
		}},
	} {
		got, err := chain.RunAs(caller, username)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", username, err, diff)
		}
	}
	for _, username := range []fsm.Username{"nobody", "", "eve", "beats_system", "*"} {
		if got, err := chain.RunAs(caller, username); !errors.Is(err, realm.ErrRunAs) || got.Identity != nil {
			t.Errorf("%s: %v, %v", username, got, err)
		}
	}
}

// The identities that are shared must not learn of each other's actors.
func TestRunAsLeavesTheUserAlone(t *testing.T) {
	t.Parallel()
	_, chain, caller := proxy(t, "*")
	for _, username := range []string{"ann", "elastic"} {
		if _, err := chain.RunAs(caller, fsm.Username(username)); err != nil {
			t.Fatal(err)
		}
	}
	login, err := chain.Authenticate(t.Context(), "ann", realm.NewSecret("ann-password"))
	if err != nil || login.Identity.RunBy != nil {
		t.Errorf("ann herself: %v, %v", login.Identity, err)
	}
}

func TestRunAsIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		patterns []string
		change   func(*state, *fsm.Identity)
		want     bool
	}{
		"allowed":         {[]string{"ann", "j?e"}, func(*state, *fsm.Identity) {}, true},
		"another":         {[]string{"ann"}, func(*state, *fsm.Identity) {}, false},
		"no pattern":      {nil, func(*state, *fsm.Identity) {}, false},
		"roles laid down": {[]string{"*"}, func(_ *state, i *fsm.Identity) { i.Roles = nil }, false},
		"role deleted":    {[]string{"*"}, func(s *state, _ *fsm.Identity) { delete(s.roles, "proxy") }, false},
		"narrowed":        {[]string{"*"}, func(_ *state, i *fsm.Identity) { i.Scope = []string{"all"} }, false},
		"acting for another": {[]string{"*"}, func(_ *state, i *fsm.Identity) {
			i.RunBy = &fsm.Actor{Principal: i.Principal, Roles: i.Roles, Generation: 20}
		}, false},
		"caller deleted":        {[]string{"*"}, func(s *state, _ *fsm.Identity) { delete(s.users, key(fsm.RealmNative, "proxy")) }, false},
		"caller of no realm":    {[]string{"*"}, func(_ *state, i *fsm.Identity) { i.Realm.Name = "ldap1" }, false},
		"superuser as superior": {nil, func(_ *state, i *fsm.Identity) { i.Roles = []fsm.RoleName{"superuser"} }, true},
	} {
		s, chain, caller := proxy(t, test.patterns...)
		test.change(s, caller)
		if _, err := chain.RunAs(caller, "joe"); errors.Is(err, realm.ErrRunAs) == test.want || err == nil != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What was allowed once is so as long as who acts is unchanged and its roles say so.
func TestMayRun(t *testing.T) {
	t.Parallel()
	self := key(fsm.RealmNative, "proxy")
	edit := func(f func(*fsm.User)) func(*state) {
		return func(s *state) {
			u := s.users[self]
			f(&u)
			s.users[self] = u
		}
	}
	for name, test := range map[string]struct {
		change func(*state)
		want   bool
	}{
		"nothing":         {func(*state) {}, true},
		"changed":         {edit(func(u *fsm.User) { u.Generation++ }), false},
		"disabled":        {edit(func(u *fsm.User) { u.Enabled = false }), false},
		"deleted":         {func(s *state) { delete(s.users, self) }, false},
		"role deleted":    {func(s *state) { delete(s.roles, "proxy") }, false},
		"role narrowed":   {func(s *state) { s.roles["proxy"] = fsm.Role{Name: "proxy", RunAs: []string{"ann"}} }, false},
		"role widened":    {func(s *state) { s.roles["proxy"] = fsm.Role{Name: "proxy", RunAs: []string{"ann", "/j.*/"}} }, true},
		"another's roles": {func(s *state) { s.roles["nowhere"] = fsm.Role{Name: "nowhere", RunAs: []string{"joe"}} }, true},
	} {
		s, chain, caller := proxy(t, "joe")
		login, err := chain.RunAs(caller, "joe")
		if err != nil {
			t.Fatal(err)
		}
		test.change(s)
		if got := chain.MayRun(login.Identity); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A user of the file realm has no generation: its roles stand for it.
func TestMayRunOfFileUser(t *testing.T) {
	t.Parallel()
	s, chain, _ := proxy(t)
	s.roles["x"] = fsm.Role{Name: "x", RunAs: []string{"joe"}}
	ann := &fsm.Identity{
		Principal: fsm.Principal{Username: "ann", Realm: fsm.Realm{Name: "default_file", Type: "file"}}, Roles: []fsm.RoleName{"x", "y"},
	}
	if _, err := chain.RunAs(ann, "joe"); err != nil {
		t.Fatal(err)
	}
	for name, actor := range map[string]fsm.Actor{
		"other roles": {Principal: ann.Principal, Roles: []fsm.RoleName{"x"}},
		"gone":        {Principal: fsm.Principal{Username: "amy", Realm: ann.Realm}, Roles: ann.Roles},
		"other realm": {Principal: fsm.Principal{Username: "ann", Realm: fsm.Realm{Name: "file2", Type: "file"}}, Roles: ann.Roles},
	} {
		if chain.MayRun(&fsm.Identity{Principal: fsm.Principal{Username: "joe"}, RunBy: &actor}) {
			t.Errorf("%s: may run", name)
		}
	}
}
