package realm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
)

const (
	actionCreate     = "cluster:admin/xpack/security/token/create"
	actionRefresh    = "cluster:admin/xpack/security/token/refresh"
	actionInvalidate = "cluster:admin/xpack/security/token/invalidate"
	actionPutUser    = "cluster:admin/xpack/security/user/put"
	actionGetUser    = "cluster:admin/xpack/security/user/get"
	actionGetRole    = "cluster:admin/xpack/security/role/get"
	actionMain       = "cluster:monitor/main"
	actionHealth     = "cluster:monitor/health"
)

func TestWhichPrivilegesAllowAnAction(t *testing.T) {
	for action, want := range map[string][]string{
		actionCreate:                             {"manage_token", "manage_security", "all"},
		actionRefresh:                            {"manage_saml", "manage_token", "manage_security", "all"},
		actionInvalidate:                         {"delegate_pki", "manage_saml", "manage_token", "manage_security", "all"},
		actionPutUser:                            {"manage_security", "all"},
		actionGetUser:                            {"read_security", "manage_security", "all"},
		actionGetRole:                            {"read_security", "manage_security", "all"},
		actionMain:                               {"monitor", "manage", "all"},
		actionHealth:                             {"monitor", "manage", "all"},
		"cluster:admin/xpack/security/token/get": {"manage_token", "read_security", "manage_security", "all"},
		"cluster:admin/xpack/security/delegate_pki": {"delegate_pki", "all"},
		"cluster:admin/snapshot/create":             {"create_snapshot", "manage", "all"},
		"indices:data/read/search":                  nil,
	} {
		if diff := cmp.Diff(want, realm.PrivilegesFor(action)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, action string
		want            bool
	}{
		{"cluster:*", "cluster:monitor/main", true},
		{"cluster:*", "cluster:", true},
		{"cluster:*", "cluster", false},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxbyycz", false},
		{"a*b*c", "abcbc", true},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?", "a", false},
		{"**a", "xa", true},
		{"a*?", "a", false},
		{strings.Repeat("*a", 200) + "b", strings.Repeat("a", 500), false},
	} {
		if got := realm.MatchesPattern(test.pattern, test.action); got != test.want {
			t.Errorf("%q, %q: %v", test.pattern, test.action, got)
		}
	}
}

func TestAuthorize(t *testing.T) {
	s := newState()
	s.version = 17
	for name, privileges := range map[fsm.RoleName][]string{
		"tokens":  {"manage_token"},
		"upper":   {"MANAGE_TOKEN"},
		"prefix":  {"cluster:admin/xpack/security/token/create"},
		"pattern": {"monitor", "cluster:admin/*/token/inv"},
		"none":    {"none", "manage_ml"},
		"manage":  {"manage"},
	} {
		s.roles[name] = fsm.Role{Name: name, Cluster: privileges}
	}
	roles := realm.NewRoles(s, s)
	for _, test := range []struct {
		roles     []fsm.RoleName
		action    string
		forbidden string
	}{
		{[]fsm.RoleName{"superuser"}, actionCreate, ""},
		{[]fsm.RoleName{"superuser"}, actionPutUser, ""},
		{[]fsm.RoleName{"none", "tokens"}, actionCreate, ""},
		{[]fsm.RoleName{"upper"}, actionRefresh, ""},
		{[]fsm.RoleName{"prefix"}, actionCreate, ""},
		{[]fsm.RoleName{"pattern"}, actionInvalidate, ""},
		{[]fsm.RoleName{"kibana_system"}, actionCreate, ""},
		{[]fsm.RoleName{"logstash_system"}, actionHealth, ""},
		{[]fsm.RoleName{"manage"}, actionMain, ""},
		{
			[]fsm.RoleName{"manage"},
			actionCreate,
			"action [cluster:admin/xpack/security/token/create] is unauthorized for user [joe] with effective roles [manage], " +
				"this action is granted by the cluster privileges [manage_token,manage_security,all]",
		},
		{
			[]fsm.RoleName{"tokens", "unknown", "none", "another"},
			actionPutUser,
			"action [cluster:admin/xpack/security/user/put] is unauthorized for user [joe] with effective roles [none,tokens] " +
				"(assigned roles [another,unknown] were not found), " +
				"this action is granted by the cluster privileges [manage_security,all]",
		},
		{
			nil, actionHealth,
			"action [cluster:monitor/health] is unauthorized for user [joe] with effective roles [], " +
				"this action is granted by the cluster privileges [monitor,manage,all]",
		},
		{
			[]fsm.RoleName{"superuser"},
			"indices:data/read/search",
			"action [indices:data/read/search] is unauthorized for user [joe] with effective roles [superuser]",
		},
	} {
		user := &fsm.Identity{Principal: fsm.Principal{Username: "joe"}, Roles: test.roles}
		version, err := roles.Authorize(user, test.action)
		got := ""
		if forbidden, ok := errors.AsType[*realm.ForbiddenError](err); ok {
			got = forbidden.Error()
		} else if err != nil {
			t.Errorf("%v, %s: %v", test.roles, test.action, err)
		}
		if got != test.forbidden {
			t.Errorf("%v, %s\ngot  %s\nwant %s", test.roles, test.action, got, test.forbidden)
		}
		wantVersion := uint64(17)
		if test.forbidden == "" && realm.IsBuiltin(test.roles[0]) {
			wantVersion = 0 // no change of roles can take this away
		}
		if version != wantVersion {
			t.Errorf("%v, %s: rests on version %d, want %d", test.roles, test.action, version, wantVersion)
		}
	}
}

// changing is a view whose roles change the moment they are looked at.
type changing struct{ *state }

func (c changing) Role(name fsm.RoleName) (fsm.Role, bool) {
	role, ok := c.state.Role(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	return role, ok
}

func TestAuthorizeRestsOnTheVersionBeforeItLooked(t *testing.T) {
	s := newState()
	s.roles["tokens"] = fsm.Role{Name: "tokens", Cluster: []string{"manage_token"}}
	user := &fsm.Identity{Roles: []fsm.RoleName{"tokens"}}
	if version, err := realm.NewRoles(s, changing{s}).Authorize(user, actionCreate); version != 1 || err != nil {
		t.Errorf("version %d, %v: a guard with it would miss the change", version, err)
	}
}

func TestPutRole(t *testing.T) {
	const action = "action_request_validation_exception"
	for name, test := range map[string]struct {
		role           fsm.Role
		wantType, want string // want is a beginning and an end, with … between
	}{
		"with everything": {role: fsm.Role{
			Name: "r", Cluster: []string{"manage_token", "Monitor", "manage_ilm", "cluster:monitor/*"}, RunAs: []string{"joe"},
			Rest: []byte(`{ "indices" : [], "metadata": {"version" : 1}}`),
		}},
		"empty": {role: fsm.Role{Name: "r"}},
		"reserved": {
			fsm.Role{Name: "superuser"}, action, "Validation Failed: 1: Role [superuser] is reserved and may not be used.;",
		},
		"unknown privilege": {
			fsm.Role{Name: "r", Cluster: []string{"all", "Manage_Tokens"}},
			action,
			"Validation Failed: 1: unknown cluster privilege [manage_tokens]. a privilege must be either one of the predefined " +
				"cluster privilege names [manage_own_api_key,none,…,monitor,manage,all] or a pattern over one of the available cluster actions;",
		},
		"an index action is no cluster privilege": {
			fsm.Role{Name: "r", Cluster: []string{"indices:data/read/*"}},
			action,
			"Validation Failed: 1: unknown cluster privilege [indices:data/read/*].… cluster actions;",
		},
		"bad name": {fsm.Role{Name: "r\x00"}, action, "Validation Failed: 1: Role names must be at least 1 … not allowed.;"},
		"reserved metadata": {
			fsm.Role{Name: "r", Rest: []byte(`{"metadata":{"_reserved":true}}`)},
			action,
			"Validation Failed: 1: role descriptor metadata keys may not start with [_];",
		},
		"metadata no object": {
			fsm.Role{Name: "r", Rest: []byte(`{"metadata":7}`)}, action, "Validation Failed: 1: [metadata] must be a JSON object;",
		},
		"rest no object": {
			fsm.Role{Name: "r", Rest: []byte(`[]`)}, action, "Validation Failed: 1: [role] must be a JSON object;",
		},
		"too many privileges": {
			fsm.Role{Name: "r", Cluster: make([]string, 257)},
			action,
			"Validation Failed: 1: [cluster] must be no more than [256] values and [16384] bytes;",
		},
		"too much to run as": {
			fsm.Role{Name: "r", RunAs: []string{strings.Repeat("x", 16385)}},
			action,
			"Validation Failed: 1: [run_as] must be no more than [256] values and [16384] bytes;",
		},
		"not text": {
			fsm.Role{Name: "r", RunAs: []string{"\xff"}},
			action,
			"Validation Failed: 1: [cluster] and [run_as] values must be no more than [507] bytes of UTF-8;",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			created, err := realm.NewRoles(s, s).Put(t.Context(), guard, test.role)
			begin, end, cut := strings.Cut(test.want, "…")
			if text := errorText(err); cut && strings.HasPrefix(text, begin) && strings.HasSuffix(text, end) {
				test.want = text
			}
			check(t, err, test.wantType, test.want)
			if want := test.want == ""; created != want || (len(s.proposed) == 1) != want {
				t.Errorf("created %v, proposed %v", created, s.proposed)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRolesArePutReadAndDeleted(t *testing.T) {
	s := newState()
	roles := realm.NewRoles(s, s)
	put := func(want bool, role fsm.Role) {
		t.Helper()
		if created, err := roles.Put(t.Context(), guard, role); created != want || err != nil {
			t.Errorf("created %v, %v", created, err)
		}
	}
	put(true, fsm.Role{Name: "r", Cluster: []string{"monitor"}})
	put(false, fsm.Role{Name: "r", Cluster: []string{"Manage_Token"}, Rest: []byte(`{ "indices" : [ ] }`)})
	put(true, fsm.Role{Name: "a"})
	want := []fsm.Role{{Name: "r", Cluster: []string{"Manage_Token"}, Rest: []byte(`{"indices":[]}`)}}
	if diff := cmp.Diff(want, roles.Get("unknown", "r")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var names []fsm.RoleName
	for _, role := range roles.Get() {
		names = append(names, role.Name)
	}
	wantNames := []fsm.RoleName{
		"superuser", "kibana_system", "logstash_system", "beats_system", "apm_system", "remote_monitoring_agent",
		"remote_monitoring_collector", "monitoring_user", "transport_client", "a", "r",
	}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []bool{true, false} {
		if found, err := roles.Delete(t.Context(), guard, "r"); found != want || err != nil {
			t.Errorf("found %v, %v", found, err)
		}
	}
	if found, err := roles.Delete(t.Context(), guard, ""); found || err != nil {
		t.Errorf("no name: found %v, %v", found, err)
	}
	_, err := roles.Delete(t.Context(), guard, "superuser")
	check(t, err, "illegal_argument_exception", "role [superuser] is reserved and cannot be deleted")
}

func TestBuiltinRolesCanBePut(t *testing.T) {
	s := newState()
	roles := realm.NewRoles(s, s)
	for _, role := range roles.Get() {
		role.Name += "_copy"
		role.Rest = nil // their metadata is reserved
		if _, err := roles.Put(t.Context(), guard, role); err != nil {
			t.Errorf("%s names a privilege that does not exist: %v", role.Name, err)
		}
	}
}

func TestTheLargestRoleFitsACommand(t *testing.T) {
	s := newState()
	role := fsm.Role{
		Name: fsm.RoleName(strings.Repeat("r", 507)),
		Rest: []byte(`{"a":"` + strings.Repeat("x", 16<<10-8) + `"}`),
	}
	for range 256 {
		role.Cluster = append(role.Cluster, "cluster:"+strings.Repeat("c", 56))
		role.RunAs = append(role.RunAs, strings.Repeat("u", 64))
	}
	if _, err := realm.NewRoles(s, s).Put(t.Context(), guard, role); err != nil {
		t.Fatal(err)
	}
	if n := len(fsm.AppendCommand(nil, s.proposed[0])); n > fsm.MaxCommandBytes-1024 {
		t.Errorf("the command has %d bytes", n)
	}
}
