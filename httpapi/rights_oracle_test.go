package httpapi_test

import (
	"slices"
	"strings"

	"jeton/fsm"
)

// oracle says what rights there are, slowly and without the code that decides it: by
// its own table of privileges, its own record of roles and users, and how each token
// was made.
type oracle struct {
	roles map[fsm.RoleName]fsm.Role
	users map[fsm.Username]*oracleUser
}

type oracleUser struct {
	roles   []fsm.RoleName
	enabled bool
	changes int
}

func newOracle() *oracle {
	return &oracle{roles: map[fsm.RoleName]fsm.Role{}, users: map[fsm.Username]*oracleUser{}}
}

// privilegeTable has the privileges that the chains use.
var privilegeTable = map[string]func(action string) bool{
	"none":         func(string) bool { return false },
	"all":          func(string) bool { return true },
	"monitor":      begins("cluster:monitor/"),
	"manage_token": begins("cluster:admin/xpack/security/token/"),
	"manage":       func(action string) bool { return !begins("cluster:admin/xpack/security/")(action) },
	"read_security": among(
		"api_key/get", "api_key/query", "privilege/builtin/get", "privilege/get", "profile/get", "profile/has_privileges",
		"profile/suggest", "role/get", "role_mapping/get", "service_account/get", "service_account/credential/get",
		"token/get", "user/get", "user/list_privileges", "user/has_privileges"),
	"manage_saml": among("token/refresh", "token/invalidate"),
	"manage_security": func(action string) bool {
		return begins("cluster:admin/xpack/security/")(action) && !among("delegate_pki")(action)
	},
}

// namePatterns has the run_as patterns that the chains use.
var namePatterns = map[string]func(name string) bool{
	"*":         func(string) bool { return true },
	"ann":       func(name string) bool { return name == "ann" },
	"b?b":       func(name string) bool { return name == "bob" },
	"/bob|f.*/": func(name string) bool { return name == "bob" || name == "fay" },
}

func begins(prefixes ...string) func(string) bool {
	return func(action string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(action, prefix) })
	}
}

func among(names ...string) func(string) bool {
	return func(action string) bool {
		name, ok := strings.CutPrefix(action, "cluster:admin/xpack/security/")
		return ok && slices.Contains(names, name)
	}
}

func grants(privileges []string, action string) bool {
	return slices.ContainsFunc(privileges, func(name string) bool { return privilegeTable[name](action) })
}

// origin is what a token was made from.
type origin struct {
	roles  []fsm.RoleName // of a login: as they were then
	parent *origin        // or of another token, or caller
	scope  []string       // asked for; nil: none
	actor  *origin        // of run-as: who acts, whose login or token had these rights
	acts   fsm.Username   // and who that was
	as     fsm.Username   // as whom
	since  int            // changes of that user by then
}

// narrowing is what a scope that was granted takes away: "full" takes nothing.
func narrowing(scope []string) []string {
	if slices.Equal(scope, []string{"full"}) {
		return nil
	}
	return scope
}

func (o *oracle) has(from *origin, action string) bool {
	switch {
	case from.actor != nil && !o.mayAct(from):
		return false
	case from.scope != nil && !grants(from.scope, action):
		return false
	case from.parent != nil:
		return o.has(from.parent, action)
	}
	return slices.ContainsFunc(from.roles, func(name fsm.RoleName) bool {
		role, defined := o.roles[name]
		return name == "superuser" || defined && grants(role.Cluster, action)
	})
}

// lives tells whether nobody on the way to a token acts who may not any more.
func (o *oracle) lives(from *origin) bool {
	for ; from != nil; from = from.parent {
		if from.actor != nil && !o.mayAct(from) {
			return false
		}
	}
	return true
}

// mayAct tells whether who acts still is who it was and may act as the other by the
// definitions of now.
func (o *oracle) mayAct(from *origin) bool {
	user := o.users[from.acts]
	return user != nil && user.enabled && user.changes == from.since && o.mayRun(from.actor, from.as)
}

// mayRun tells whether a caller may act as a user: by the roles of its login, unless
// something on the way narrowed it or it acts for another itself.
func (o *oracle) mayRun(caller *origin, as fsm.Username) bool {
	for ; ; caller = caller.parent {
		if caller.scope != nil || caller.actor != nil {
			return false
		}
		if caller.parent == nil {
			break
		}
	}
	return slices.ContainsFunc(caller.roles, func(name fsm.RoleName) bool {
		role, defined := o.roles[name]
		return name == "superuser" || defined && slices.ContainsFunc(role.RunAs, func(pattern string) bool { return namePatterns[pattern](string(as)) })
	})
}
