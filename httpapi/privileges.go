package httpapi

import (
	"context"
	"net/http"
	"slices"

	"jeton/fsm"
	"jeton/node/realm"
)

// Actions about privileges. A user may ask about its own without one.
const (
	actionHasPrivileges     = "cluster:admin/xpack/security/user/has_privileges"
	actionListPrivileges    = "cluster:admin/xpack/security/user/list_privileges"
	actionBuiltinPrivileges = "cluster:admin/xpack/security/privilege/builtin/get"
)

// privilegeRoutes tell what a user may do.
func (s *Server) privilegeRoutes(handle handle) {
	has := operation{access: self, action: actionHasPrivileges, body: true, do: s.hasPrivileges}
	for _, prefix := range prefixes {
		handle(prefix+"/user/_has_privileges", methods{http.MethodGet: has, http.MethodPost: has})
		handle(prefix+"/user/{username}/_has_privileges", methods{http.MethodGet: has, http.MethodPost: has})
		handle(prefix+"/user/_privileges", methods{http.MethodGet: {access: self, action: actionListPrivileges, do: s.getPrivileges}})
	}
	handle("/_security/privilege/_builtin", methods{http.MethodGet: {
		access: read, action: actionBuiltinPrivileges, do: s.getBuiltinPrivileges,
	}})
}

// hasPrivileges tells a user which of some privileges it has.
func (s *Server) hasPrivileges(_ context.Context, x *exchange) (response, error) {
	self := x.caller.Identity
	name := x.param("username")
	if name == "" {
		name = string(self.Username)
	}
	q, err := parsePrivilegeCheck(name, x.body)
	if err != nil {
		return response{}, err
	}
	if err := q.validate(); err != nil {
		return response{}, err
	}
	if fsm.Username(name) != self.Username {
		if err := s.authorize(x, actionHasPrivileges); err != nil {
			return response{}, err
		}
		return response{}, &argumentError{reason: "users may only check the privileges of their own account"}
	}
	grants, all := s.roles.Grants(self), true
	note := func(has bool) bool {
		all = all && has
		return has
	}
	answers := append([]byte(nil), `,"cluster":{`...)
	answers = appendFlags(answers, q.cluster, func(name string) bool { return note(grants.HasCluster(name)) })
	answers = append(answers, `},"index":{`...)
	answers = appendIndexAnswers(answers, q.indices, func(index, name string) bool { return note(grants.HasIndex(index, name)) })
	answers = append(answers, `},"application":{`...)
	answers = appendApplicationAnswers(answers, q.applications, func(application, resource, name string) bool {
		return note(grants.HasApplication(application, name, resource))
	})
	dst := append(x.scratch[:0], `{"username":`...)
	dst = appendString(dst, name)
	if all {
		dst = append(dst, `,"has_all_requested":true`...)
	} else {
		dst = append(dst, `,"has_all_requested":false`...)
	}
	x.scratch = append(append(dst, answers...), '}', '}')
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// once returns each string once, in the order of the first.
func once(list []string) []string {
	var seen []string
	for _, one := range list {
		if !slices.Contains(seen, one) {
			seen = append(seen, one)
		}
	}
	return seen
}

// appendFlags appends the members of an object, one for each name.
func appendFlags(dst []byte, names []string, has func(string) bool) []byte {
	for i, name := range once(names) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		if has(name) {
			dst = append(dst, ":true"...)
		} else {
			dst = append(dst, ":false"...)
		}
	}
	return dst
}

// appendIndexAnswers appends an object for each index, with all that was asked of it.
func appendIndexAnswers(dst []byte, entries []realm.IndexGrant, has func(index, name string) bool) []byte {
	var indices []string
	for _, entry := range entries {
		indices = append(indices, entry.Names...)
	}
	for i, index := range once(indices) {
		var names []string
		for _, entry := range entries {
			if slices.Contains(entry.Names, index) {
				names = append(names, entry.Privileges...)
			}
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, index), ":{"...)
		dst = append(appendFlags(dst, names, func(name string) bool { return has(index, name) }), '}')
	}
	return dst
}

// appendApplicationAnswers appends an object for each application, and therein one for
// each resource.
func appendApplicationAnswers(dst []byte, entries []realm.ApplicationGrant, has func(application, resource, name string) bool) []byte {
	var applications []string
	for _, entry := range entries {
		applications = append(applications, entry.Application)
	}
	for i, application := range once(applications) {
		var resources []realm.IndexGrant // named by what they are asked of
		for _, entry := range entries {
			if entry.Application == application {
				resources = append(resources, realm.IndexGrant{Names: entry.Resources, Privileges: entry.Privileges})
			}
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, application), ":{"...)
		dst = appendIndexAnswers(dst, resources, func(resource, name string) bool { return has(application, resource, name) })
		dst = append(dst, '}')
	}
	return dst
}

// getPrivileges tells a user all that its roles grant it.
func (s *Server) getPrivileges(_ context.Context, x *exchange) (response, error) {
	grants := s.roles.Grants(x.caller.Identity)
	dst := append(x.scratch[:0], `{"cluster":`...)
	dst = appendStrings(dst, grants.Cluster)
	dst = append(dst, `,"global":[],"indices":[`...)
	for i := range grants.Indices {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendIndexGrant(dst, &grants.Indices[i])
	}
	dst = append(dst, `],"applications":[`...)
	for i, grant := range grants.Applications {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"application":`...)
		dst = appendString(dst, grant.Application)
		dst = append(dst, `,"privileges":`...)
		dst = appendStrings(dst, grant.Privileges)
		dst = append(dst, `,"resources":`...)
		dst = append(appendStrings(dst, grant.Resources), '}')
	}
	dst = append(dst, `],"run_as":`...)
	x.scratch = append(appendStrings(dst, grants.RunAs), '}')
	return response{status: http.StatusOK, body: x.scratch}, nil
}

func appendIndexGrant(dst []byte, grant *realm.IndexGrant) []byte {
	dst = append(dst, `{"names":`...)
	dst = appendStrings(dst, grant.Names)
	dst = append(dst, `,"privileges":`...)
	dst = appendStrings(dst, grant.Privileges)
	if grant.FieldSecurity != nil {
		dst = append(dst, `,"field_security":[`...)
		dst = append(append(dst, value{raw: grant.FieldSecurity}.compact()...), ']')
	}
	if grant.Query != "" {
		dst = append(dst, `,"query":`...)
		dst = appendStrings(dst, []string{grant.Query})
	}
	if grant.Restricted {
		return append(dst, `,"allow_restricted_indices":true}`...)
	}
	return append(dst, `,"allow_restricted_indices":false}`...)
}

// getBuiltinPrivileges lists the predefined privileges.
func (s *Server) getBuiltinPrivileges(_ context.Context, x *exchange) (response, error) {
	if err := s.authorize(x, actionBuiltinPrivileges); err != nil {
		return response{}, err
	}
	cluster, index := realm.BuiltinPrivileges()
	dst := append(x.scratch[:0], `{"cluster":`...)
	dst = appendStrings(dst, cluster)
	dst = append(dst, `,"index":`...)
	dst = appendStrings(dst, index)
	x.scratch = append(dst, `,"remote_cluster":["monitor_enrich","monitor_stats"]}`...)
	return response{status: http.StatusOK, body: x.scratch}, nil
}
