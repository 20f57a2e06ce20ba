package realm_test

import (
	"testing"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestHasPrivilege(t *testing.T) {
	s := newState()
	for name, privileges := range map[fsm.RoleName][]string{
		"tokens":   {"manage_token"},
		"security": {"MANAGE_SECURITY"},
		"manage":   {"manage"},
		"read":     {"monitor", "read_security"},
		"templates": {
			"indices:admin/template/*", "indices:admin/index_template/", "cluster:admin/component_template/*",
		},
		"one":      {"cluster:admin/xpack/security/token/create"},
		"question": {"cluster:admin/xpack/security/token/?"},
		"ml":       {"manage_ml"},
		"broken":   {"no_such_privilege"},
	} {
		s.roles[name] = fsm.Role{Name: name, Cluster: privileges}
	}
	roles := realm.NewRoles(s, s)
	for _, test := range []struct {
		role      fsm.RoleName
		scope     []string
		privilege string
		want      bool
	}{
		{role: "superuser", privilege: "all", want: true},
		{role: "superuser", privilege: "manage_ml", want: true},
		{role: "superuser", privilege: "Manage_Security", want: true},
		{role: "tokens", privilege: "manage_token", want: true},
		{role: "tokens", privilege: "manage_security"},
		{role: "tokens", privilege: "all"},
		{role: "tokens", privilege: "monitor"},
		{role: "security", privilege: "manage_token", want: true},
		{role: "security", privilege: "read_security", want: true},
		{role: "security", privilege: "delegate_pki"}, // the one action it lacks
		{role: "security", privilege: "all"},
		{role: "manage", privilege: "monitor", want: true},
		{role: "manage", privilege: "manage_token"}, // all but security
		{role: "manage", privilege: "manage_security"},
		{role: "manage", privilege: "all"},
		{role: "read", privilege: "monitor", want: true},
		{role: "read", privilege: "manage"},
		{role: "templates", privilege: "manage_index_templates", want: true}, // several together
		{role: "one", privilege: "manage_token"},
		{role: "question", privilege: "manage_token"}, // not token/
		{role: "ml", privilege: "manage_ml", want: true},
		{role: "ml", privilege: "manage_slm"}, // grants nothing here; nor does manage_ml
		{role: "broken", privilege: "monitor"},
		{role: "absent", privilege: "monitor"},
		{role: "superuser", scope: []string{"monitor"}, privilege: "monitor", want: true},
		{role: "superuser", scope: []string{"manage_token", "monitor"}, privilege: "manage_security"},
		{role: "superuser", scope: []string{"manage_token"}, privilege: "all"},
		{role: "tokens", scope: []string{"all"}, privilege: "monitor"},
		{role: "tokens", scope: []string{"all"}, privilege: "manage_token", want: true},
	} {
		user := &fsm.Identity{Roles: []fsm.RoleName{test.role}, Scope: test.scope}
		if has, known := roles.HasPrivilege(user, test.privilege); has != test.want || !known {
			t.Errorf("%s %v has %s: %v, known: %v", test.role, test.scope, test.privilege, has, known)
		}
	}
	for _, name := range []string{"", "mointor", "cluster:monitor/main", "*"} {
		user := &fsm.Identity{Roles: []fsm.RoleName{"superuser"}}
		if has, known := roles.HasPrivilege(user, name); has || known {
			t.Errorf("%q is a privilege", name)
		}
	}
}
