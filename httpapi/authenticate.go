package httpapi

import (
	"context"
	"net/http"

	"jeton/fsm"
	"jeton/node/token"
)

// actionAuthenticate needs no privilege, and no scope: what a token is, its holder may
// always know. It is named in the refusal of run-as only.
const actionAuthenticate = "cluster:admin/xpack/security/user/authenticate"

// getAuthenticate tells a caller who it is. It needs no privilege.
func (*Server) getAuthenticate(_ context.Context, x *exchange) (response, error) {
	x.scratch = appendAuthentication(x.scratch[:0], x.caller.Identity, x.caller.Type)
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// appendAuthentication appends an identity. The realm that looked the user up is the
// one that authenticated it, unless another user did so and acts for it. An identity
// that can authenticate is enabled: disabling a user ends its tokens. The member scope
// is not Elasticsearch's, and is there for narrowed tokens only.
func appendAuthentication(dst []byte, identity *fsm.Identity, how token.AuthenticationType) []byte {
	dst = append(dst, `{"username":`...)
	dst = appendString(dst, string(identity.Username))
	dst = append(dst, `,"roles":`...)
	dst = appendStrings(dst, identity.Roles)
	dst = append(dst, `,"full_name":`...)
	dst = appendNullable(dst, identity.FullName)
	dst = append(dst, `,"email":`...)
	dst = appendNullable(dst, identity.Email)
	dst = append(dst, `,"metadata":`...)
	dst = appendMetadata(dst, identity.Metadata)
	dst = append(dst, `,"enabled":true,"authentication_realm":`...)
	if actor := identity.RunBy; actor != nil {
		dst = appendRealm(dst, actor.Realm)
	} else {
		dst = appendRealm(dst, identity.Realm)
	}
	dst = append(dst, `,"lookup_realm":`...)
	dst = appendRealm(dst, identity.Realm)
	dst = append(dst, `,"authentication_type":`...)
	dst = appendString(dst, string(how))
	if identity.Scope != nil {
		dst = append(dst, `,"scope":`...)
		dst = appendStrings(dst, identity.Scope)
	}
	return append(dst, '}')
}

func appendRealm(dst []byte, realm fsm.Realm) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, string(realm.Name))
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, realm.Type)
	return append(dst, '}')
}
