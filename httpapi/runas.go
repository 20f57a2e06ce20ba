package httpapi

import (
	"errors"
	"slices"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// headerRunAs names the user in whose name a request is to be served; canonicalRunAs
// is the same as net/http spells it.
const (
	headerRunAs    = "es-security-runas-user"
	canonicalRunAs = "Es-Security-Runas-User"
)

// runAsError is a caller who may not act for another user.
type runAsError struct {
	forbidden realm.ForbiddenError
	other     string
}

// Error is Elasticsearch's text.
func (e *runAsError) Error() string {
	return e.forbidden.Error() + ", because user [" + string(e.forbidden.Username) + "] is unauthorized to run as [" + e.other + "]"
}

// runAs has the request served in another user's name, if it asks for that: from then
// on, that user is the caller. The action is what the refusal names.
func (s *Server) runAs(x *exchange, action string) error {
	lines := x.request.Header[canonicalRunAs]
	if len(lines) == 0 {
		return nil
	}
	if lines[0] == "" { // to Elasticsearch, a failed login
		return &headerError{
			reason: "unable to authenticate user [" + string(x.caller.Identity.Username) + "] for REST request [" + uri(x.request) + "]",
			audit:  "run as nobody",
		}
	}
	caller, err := s.authenticator.RunAs(x.caller, fsm.Username(lines[0]))
	if errors.Is(err, token.ErrRunAs) {
		return s.refuseRunAs(x, action, lines[0])
	}
	if err != nil {
		return err
	}
	x.caller = caller
	return nil
}

// refuseRunAs tells the caller what its roles are. Whether there is such a user it does
// not tell.
func (s *Server) refuseRunAs(x *exchange, action, other string) error {
	if action == actionCreateToken {
		if q, err := parseTokenRequest(x.body); err == nil && q.grant() == token.GrantRefreshToken {
			action = actionRefreshToken
		}
	}
	caller := x.caller.Identity
	forbidden := realm.ForbiddenError{Action: action, Username: caller.Username, Scope: caller.Scope}
	if caller.RunBy != nil {
		forbidden.Username, forbidden.RunAs = caller.RunBy.Username, caller.Username
	}
	existing := s.roles.Get(caller.Roles...)
	for _, name := range caller.Roles {
		if slices.ContainsFunc(existing, func(r fsm.Role) bool { return r.Name == name }) {
			forbidden.Effective = append(forbidden.Effective, name)
		} else {
			forbidden.Unknown = append(forbidden.Unknown, name)
		}
	}
	slices.Sort(forbidden.Effective)
	slices.Sort(forbidden.Unknown)
	return &runAsError{forbidden: forbidden, other: echo(other)}
}
