package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// actionIntrospect is Jeton's own, in the manner of Elasticsearch's: who may do all
// with tokens may do this.
const actionIntrospect = "cluster:admin/xpack/security/token/introspect"

// Introspector has the use cases about a token that somebody shows.
type Introspector interface {
	Introspect(caller token.Caller, p token.Presented) token.Introspection
	Revoke(ctx context.Context, caller token.Caller, p token.Presented) (token.Counts, error)
}

// postIntrospect is the introspection endpoint (RFC 7662). A client may ask about its
// own tokens, and who has the privilege about all; of any other nothing is told, nor
// whether it exists.
func (s *Server) postIntrospect(_ context.Context, x *exchange) (response, error) {
	presented, err := s.presented(x, actionIntrospect)
	if err != nil {
		return response{}, err
	}
	x.scratch = s.appendIntrospection(x.scratch[:0], s.tokens.Introspect(x.caller, presented))
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// presented is the token of a request that needs an action for others' tokens.
func (s *Server) presented(x *exchange, action string) (p token.Presented, err error) {
	p.Token = x.oauth2.token
	if p.Token.IsZero() {
		return p, invalidRequest("the parameter token is missing")
	}
	if p.Any, err = permitted(s.authorize(x, action)); err != nil {
		return p, err
	}
	p.Own, err = permitted(s.roles.AuthorizeOwn(x.caller.Identity, action))
	return p, err
}

// permitted tells whether an authorization was given; an error is none of its refusals.
func permitted(err error) (bool, error) {
	if _, ok := errors.AsType[*realm.ForbiddenError](err); ok {
		return false, nil
	}
	return err == nil, err
}

// appendIntrospection appends RFC 7662, 2.2, with what gateways ask for besides:
// roles, realm and authentication_type, which are Elasticsearch's words.
func (s *Server) appendIntrospection(dst []byte, i token.Introspection) []byte {
	if !i.Active {
		return append(dst, `{"active":false}`...)
	}
	dst = append(dst, `{"active":true,"scope":`...)
	dst = appendString(dst, scopeText(i.Identity.Scope))
	dst = append(dst, `,"client_id":`...)
	dst = appendString(dst, string(i.Client.Username))
	dst = append(dst, `,"username":`...)
	dst = appendString(dst, string(i.Identity.Username))
	dst = append(dst, `,"sub":`...)
	dst = appendString(dst, subject(i.Identity.Principal))
	if s.issuer != "" {
		dst = append(dst, `,"iss":`...)
		dst = appendString(dst, s.issuer)
	}
	if i.RefreshToken {
		dst = append(dst, `,"token_type":"refresh_token","exp":`...)
	} else {
		dst = append(dst, `,"jti":`...)
		dst = appendString(dst, sessionID(i.Pair))
		dst = append(dst, `,"token_type":"Bearer","exp":`...)
	}
	dst = strconv.AppendInt(dst, i.ExpiresAt.Unix(), 10)
	dst = append(dst, `,"iat":`...)
	dst = strconv.AppendInt(dst, i.IssuedAt.Unix(), 10)
	if actor := i.Identity.RunBy; actor != nil { // RFC 8693, 4.1
		dst = append(dst, `,"act":{"sub":`...)
		dst = appendString(dst, subject(actor.Principal))
		dst = append(dst, '}')
	}
	dst = append(dst, `,"roles":`...)
	dst = appendStrings(dst, i.Identity.Roles)
	dst = append(dst, `,"realm":`...)
	dst = appendString(dst, string(i.Identity.Realm.Name))
	dst = append(dst, `,"authentication_type":`...)
	dst = appendString(dst, string(token.AuthenticationToken))
	return append(dst, '}')
}

// subject names a user among those of all realms; a username may be in several.
func subject(p fsm.Principal) string { return string(p.Realm.Name) + "/" + string(p.Username) }
