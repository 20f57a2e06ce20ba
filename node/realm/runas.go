package realm

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"jeton/fsm"
)

// ErrRunAs means that a caller may not act as a user, or that there is no such user, or
// a disabled one. Which of them is not told, so that nobody can ask for names.
var ErrRunAs = errors.New("not allowed to run as this user")

// RunAs finds the user, in the first realm that knows the name and without a password,
// as whom a caller wants to act. The roles that the caller has must allow it by their
// run_as patterns. A caller that acts for another already, or whose token is narrowed,
// acts as nobody: the one would make a chain that no single user is allowed to make,
// the other would get round its scope.
//
// The Login is the user's, run by the caller. Errors: [ErrRunAs].
func (c *Chain) RunAs(caller *fsm.Identity, name fsm.Username) (Login, error) {
	self, known := c.find(caller.Principal)
	if !known || caller.RunBy != nil || caller.Scope != nil {
		return Login{}, ErrRunAs
	}
	target, known := c.lookup(name)
	if !known {
		return Login{}, ErrRunAs
	}
	identity := *target.Identity
	identity.RunBy = &fsm.Actor{Principal: caller.Principal, Roles: caller.Roles, Generation: self.Generation}
	if !c.MayRun(&identity) {
		return Login{}, ErrRunAs
	}
	return Login{Identity: &identity, Generation: target.Generation}, nil
}

// MayRun tells whether the user who acts as another one is still who it was, enabled,
// and allowed to by the present definitions of its roles. A user of the file realm has
// changed if its roles have.
func (c *Chain) MayRun(identity *fsm.Identity) bool {
	actor := identity.RunBy
	self, known := c.find(actor.Principal)
	if !known || self.Generation != actor.Generation {
		return false
	}
	if actor.Realm.Name == realmFile && !slices.Equal(self.Identity.Roles, actor.Roles) {
		return false
	}
	return slices.ContainsFunc(actor.Roles, func(name fsm.RoleName) bool {
		role, ok := findRole(c.view, name)
		return ok && slices.ContainsFunc(role.RunAs, func(pattern string) bool {
			return matchesName(pattern, string(identity.Username))
		})
	})
}

// lookup returns the user whom the first realm that knows the name has, unless it is
// disabled.
func (c *Chain) lookup(name fsm.Username) (Login, bool) {
	if identity := reserved(name); identity != nil {
		return c.find(identity.Principal)
	}
	native := fsm.Principal{Username: name, Realm: fsm.Realm{Name: fsm.RealmNative}}
	if _, known := c.view.User(fsm.RealmNative, name); known {
		return c.find(native)
	}
	identity, _ := c.files.lookup(name)
	return Login{Identity: identity}, identity != nil
}

// find returns a user of one realm, unless there is none or it is disabled. A reserved
// user needs no record.
func (c *Chain) find(p fsm.Principal) (Login, bool) {
	user, replicated := c.view.User(p.Realm.Name, p.Username)
	switch p.Realm.Name {
	case fsm.RealmReserved:
		identity := reserved(p.Username)
		return Login{Identity: identity, Generation: user.Generation}, identity != nil && (user.Enabled || !replicated)
	case fsm.RealmNative:
		return Login{Identity: nativeIdentity(&user), Generation: user.Generation}, replicated && user.Enabled
	}
	identity, _ := c.files.lookup(p.Username)
	return Login{Identity: identity}, identity != nil && identity.Principal == p
}

// findRole returns a role, built in or defined.
func findRole(view View, name fsm.RoleName) (fsm.Role, bool) {
	if role := builtin(name); role != nil {
		return *role, true
	}
	return view.Role(name)
}

// matchesName tells whether a pattern of user names matches one, as in Elasticsearch:
// * and ? are wildcards, a backslash takes the meaning of what follows it, and between
// slashes is a regular expression of Lucene's. What cannot be read matches nobody.
func matchesName(pattern, name string) bool {
	if pattern == "*" {
		return true
	}
	var expression string
	understood := true
	switch {
	case strings.HasPrefix(pattern, "/"):
		inner, closed := strings.CutSuffix(pattern[1:], "/")
		expression, understood = fromLucene(inner)
		understood = understood && closed
	case strings.ContainsAny(pattern, `*?\`):
		expression = fromWildcards(pattern)
	default:
		return pattern == name
	}
	if !understood {
		return false
	}
	// By itself first: brackets of its own must not close ours.
	if _, err := regexp.Compile(expression); err != nil {
		return false
	}
	whole, err := regexp.Compile(`\A(?s:` + expression + `)\z`)
	return err == nil && whole.MatchString(name)
}

// fromWildcards writes a pattern with wildcards as a regular expression.
func fromWildcards(pattern string) string {
	var b strings.Builder
	escaped := false
	for _, c := range pattern {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(c)))
			escaped = false
		case c == '\\':
			escaped = true
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteByte('.')
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	if escaped {
		b.WriteString(`\\`) // the last one stands for itself
	}
	return b.String()
}

// fromLucene writes a regular expression of Lucene's as one of Go's. False: it has
// something that Go does not have or takes for something else; nobody may run as
// anybody by a pattern that is not understood.
func fromLucene(pattern string) (string, bool) {
	var b strings.Builder
	escaped, class := false, false
	var before rune
	for _, c := range pattern {
		switch {
		case escaped && strings.ContainsRune("dDsSwW", c):
			return "", false // classes in late versions of Lucene, letters in others
		case escaped:
			b.WriteString(literally(c))
			escaped, c = false, 0
		case c == '\\':
			escaped = true
		case foreign(before, c, class):
			return "", false
		case !class && (c == '^' || c == '$'):
			b.WriteString(literally(c)) // anchors in Go only
		default:
			class = c == '[' || class && c != ']'
			b.WriteRune(c)
		}
		before = c
	}
	return b.String(), !escaped && !class
}

// foreign tells whether a character, after another one, is an operator of Lucene's that
// Go does not have, or one of Go's that Lucene does not have.
func foreign(before, c rune, class bool) bool {
	if class {
		return c == '[' || c == ']' && (before == '[' || before == '^')
	}
	return strings.ContainsRune(`~&@#<>"`, c) || before == '(' && c == '?'
}

// literally writes a character without any meaning, in a class too.
func literally(c rune) string {
	if c < utf8.RuneSelf && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
		return `\` + string(c)
	}
	return string(c)
}
