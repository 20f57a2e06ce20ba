package realm_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestFileRealmFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	users, roles := filepath.Join(dir, "users"), filepath.Join(dir, "users_roles")
	chain, err := realm.NewChain(realm.ChainConfig{
		View: newState(), Hasher: hasherOf(t, "pbkdf2_1000"), Now: time.Now, UsersFile: users, UsersRolesFile: roles,
	})
	if err != nil {
		t.Fatalf("files that do not exist hold nobody: %v", err)
	}
	rolesOf := func(password string) []fsm.RoleName {
		login, err := chain.Authenticate(t.Context(), "ann", realm.NewSecret(password))
		if err != nil {
			if !errors.Is(err, realm.ErrBadCredentials) {
				t.Fatal(err)
			}
			return nil
		}
		return login.Identity.Roles
	}
	first, second := verifierOf(t, "password-1"), verifierOf(t, "password-2")
	for _, step := range []struct {
		what, users, roles string
		changed            bool
		fails              bool
		one, two           []fsm.RoleName // roles after a login with either password; nil: refused
	}{
		{"nothing yet", "", "", false, false, nil, nil},
		{"a user appears", "ann:" + first, "", true, false, []fsm.RoleName{}, nil},
		{"roles appear", "ann:" + first, "b:joe,ann\na:ann", true, false, []fsm.RoleName{"b", "a"}, nil},
		{"nothing changes", "ann:" + first, "b:joe,ann\na:ann", false, false, []fsm.RoleName{"b", "a"}, nil},
		{"the password changes", "ann:" + second, "b:joe,ann\na:ann", true, false, nil, []fsm.RoleName{"b", "a"}},
		{"a bad users file is not taken", "ann:changeme", "a:ann", false, true, nil, []fsm.RoleName{"b", "a"}},
		{"nor a bad roles file", "ann:" + first, "a", false, true, nil, []fsm.RoleName{"b", "a"}},
		{"repaired", "ann:" + first, "a:ann", true, false, []fsm.RoleName{"a"}, nil},
		{"emptied", "", "", true, false, nil, nil},
	} {
		write(t, users, step.users)
		write(t, roles, step.roles)
		if changed, err := chain.Reload(); changed != step.changed || (err != nil) != step.fails {
			t.Errorf("%s: changed %v, %v", step.what, changed, err)
		}
		if diff := cmp.Diff(step.one, rolesOf("password-1")); diff != "" {
			t.Errorf("%s, first password (-want +got):\n%s", step.what, diff)
		}
		if diff := cmp.Diff(step.two, rolesOf("password-2")); diff != "" {
			t.Errorf("%s, second password (-want +got):\n%s", step.what, diff)
		}
	}
	write(t, users, "ann:"+first)
	if _, err := chain.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(users); err != nil {
		t.Fatal(err)
	}
	if changed, err := chain.Reload(); !changed || err != nil || rolesOf("password-1") != nil {
		t.Errorf("a removed file: %v, %v", changed, err)
	}
}

func TestFileRealmReportsAllBadLinesAndNoHash(t *testing.T) {
	good := verifierOf(t, "changeme")
	const canary = "canary"
	users := strings.Join([]string{
		"ann:" + good,
		"# comment: ignored",
		"",
		"no separator " + canary,
		":" + good,
		"joe:",
		"joe:{MD5}" + canary,
		" bob:" + good, // space around a line is no part of it
		"bob :" + good, // within it, it is
		"elastic:" + good,
		"jürgen:" + good,
	}, "\n")
	roles := strings.Join([]string{"a:ann", "b:", " :ann", "rôle:ann", "x:" + strings.Repeat("ann,", 256) + "ann"}, "\n")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "users"), users)
	write(t, filepath.Join(dir, "users_roles"), roles)
	_, err := realm.NewChain(realm.ChainConfig{
		View: newState(), Hasher: hasherOf(t, "pbkdf2_1000"), Now: time.Now,
		UsersFile: filepath.Join(dir, "users"), UsersRolesFile: filepath.Join(dir, "users_roles"),
	})
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for line := range strings.Lines(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")) {
		place, _, _ := strings.Cut(strings.TrimPrefix(line, "file realm: "), ": ")
		got = append(got, place)
	}
	want := []string{
		"users:4", "users:5", "users:6", "users:7", "users:9", "users:10", "users:11",
		"users_roles:2", "users_roles:3", "users_roles:4", "users_roles:5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
	if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), good) {
		t.Errorf("the error shows a line: %v", err)
	}
}
