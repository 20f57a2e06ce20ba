package realm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"jeton/fsm"
)

// builtinRoles are those of Elasticsearch's reserved roles that matter here. They
// cannot be changed.
var builtinRoles = [...]fsm.Role{
	{
		Name:    "superuser",
		Cluster: []string{"all"},
		RunAs:   []string{"*"},
		Rest: []byte(`{"indices":[{"names":["*"],"privileges":["all"],"allow_restricted_indices":false},` +
			`{"names":["*"],"privileges":["monitor","read","view_index_metadata","read_cross_cluster"],"allow_restricted_indices":true}],` +
			`"applications":[{"application":"*","privileges":["*"],"resources":["*"]}],"metadata":{"_reserved":true},` +
			`"remote_indices":[{"names":["*"],"privileges":["all"],"allow_restricted_indices":false,"clusters":["*"]},` +
			`{"names":["*"],"privileges":["monitor","read","view_index_metadata","read_cross_cluster"],"allow_restricted_indices":true,"clusters":["*"]}],` +
			`"remote_cluster":[{"privileges":["monitor_enrich","monitor_stats"],"clusters":["*"]}],` +
			`"description":"Grants full access to cluster management and data indices."}`),
	},
	builtinRole("kibana_system",
		"monitor", "manage_index_templates", "manage_inference", "cluster:admin/xpack/monitoring/bulk", "manage_saml", "manage_token",
		"manage_oidc", "manage_enrich", "manage_pipeline", "manage_ilm", "monitor_connector", "manage_transform",
		"cluster:admin/xpack/security/api_key/invalidate", "grant_api_key", "manage_own_api_key",
		"cluster:admin/xpack/security/privilege/builtin/get", "delegate_pki", "cluster:admin/xpack/security/profile/get",
		"cluster:admin/xpack/security/profile/activate", "cluster:admin/xpack/security/profile/suggest",
		"cluster:admin/xpack/security/profile/has_privileges", "write_fleet_secrets", "manage_ml", "cluster:admin/analyze",
		"cluster:admin/script/put", "cluster:admin/script/get", "monitor_text_structure", "cancel_task"),
	builtinRole("logstash_system", "monitor", "cluster:admin/xpack/monitoring/bulk"),
	builtinRole("beats_system", "monitor", "cluster:admin/xpack/monitoring/bulk"),
	builtinRole("apm_system", "monitor", "cluster:admin/xpack/monitoring/bulk"),
	builtinRole("remote_monitoring_agent",
		"manage_index_templates", "manage_ingest_pipelines", "monitor", "cluster:monitor/xpack/watcher/watch/get",
		"cluster:admin/xpack/watcher/watch/put", "cluster:admin/xpack/watcher/watch/delete"),
	builtinRole("remote_monitoring_collector", "monitor"),
	builtinRole("monitoring_user", "cluster:monitor/main", "cluster:monitor/xpack/info", "cluster:monitor/remote/info"),
	builtinRole("transport_client", "transport_client"),
}

func builtinRole(name fsm.RoleName, cluster ...string) fsm.Role {
	return fsm.Role{Name: name, Cluster: cluster, Rest: []byte(`{"metadata":` + reservedMetadata + `}`)}
}

// builtin returns a built-in role, or nil.
func builtin(name fsm.RoleName) *fsm.Role {
	for i := range builtinRoles {
		if builtinRoles[i].Name == name {
			return &builtinRoles[i]
		}
	}
	return nil
}

// Roles holds the use cases of the roles API, and decides who may do what. Its
// methods are safe for concurrent use. Reads answer from this node's state, and
// changes fail, as those of [Users] do.
type Roles struct {
	log  Log
	view View
}

// NewRoles needs both.
func NewRoles(log Log, view View) *Roles { return &Roles{log: log, view: view} }

// Authorize reports whether the user's roles allow an action, which is named as in
// Elasticsearch (cluster:admin/xpack/security/token/create), and so does the scope of
// a token that was narrowed. It is the only judge of privileges. If not, the error is a
// [*ForbiddenError]. The version is that of the role definitions the answer rests on,
// for [fsm.Guard]; 0 if a built-in role alone allows the action.
func (r *Roles) Authorize(user *fsm.Identity, action string) (rolesVersion uint64, err error) {
	if !scopeAllows(user.Scope, action) {
		return 0, r.forbidden(user, action)
	}
	for _, name := range user.Roles {
		if role := builtin(name); role != nil && roleAllows(role, action) {
			return 0, nil
		}
	}
	// Before the roles are looked at: should they change meanwhile, the guard fails.
	rolesVersion = r.view.RolesVersion()
	for _, name := range user.Roles {
		if role, ok := r.view.Role(name); ok && builtin(name) == nil && roleAllows(&role, action) {
			return rolesVersion, nil
		}
	}
	return rolesVersion, r.forbidden(user, action)
}

// forbidden says what the user is and what would allow the action.
func (r *Roles) forbidden(user *fsm.Identity, action string) *ForbiddenError {
	forbidden := &ForbiddenError{Action: action, Username: user.Username, Scope: user.Scope, Privileges: privilegesFor(action)}
	if user.RunBy != nil {
		forbidden.Username, forbidden.RunAs = user.RunBy.Username, user.Username
	}
	for _, name := range user.Roles {
		if _, ok := r.role(name); ok {
			forbidden.Effective = append(forbidden.Effective, name)
		} else {
			forbidden.Unknown = append(forbidden.Unknown, name)
		}
	}
	slices.Sort(forbidden.Effective)
	slices.Sort(forbidden.Unknown)
	return forbidden
}

func (r *Roles) role(name fsm.RoleName) (fsm.Role, bool) {
	return findRole(r.view, name)
}

// Get returns the roles with the given names that exist, or without names all, the
// built-in ones first.
func (r *Roles) Get(names ...fsm.RoleName) []fsm.Role {
	if len(names) == 0 {
		return append(slices.Clone(builtinRoles[:]), r.view.Roles()...)
	}
	var roles []fsm.Role
	for _, name := range names {
		if role, ok := r.role(name); ok {
			roles = append(roles, role)
		}
	}
	return roles
}

// Put creates or replaces a role. Rest must be a JSON object or empty. Errors:
// [*ValidationError].
func (r *Roles) Put(ctx context.Context, guard fsm.Guard, role fsm.Role) (created bool, err error) {
	role, err = checkRole(role)
	if err != nil {
		return false, err
	}
	outcome, err := propose(ctx, r.log, fsm.PutRole{Header: fsm.Header{Guard: guard}, Role: role})
	if err != nil {
		return false, err
	}
	return !outcome.Existed, refusal(outcome)
}

func checkRole(role fsm.Role) (fsm.Role, error) {
	problems := appendProblem(nil, roleNameProblem(role.Name))
	if builtin(role.Name) != nil {
		problems = append(problems, fmt.Sprintf("Role [%s] is reserved and may not be used.", role.Name))
	}
	sizes := appendProblem(nil, listProblem("cluster", maxPrivileges, role.Cluster))
	sizes = appendProblem(sizes, listProblem("run_as", maxPrivileges, role.RunAs))
	problems = append(problems, sizes...)
	if len(sizes) == 0 {
		for _, name := range role.Cluster {
			if problem := privilegeProblem(name); problem != "" {
				problems = append(problems, problem)
				break // the text is long
			}
		}
		for _, name := range slices.Concat(role.Cluster, role.RunAs) {
			if len(name) > maxNameBytes || strings.ToValidUTF8(name, "") != name {
				problems = append(problems, fmt.Sprintf("[cluster] and [run_as] values must be no more than [%d] bytes of UTF-8", maxNameBytes))
				break
			}
		}
	}
	rest, members, problem := compactObject("role", maxRoleRestBytes, role.Rest)
	problems = appendProblem(problems, problem)
	var metadata map[string]json.RawMessage
	if raw, ok := members["metadata"]; ok && json.Unmarshal(raw, &metadata) != nil {
		problems = append(problems, "[metadata] must be a JSON object")
	}
	if hasReservedKey(metadata) {
		problems = append(problems, "role descriptor metadata keys may not start with [_]")
	}
	problems = appendProblem(problems, grantsProblem(role.Name, members))
	role.Rest = rest
	return role, invalidAction(problems...)
}

// Delete removes a role. Who has it keeps the name of it, which then grants nothing.
// Errors: [*ArgumentError].
func (r *Roles) Delete(ctx context.Context, guard fsm.Guard, name fsm.RoleName) (found bool, err error) {
	if builtin(name) != nil {
		return false, &ArgumentError{fmt.Sprintf("role [%s] is reserved and cannot be deleted", name)}
	}
	if roleNameProblem(name) != "" {
		return false, nil // there can be none
	}
	outcome, err := propose(ctx, r.log, fsm.DeleteRole{Header: fsm.Header{Guard: guard}, Name: name})
	if err != nil {
		return false, err
	}
	return outcome.Existed, refusal(outcome)
}
