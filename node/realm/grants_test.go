package realm_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"jeton/fsm"
	"jeton/node/realm"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	s := newState()
	s.roles["a"] = fsm.Role{
		Name: "a", Cluster: []string{"Monitor", "manage_token"}, RunAs: []string{"joe", "j*"},
		Rest: []byte(`{"indices":[{"names":["logs-*","x"],"privileges":["read"]},{"names":"y","privileges":["write","indices:monitor/stats"],` +
			`"allow_restricted_indices":true,"field_security":{"grant":["f"]},"query":{"match_all":{}}}],` +
			`"applications":[{"application":"app","privileges":["read*","data:x"],"resources":["r/*"]}]}`),
	}
	s.roles["b"] = fsm.Role{Name: "b", Cluster: []string{"monitor"}, RunAs: []string{"joe"}, Rest: []byte(`{"indices":"no"}`)}
	got := realm.NewRoles(s, s).Grants(&fsm.Identity{Roles: []fsm.RoleName{"a", "b", "gone"}})
	want := realm.Grants{
		Cluster: []string{"manage_token", "monitor"}, RunAs: []string{"j*", "joe"},
		Indices: []realm.IndexGrant{
			{Names: []string{"logs-*", "x"}, Privileges: []string{"read"}},
			{
				Names: []string{"y"}, Privileges: []string{"write", "indices:monitor/stats"}, Restricted: true,
				FieldSecurity: json.RawMessage(`{"grant":["f"]}`), Query: `{"match_all":{}}`,
			},
		},
		Applications: []realm.ApplicationGrant{{Application: "app", Privileges: []string{"read*", "data:x"}, Resources: []string{"r/*"}}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(realm.Grants{})); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for index, privileges := range map[string]map[string]bool{
		"logs-1":   {"read": true, "READ": true, "indices:data/read/search": true, "write": false, "all": false, "none": true, "nonsense": false},
		"logs-*":   {"read": true},
		"*":        {"read": false},
		"y":        {"index": true, "create": true, "create_doc": true, "delete": true, "indices:monitor/stats[n]": true, "monitor": false},
		".securit": {"read": false},
	} {
		for name, has := range privileges {
			if got.HasIndex(index, name) != has {
				t.Errorf("%s on %s: %t", name, index, !has)
			}
		}
	}
	for _, c := range []struct {
		application, privilege, resource string
		has                              bool
	}{
		{"app", "read", "r/1", true},
		{"app", "data:x", "r/*", true},
		{"app", "write", "r/1", false},
		{"app", "read", "*", false},
		{"other", "read", "r/1", false},
	} {
		if got.HasApplication(c.application, c.privilege, c.resource) != c.has {
			t.Errorf("%+v: %t", c, !c.has)
		}
	}
}

func TestHasCluster(t *testing.T) {
	t.Parallel()
	for roles, privileges := range map[string]map[string]bool{
		"all":                              {"all": true, "manage": true, "manage_security": true, "delegate_pki": true, "manage_esql": true, "nonsense": false},
		"manage":                           {"monitor": true, "manage_ml": true, "manage_token": false, "all": false, "manage_security": false, "none": true},
		"monitor":                          {"monitor": true, "monitor_ml": true, "manage_ml": false, "cluster:monitor/health": true, "cluster:admin/x": false},
		"manage_security":                  {"manage_token": true, "manage_own_api_key": true, "read_security": true, "delegate_pki": false, "manage_esql": false},
		"manage_token":                     {"manage_token": true, "cluster:admin/xpack/security/token/create": true, "manage_saml": false},
		"cluster:admin/xpack/security/":    {"manage_token": true, "manage_security": true, "all": false},
		"manage,manage_security":           {"monitor": true, "manage_token": true, "all": false},
		"manage_token,manage_user_profile": {"manage_saml": false, "manage_user_profile": true},
		"":                                 {"monitor": false, "none": true},
	} {
		s := newState()
		s.roles["r"] = fsm.Role{Name: "r", Cluster: strings.Split(roles, ",")}
		grants := realm.NewRoles(s, s).Grants(&fsm.Identity{Roles: []fsm.RoleName{"r"}})
		for name, has := range privileges {
			if grants.HasCluster(name) != has {
				t.Errorf("[%s] has %s: %t", roles, name, !has)
			}
		}
	}
}

func TestGrantsOfNarrowedTokens(t *testing.T) {
	t.Parallel()
	s := newState()
	roles := realm.NewRoles(s, s)
	user := &fsm.Identity{Roles: []fsm.RoleName{"superuser"}, Scope: []string{"manage_token", "monitor"}}
	grants := roles.Grants(user)
	if want := []string{"manage_token", "monitor"}; !slices.Equal(grants.Cluster, want) || grants.Indices != nil || grants.Applications != nil || grants.RunAs != nil {
		t.Errorf("%+v, want %v alone", grants, want)
	}
	for name, has := range map[string]bool{"manage_token": true, "monitor": true, "monitor_ml": true, "all": false, "manage_security": false} {
		if grants.HasCluster(name) != has {
			t.Errorf("narrowed superuser has %s: %t", name, !has)
		}
	}
	if grants.HasIndex("x", "read") || grants.HasApplication("a", "p", "r") {
		t.Error("a scope grants no index and no application")
	}
	s.roles["r"] = fsm.Role{Name: "r", Cluster: []string{"monitor"}}
	user = &fsm.Identity{Roles: []fsm.RoleName{"r"}, Scope: []string{"manage_token", "manage"}}
	if grants := roles.Grants(user); !slices.Equal(grants.Cluster, []string{"monitor"}) || grants.HasCluster("manage_token") {
		t.Errorf("a scope grants what the roles do not: %v", grants.Cluster)
	}
}

func TestSuperuserHasEverything(t *testing.T) {
	t.Parallel()
	s := newState()
	grants := realm.NewRoles(s, s).Grants(&fsm.Identity{Roles: []fsm.RoleName{"superuser"}})
	cluster, index := realm.BuiltinPrivileges()
	for _, name := range cluster {
		if !grants.HasCluster(name) {
			t.Errorf("not %s", name)
		}
	}
	for _, name := range index {
		if !grants.HasIndex("logs", name) {
			t.Errorf("not %s", name)
		}
	}
	if !grants.HasIndex(".security-7", "read") || grants.HasIndex(".security-7", "write") {
		t.Error("of Elasticsearch's own indices a superuser reads and does not write")
	}
	if !grants.HasApplication("kibana-.kibana", "space_all", "*") {
		t.Error("not an application's")
	}
}

func TestCheckPrivileges(t *testing.T) {
	t.Parallel()
	if err := realm.CheckPrivileges([]string{"monitor", "cluster:admin/x"}, []string{"read", "indices:data/read/*"}); err != nil {
		t.Error(err)
	}
	for want, names := range map[string][2][]string{
		"unknown cluster privilege [x]. a privilege must be":                           {{"x"}, nil},
		"unknown cluster privilege [" + strings.Repeat("x", 512) + "...]. a privilege": {{strings.Repeat("x", 60_000)}, nil},
		"unknown index privilege [y]. a privilege must be":                             {nil, {"y"}},
	} {
		err := realm.CheckPrivileges(names[0], names[1])
		if _, ok := errors.AsType[*realm.ArgumentError](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPutRoleChecksWhatItGrants(t *testing.T) {
	t.Parallel()
	s := newState()
	roles := realm.NewRoles(s, s)
	for rest, want := range map[string]string{
		`{"indices":{}}`:                                 "failed to parse indices privileges for role [r]",
		`{"indices":[1]}`:                                "failed to parse indices privileges for role [r]",
		`{"indices":[{"names":[1]}]}`:                    "failed to parse indices privileges for role [r]",
		`{"indices":[{"names":[]}]}`:                     "failed to parse indices privileges for role [r]. missing required [names] field",
		`{"indices":[{"names":["a"]}]}`:                  "failed to parse indices privileges for role [r]. missing required [privileges] field",
		`{"applications":7}`:                             "failed to parse application privileges for role [r]",
		`{"applications":[{}]}`:                          "application privileges must have an application, and at least one privilege and one resource",
		`{"indices":[{"names":"a","privileges":["x"]}]}`: "unknown index privilege [x]. a privilege must be either one of the predefined fixed indices privileges",
	} {
		_, err := roles.Put(t.Context(), fsm.Guard{}, fsm.Role{Name: "r", Rest: []byte(rest)})
		if err == nil || !strings.HasPrefix(err.Error(), "Validation Failed: 1: "+want) {
			t.Errorf("%s: %v, want %s", rest, err, want)
		}
	}
	good := `{"indices":[{"names":"a","privileges":["read","indices:data/write/x"]}],"applications":[{"application":"a","privileges":["p"],"resources":["*"]}]}`
	if _, err := roles.Put(t.Context(), fsm.Guard{}, fsm.Role{Name: "r", Rest: []byte(good)}); err != nil {
		t.Error(err)
	}
}
