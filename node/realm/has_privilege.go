package realm

import (
	"slices"
	"strings"

	"jeton/fsm"
)

// HasPrivilege reports whether the user's roles, and its scope, grant everything that
// one of Elasticsearch's predefined cluster privileges grants; and whether there is such
// a privilege. Where that cannot be told for sure, the answer is no.
func (r *Roles) HasPrivilege(user *fsm.Identity, name string) (has, known bool) {
	wanted, known := predefined(strings.ToLower(name))
	if !known {
		return false, false
	}
	var granted []string
	for _, name := range user.Roles {
		if role, ok := r.role(name); ok {
			granted = append(granted, role.Cluster...)
		}
	}
	return holds(granted, wanted, findPrivilege) && (user.Scope == nil || holds(user.Scope, wanted, predefined)), true
}

// covers tells whether a privilege certainly grants all actions of a pattern, whatever
// actions there will be, but for those of another pattern.
func (p privilege) covers(pattern, but string) bool {
	return slices.ContainsFunc(p.grants, func(grant string) bool { return contains(grant, pattern) }) &&
		(p.but == "" || p.but == but || !mayMeet(p.but, pattern))
}

// contains tells whether a pattern matches all that another one matches. Taken for an
// action, the other one is matched by a * that takes its wildcards in; a ? would take
// a * for one character.
func contains(wider, narrower string) bool {
	return wider == narrower || !strings.Contains(wider, "?") && matchesPattern(wider, narrower)
}

// mayMeet tells whether two patterns may match the same action: whether what they
// begin with, up to a wildcard, does not keep them apart.
func mayMeet(a, b string) bool {
	a, b = literal(a), literal(b)
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// literal is a pattern's beginning up to its first wildcard.
func literal(pattern string) string {
	if i := strings.IndexAny(pattern, "*?"); i >= 0 {
		return pattern[:i]
	}
	return pattern
}
