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
	return cover(granted, wanted) && (user.Scope == nil || cover(user.Scope, wanted)), true
}

// cover tells whether privileges together grant all that another one grants. One that
// grants nothing which exists here is covered by itself and by all alone.
func cover(granted []string, wanted privilege) bool {
	covering := make([]privilege, 0, len(granted))
	for _, name := range granted {
		p, ok := findPrivilege(name)
		if !ok {
			continue
		}
		if p.name == wanted.name || p.name == "all" {
			return true
		}
		covering = append(covering, p)
	}
	for _, pattern := range wanted.grants {
		if !slices.ContainsFunc(covering, func(p privilege) bool { return p.allowsAll(pattern) }) {
			return false
		}
	}
	return len(wanted.grants) > 0
}

// allowsAll tells whether a privilege grants every action that a pattern matches.
func (p privilege) allowsAll(pattern string) bool {
	return slices.ContainsFunc(p.grants, func(grant string) bool { return contains(grant, pattern) }) &&
		(p.but == "" || !mayMeet(p.but, pattern))
}

// contains tells whether a pattern matches all that another one matches. Taken for an
// action, the other one is matched by a * that takes its wildcards in; a ? would take
// a * for one character.
func contains(wider, narrower string) bool {
	return wider == narrower || !strings.Contains(wider, "?") && matchesPattern(wider, narrower)
}
