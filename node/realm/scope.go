package realm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"jeton/fsm"
)

// ErrScope means that a scope names no cluster privilege, or asks for more than
// there is to give (RFC 6749, 5.2: invalid_scope).
var ErrScope = errors.New("the scope is unknown, or wider than what it is asked of")

// scopeFull is what Elasticsearch calls the scope of a token that has all the rights
// of its user.
const scopeFull = "full"

// Narrow returns the scope of a token that is made of one with the scope within,
// nil being that of a token with all rights of its user, if the scope asked is asked
// for: names of Elasticsearch's predefined cluster privileges, or "full" alone, which
// is no narrowing. Nobody asking, it is within. It never grants what within does not.
//
// Errors: [ErrScope].
func Narrow(within, asked []string) ([]string, error) {
	switch {
	case len(asked) == 0:
		return within, nil
	case len(asked) == 1 && asked[0] == scopeFull && within == nil:
		return nil, nil
	}
	scope := make([]string, 0, len(asked))
	for _, name := range asked {
		p, ok := predefined(strings.ToLower(name))
		if !ok {
			return nil, fmt.Errorf("%w: no such cluster privilege", ErrScope)
		}
		if within != nil && !holds(within, p, predefined) {
			return nil, fmt.Errorf("%w: [%s] is not part of it", ErrScope, p.name)
		}
		scope = append(scope, p.name)
	}
	slices.Sort(scope)
	return slices.Compact(scope), nil
}

func predefined(name string) (privilege, bool) {
	for _, p := range privileges {
		if p.name == name {
			return p, true
		}
	}
	return privilege{}, false
}

// scopeAllows tells whether a scope leaves an action to its token.
func scopeAllows(scope []string, action string) bool {
	return scope == nil || slices.ContainsFunc(scope, func(name string) bool {
		p, ok := predefined(name)
		return ok && p.allows(action)
	})
}

// AuthorizeOwn is [Roles.Authorize] for an action that everybody may do for itself
// without a privilege, such as ending one's own sessions. A narrowed token may if its
// scope says so: whoever narrowed it did not mean to hand that out.
func (r *Roles) AuthorizeOwn(user *fsm.Identity, action string) error {
	if scopeAllows(user.Scope, action) {
		return nil
	}
	return r.forbidden(user, action)
}
