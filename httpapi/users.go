package httpapi

import (
	"context"
	"strings"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// Actions of the users API.
const (
	actionPutUser        = "cluster:admin/xpack/security/user/put"
	actionGetUsers       = "cluster:admin/xpack/security/user/get"
	actionDeleteUser     = "cluster:admin/xpack/security/user/delete"
	actionChangePassword = "cluster:admin/xpack/security/user/change_password"
	actionSetEnabled     = "cluster:admin/xpack/security/user/set_enabled"
)

// Users are the use cases of the users API. Safe for concurrent use;
// [*realm.Users] is one.
type Users interface {
	UserRecords
	UserStates
}

// UserRecords are users as a whole. Get answers from this node's state.
type UserRecords interface {
	Put(ctx context.Context, caller fsm.Principal, guard fsm.Guard, r realm.UserRequest) (created bool, err error)
	Get(names ...fsm.Username) []fsm.User
	Delete(ctx context.Context, guard fsm.Guard, name fsm.Username) (found bool, err error)
}

// UserStates are what changes about a user without its record being replaced.
type UserStates interface {
	SetPassword(ctx context.Context, guard fsm.Guard, name fsm.Username, password, hash *realm.Secret) error
	SetEnabled(ctx context.Context, caller fsm.Principal, guard fsm.Guard, name fsm.Username, enabled bool) error
}

func (s *Server) putUser(ctx context.Context, x *exchange) (response, error) {
	q, err := parseUser(fsm.Username(x.param("username")), x.body)
	if err != nil {
		return response{}, err
	}
	if err := s.authorizeWrite(x, actionPutUser); err != nil {
		return response{}, err
	}
	created, err := s.users.Put(ctx, x.caller.Identity.Principal, x.caller.Guard, q)
	if err != nil {
		return response{}, err
	}
	s.changed(x, "user put", "user", string(q.Username))
	return x.flag("created", created), nil
}

// parseUser reads the body of a put user request.
func parseUser(name fsm.Username, body []byte) (realm.UserRequest, error) {
	q := realm.UserRequest{Username: name, Enabled: true}
	err := readObject(body, expectObject, func(field string, _ position, v value) (err error) {
		switch field {
		case "password":
			q.Password, err = v.asSecret(field)
		case "password_hash":
			q.PasswordHash, err = v.asSecret(field)
		case "roles":
			q.Roles, err = v.asRoles(field)
		case "full_name":
			q.FullName, err = v.asNullableString(field)
		case "email":
			q.Email, err = v.asNullableString(field)
		case "metadata":
			q.Metadata, err = v.asObject(field)
		case "enabled":
			q.Enabled, err = v.asBoolean(field)
		case "username":
			var text string
			if text, err = v.asString(field); err == nil && text != string(name) {
				err = &argumentError{reason: "[username] in source does not match the username provided [" + string(name) + "]"}
			}
		default:
			err = elementError("failed to parse add user request. unexpected field [%s]", echo(field))
		}
		return err
	})
	return q, err
}

// asRoles reads an array of names, or names separated by commas.
func (v value) asRoles(name string) ([]fsm.RoleName, error) {
	var names []string
	switch {
	case v.kind == kindString && v.text == "":
	case v.kind == kindString:
		names = strings.Split(v.text, ",")
	default:
		var err error
		if names, err = v.asStrings(name); err != nil {
			return nil, err
		}
	}
	roles := make([]fsm.RoleName, len(names))
	for i, one := range names {
		roles[i] = fsm.RoleName(one)
	}
	return roles, nil
}

// getUsers lists the users asked for, or all.
func (s *Server) getUsers(_ context.Context, x *exchange) (response, error) {
	if _, err := boolean(x.query, "with_profile_uid", false); err != nil {
		return response{}, err
	}
	if err := s.authorize(x, actionGetUsers); err != nil {
		return response{}, err
	}
	var names []fsm.Username
	for _, name := range x.list("username") {
		names = append(names, fsm.Username(name))
	}
	users := s.users.Get(names...)
	dst := append(x.scratch[:0], '{')
	for i := range users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendUser(dst, &users[i])
	}
	x.scratch = append(dst, '}')
	return response{status: foundStatus(len(users) > 0 || len(names) == 0), body: x.scratch}, nil
}

func appendUser(dst []byte, u *fsm.User) []byte {
	dst = appendString(dst, string(u.Username))
	dst = append(dst, `:{"username":`...)
	dst = appendString(dst, string(u.Username))
	dst = append(dst, `,"roles":`...)
	dst = appendStrings(dst, u.Roles)
	dst = append(dst, `,"full_name":`...)
	dst = appendNullable(dst, u.FullName)
	dst = append(dst, `,"email":`...)
	dst = appendNullable(dst, u.Email)
	dst = append(dst, `,"metadata":`...)
	dst = appendMetadata(dst, u.Metadata)
	if u.Enabled {
		return append(dst, `,"enabled":true}`...)
	}
	return append(dst, `,"enabled":false}`...)
}

func (s *Server) deleteUser(ctx context.Context, x *exchange) (response, error) {
	if err := s.authorizeWrite(x, actionDeleteUser); err != nil {
		return response{}, err
	}
	name := fsm.Username(x.param("username"))
	found, err := s.users.Delete(ctx, x.caller.Guard, name)
	if err != nil {
		return response{}, err
	}
	answer := x.flag("found", found)
	answer.status = foundStatus(found)
	if found {
		s.changed(x, "user deleted", "user", string(name))
	}
	return answer, nil
}

// setPassword changes a password. One's own needs no privilege, but a login: a
// stolen token must not be enough to take the account over, nor the right to act for
// its user for a while.
func (s *Server) setPassword(ctx context.Context, x *exchange) (response, error) {
	var password, hash *realm.Secret
	err := readObject(x.body, expectObject, func(field string, _ position, v value) (err error) {
		switch field {
		case "password":
			password, err = v.asSecret(field)
		case "password_hash":
			hash, err = v.asSecret(field)
		default:
			err = elementError("failed to parse change password request. unexpected field [%s]", echo(field))
		}
		return err
	})
	if err != nil {
		return response{}, err
	}
	caller := x.caller.Identity.Principal
	name := fsm.Username(x.param("username"))
	if name == "" {
		name = caller.Username
	}
	replicated := caller.Realm.Name == fsm.RealmNative || caller.Realm.Name == fsm.RealmReserved
	itself := x.caller.Type == token.AuthenticationRealm && x.caller.Identity.RunBy == nil
	if own := name == caller.Username && replicated && itself; own {
		err = checkRefresh(x.query)
	} else {
		err = s.authorizeWrite(x, actionChangePassword)
	}
	if err != nil {
		return response{}, err
	}
	if err := s.users.SetPassword(ctx, x.caller.Guard, name, password, hash); err != nil {
		return response{}, err
	}
	s.changed(x, "password changed", "user", string(name))
	return x.empty(), nil
}

// setEnabled returns the handler that enables or disables a user.
func (s *Server) setEnabled(enabled bool) func(context.Context, *exchange) (response, error) {
	return func(ctx context.Context, x *exchange) (response, error) {
		if err := s.authorizeWrite(x, actionSetEnabled); err != nil {
			return response{}, err
		}
		name := fsm.Username(x.param("username"))
		if err := s.users.SetEnabled(ctx, x.caller.Identity.Principal, x.caller.Guard, name, enabled); err != nil {
			return response{}, err
		}
		what := "user disabled"
		if enabled {
			what = "user enabled"
		}
		s.changed(x, what, "user", string(name))
		return x.empty(), nil
	}
}
