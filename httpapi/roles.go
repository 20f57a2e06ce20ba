package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"jeton/fsm"
	"jeton/node/realm"
)

// Actions of the roles API.
const (
	actionPutRole    = "cluster:admin/xpack/security/role/put"
	actionGetRoles   = "cluster:admin/xpack/security/role/get"
	actionDeleteRole = "cluster:admin/xpack/security/role/delete"
)

// Roles are the use cases of the roles API. Safe for concurrent use;
// [*realm.Roles] is one.
type Roles interface {
	RoleRecords
	Authorizer
}

// RoleRecords are the definitions of roles. Get answers from this node's state.
type RoleRecords interface {
	Put(ctx context.Context, guard fsm.Guard, role fsm.Role) (created bool, err error)
	Get(names ...fsm.RoleName) []fsm.Role
	Delete(ctx context.Context, guard fsm.Guard, name fsm.RoleName) (found bool, err error)
}

// Authorizer decides who may do what, by this node's state. The error of a user who
// may not is a [*realm.ForbiddenError].
type Authorizer interface {
	Authorize(user *fsm.Identity, action string) (rolesVersion uint64, err error)
	// Grants tells what its roles grant a user, for those who ask by name.
	Grants(user *fsm.Identity) realm.Grants
	// AuthorizeOwn is for what everybody may do for itself unless its token is narrowed.
	AuthorizeOwn(user *fsm.Identity, action string) error
	// HasPrivilege is about a cluster privilege by its name.
	HasPrivilege(user *fsm.Identity, privilege string) (has, known bool)
}

// authorize refuses a caller who may not. The caller's guard holds the version of
// the roles as of its authentication, so that for a write the state machine checks
// that the roles have not changed since.
func (s *Server) authorize(x *exchange, action string) error {
	_, err := s.roles.Authorize(x.caller.Identity, action)
	return err
}

// authorizeWrite is authorize for operations that know the parameter refresh.
func (s *Server) authorizeWrite(x *exchange, action string) error {
	if err := checkRefresh(x.query); err != nil {
		return err
	}
	return s.authorize(x, action)
}

// roleMember is a member of a role that Jeton keeps for its clients' sake.
type roleMember struct {
	name   string
	kind   valueKind // clients read another kind as an error
	absent string    // what an answer has in its place if the role does not; empty: nothing
}

// roleMembers are those that make no difference here, in the order of Elasticsearch's
// answers.
var roleMembers = []roleMember{
	{"global", kindObject, ""},
	{"indices", kindArray, "[]"},
	{"applications", kindArray, "[]"},
	{"run_as", "", ""}, // has a field of its own
	{"metadata", kindObject, "{}"},
	{"transient_metadata", "", ""}, // always written, never read
	{"remote_indices", kindArray, ""},
	{"remote_cluster", kindArray, ""},
	{"description", kindString, ""},
	{"restriction", kindObject, ""},
}

func (s *Server) putRole(ctx context.Context, x *exchange) (response, error) {
	role, err := parseRole(x.param("name"), x.body)
	if err != nil {
		return response{}, err
	}
	if err := s.authorizeWrite(x, actionPutRole); err != nil {
		return response{}, err
	}
	created, err := s.roles.Put(ctx, x.caller.Guard, role)
	if err != nil {
		return response{}, err
	}
	s.changed(x, "role put", "role", string(role.Name))
	answer := x.flag("created", created)
	x.scratch = append(append([]byte(`{"role":`), answer.body...), '}')
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// parseRole reads the body of a put role request.
func parseRole(name string, body []byte) (fsm.Role, error) {
	role := fsm.Role{Name: fsm.RoleName(name), Cluster: []string{}, RunAs: []string{}}
	rest := []byte{'{'}
	indices := false
	err := readObject(body, expectObject, func(field string, at position, v value) (err error) {
		if field == "index" {
			field = "indices" // an older name
		}
		if field == "indices" {
			if indices {
				return contentError(at, "Duplicate field '%s'", field)
			}
			indices = true
		}
		switch field {
		case "cluster":
			role.Cluster, err = v.asStrings(field)
			return err
		case "run_as":
			role.RunAs, err = v.asStrings(field)
			return err
		case "transient_metadata":
			return nil
		}
		known := slices.IndexFunc(roleMembers, func(m roleMember) bool { return m.name == field })
		if known < 0 {
			return elementError("failed to parse role [%s]. unexpected field [%s]", name, echo(field))
		}
		if v.kind != roleMembers[known].kind {
			return elementError("failed to parse role [%s]. expected field [%s] to be [%s], but found [%s] instead",
				name, field, roleMembers[known].kind, v.kind)
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(appendString(rest, field), ':')
		rest = append(rest, v.compact()...)
		return nil
	})
	role.Rest = append(rest, '}')
	return role, err
}

// getRoles lists the roles asked for, or all.
func (s *Server) getRoles(_ context.Context, x *exchange) (response, error) {
	if err := s.authorize(x, actionGetRoles); err != nil {
		return response{}, err
	}
	var names []fsm.RoleName
	for _, name := range x.list("name") {
		names = append(names, fsm.RoleName(name))
	}
	roles := s.roles.Get(names...)
	dst := append(x.scratch[:0], '{')
	for i := range roles {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRole(dst, &roles[i])
	}
	x.scratch = append(dst, '}')
	return response{status: foundStatus(len(roles) > 0 || len(names) == 0), body: x.scratch}, nil
}

func appendRole(dst []byte, role *fsm.Role) []byte {
	rest := make(map[string][]byte)
	if len(role.Rest) > 0 {
		// Written by parseRole, or built in; both are well-formed.
		_ = readObject(role.Rest, expectObject, func(name string, _ position, v value) error {
			rest[name] = v.raw
			return nil
		})
	}
	dst = appendString(dst, string(role.Name))
	dst = append(dst, `:{"cluster":`...)
	dst = appendStrings(dst, role.Cluster)
	for _, member := range roleMembers {
		switch member.name {
		case "run_as":
			dst = append(dst, `,"run_as":`...)
			dst = appendStrings(dst, role.RunAs)
			continue
		case "transient_metadata":
			dst = append(dst, `,"transient_metadata":{"enabled":true}`...)
			continue
		}
		raw, ok := rest[member.name]
		if !ok {
			raw = []byte(member.absent)
		}
		if len(raw) > 0 {
			dst = append(dst, ',')
			dst = append(appendString(dst, member.name), ':')
			dst = append(dst, raw...)
		}
	}
	return append(dst, '}')
}

func (s *Server) deleteRole(ctx context.Context, x *exchange) (response, error) {
	if err := s.authorizeWrite(x, actionDeleteRole); err != nil {
		return response{}, err
	}
	name := fsm.RoleName(x.param("name"))
	found, err := s.roles.Delete(ctx, x.caller.Guard, name)
	if err != nil {
		return response{}, err
	}
	answer := x.flag("found", found)
	answer.status = foundStatus(found)
	if found {
		s.changed(x, "role deleted", "role", string(name))
	}
	return answer, nil
}

// The following are shared by the users and the roles API.

// changed logs a change that an auditor asks for.
func (s *Server) changed(x *exchange, what, key, name string) {
	s.log.Info(what, key, name, "by", x.who())
}

// list is a path parameter with names separated by commas, each once.
func (x *exchange) list(name string) []string { return splitList(x.param(name)) }

// splitList splits names at their commas, and has each once.
func splitList(text string) []string {
	var names []string
	for one := range strings.SplitSeq(text, ",") {
		if one != "" && !slices.Contains(names, one) {
			names = append(names, one)
		}
	}
	return names
}

// flag answers {"name":true} or {"name":false}.
func (x *exchange) flag(name string, value bool) response {
	dst := append(x.scratch[:0], '{')
	dst = appendString(dst, name)
	if value {
		dst = append(dst, `:true}`...)
	} else {
		dst = append(dst, `:false}`...)
	}
	x.scratch = dst
	return response{status: http.StatusOK, body: dst}
}

// empty answers {}.
func (x *exchange) empty() response {
	x.scratch = append(x.scratch[:0], '{', '}')
	return response{status: http.StatusOK, body: x.scratch}
}

func foundStatus(found bool) int {
	if found {
		return http.StatusOK
	}
	return http.StatusNotFound
}
