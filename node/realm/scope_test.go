package realm_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestNarrow(t *testing.T) {
	t.Parallel()
	list := func(names ...string) []string { return names }
	for _, test := range []struct {
		within, asked, want []string
		refused             bool
	}{
		{nil, nil, nil, false},
		{nil, list(), nil, false},
		{nil, list("full"), nil, false},
		{list("monitor"), nil, list("monitor"), false},
		{nil, list("monitor", "Manage_Token", "monitor"), list("manage_token", "monitor"), false},
		{nil, list("none"), list("none"), false},
		{nil, list("full", "monitor"), nil, true},
		{nil, list("openid"), nil, true},
		{nil, list(""), nil, true},
		{nil, list("cluster:monitor/*"), nil, true}, // a role may name patterns, a scope may not
		{list("monitor"), list("full"), nil, true},
		{list("monitor"), list("monitor"), list("monitor"), false},
		{list("monitor", "read_security"), list("read_security"), list("read_security"), false},
		{list("monitor"), list("manage_token"), nil, true},
		{list("all"), list("manage_token", "monitor_ml", "delegate_pki"), list("delegate_pki", "manage_token", "monitor_ml"), false},
		{list("manage"), list("monitor"), list("monitor"), false},
		{list("manage"), list("manage_security"), nil, true},
		{list("manage"), list("manage_token"), nil, true},
		{list("manage"), list("all"), nil, true},
		{list("manage_security"), list("manage_token"), list("manage_token"), false},
		{list("manage_security"), list("read_security"), list("read_security"), false},
		{list("manage_security"), list("delegate_pki"), nil, true},
		{list("manage_token"), list("manage_security"), nil, true},
		{list("none"), list("monitor_ml"), nil, true}, // grants nothing today; who knows tomorrow
		{list("gone"), list("monitor"), nil, true},
	} {
		got, err := realm.Narrow(test.within, test.asked)
		if diff := cmp.Diff(test.want, got); diff != "" || errors.Is(err, realm.ErrScope) != test.refused || !test.refused && err != nil {
			t.Errorf("%v within %v: %v (-want +got):\n%s", test.asked, test.within, err, diff)
		}
	}
}

var nativeJoe = fsm.Principal{Username: "joe", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}

func TestScopeNarrowsWhatRolesAllow(t *testing.T) {
	t.Parallel()
	s := newState()
	s.roles["own"] = fsm.Role{Name: "own", Cluster: []string{"manage_token"}}
	roles := realm.NewRoles(s, s)
	const create, monitor = "cluster:admin/xpack/security/token/create", "cluster:monitor/main"
	for _, test := range []struct {
		roles    []fsm.RoleName
		scope    []string
		allowed  []string
		ownToken bool
	}{
		{[]fsm.RoleName{"superuser"}, nil, []string{create, monitor}, true},
		{[]fsm.RoleName{"superuser"}, []string{"monitor"}, []string{monitor}, false},
		{[]fsm.RoleName{"superuser"}, []string{"manage_token", "monitor"}, []string{create, monitor}, true},
		{[]fsm.RoleName{"superuser"}, []string{"none"}, nil, false},
		{[]fsm.RoleName{"superuser"}, []string{"no longer a privilege"}, nil, false},
		{[]fsm.RoleName{"superuser"}, []string{}, nil, false},
		{[]fsm.RoleName{"own"}, []string{"all"}, []string{create}, true},
		{[]fsm.RoleName{"own"}, []string{"monitor"}, nil, false},
		{nil, nil, nil, true},
	} {
		user := &fsm.Identity{Principal: nativeJoe, Roles: test.roles, Scope: test.scope}
		for _, action := range []string{create, monitor} {
			_, err := roles.Authorize(user, action)
			if want := slices.Contains(test.allowed, action); want != (err == nil) {
				t.Errorf("%v within %v: %s: %v", test.roles, test.scope, action, err)
			}
		}
		if err := roles.AuthorizeOwn(user, create); test.ownToken != (err == nil) {
			t.Errorf("%v within %v: one's own: %v", test.roles, test.scope, err)
		}
	}
}

func TestForbiddenNamesScopeAndActor(t *testing.T) {
	t.Parallel()
	s := newState()
	_, err := realm.NewRoles(s, s).Authorize(&fsm.Identity{
		Principal: nativeJoe, Roles: []fsm.RoleName{"superuser"}, Scope: []string{"monitor", "none"},
		RunBy: &fsm.Actor{Principal: admin},
	}, "cluster:admin/xpack/security/user/put")
	want := "action [cluster:admin/xpack/security/user/put] is unauthorized for user [" + string(admin.Username) + "] run as [joe] " +
		"with effective roles [superuser] and the scope [monitor,none], this action is granted by the cluster privileges [manage_security,all]"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
