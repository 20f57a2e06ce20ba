package httpapi

import (
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

// refuseRunAs refuses every request that is to be served in another user's name.
// There is no run-as, and serving it in the caller's own would give it the rights
// that the caller meant to lay down.
func (s *Server) refuseRunAs(x *exchange, action string) error {
	lines := x.request.Header[canonicalRunAs]
	if len(lines) == 0 {
		return nil
	}
	caller := x.caller.Identity
	if lines[0] == "" { // to Elasticsearch, a failed login
		return &headerError{
			reason: "unable to authenticate user [" + string(caller.Username) + "] for REST request [" + uri(x.request) + "]",
			audit:  "run as nobody",
		}
	}
	if action == actionCreateToken {
		if q, err := parseTokenRequest(x.body); err == nil && q.grant() == token.GrantRefreshToken {
			action = actionRefreshToken
		}
	}
	forbidden := realm.ForbiddenError{Action: action, Username: caller.Username}
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
	return &runAsError{forbidden: forbidden, other: echo(lines[0])}
}
