package realm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"jeton/fsm"
)

// Limits of what a request may store. Together they keep a command, and the
// identity that every token carries, well below fsm.MaxCommandBytes (60 KiB).
const (
	maxNameBytes      = 507 // Elasticsearch's
	minPasswordLength = 6   // Elasticsearch's, in characters
	maxRoles          = 256 // of a user
	maxListBytes      = 16 << 10
	maxMetadataBytes  = 16 << 10
	maxFullNameBytes  = 1024
	maxEmailBytes     = 1024
	maxPrivileges     = 256 // of a role; run_as too
	maxRoleRestBytes  = 16 << 10
)

func usernameProblem(name fsm.Username) string { return nameProblem("User", string(name)) }

func roleNameProblem(name fsm.RoleName) string { return nameProblem("Role", string(name)) }

// nameProblem allows printable ASCII without a space at either end.
func nameProblem(kind, name string) string {
	printable := func(c byte) bool { return c >= ' ' && c <= '~' }
	ok := name != "" && len(name) <= maxNameBytes && name[0] != ' ' && name[len(name)-1] != ' '
	for i := 0; ok && i < len(name); i++ {
		ok = printable(name[i])
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%s names must be at least 1 and no more than %d characters. "+
		"They can contain alphanumeric characters (a-z, A-Z, 0-9), spaces, punctuation, and printable symbols in the "+
		"Basic Latin (ASCII) block. Leading or trailing whitespace is not allowed.", kind, maxNameBytes)
}

// rolesProblems checks the roles that a user is given. They need not exist.
func rolesProblems(roles []fsm.RoleName) []string {
	if problem := listProblem("roles", maxRoles, roles); problem != "" {
		return []string{problem}
	}
	var problems []string
	for _, role := range roles {
		if problem := roleNameProblem(role); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

// listProblem bounds a list in length and in bytes.
func listProblem[S ~string](what string, limit int, list []S) string {
	size := 0
	for _, item := range list {
		size += len(item)
	}
	if len(list) > limit || size > maxListBytes {
		return fmt.Sprintf("[%s] must be no more than [%d] values and [%d] bytes", what, limit, maxListBytes)
	}
	return ""
}

func textProblem(what string, limit int, text *string) string {
	switch {
	case text == nil:
		return ""
	case len(*text) > limit:
		return fmt.Sprintf("[%s] must be no more than [%d] bytes", what, limit)
	case !utf8.ValidString(*text):
		return fmt.Sprintf("[%s] must be valid UTF-8", what)
	}
	return ""
}

// CheckAsPassword says why no user may be given the secret as password while new ones
// are hashed with the algorithm of that name (see [NewHasher]); nil: it may be given.
func (s Secret) CheckAsPassword(algorithmName string) error {
	a, err := parseAlgorithm(algorithmName)
	if err != nil {
		return err
	}
	if problem := a.passwordProblem(s); problem != "" {
		return &ArgumentError{problem}
	}
	return nil
}

// passwordProblem counts characters, as Elasticsearch does, and refuses a password of
// which bcrypt would ignore the end.
func (a algorithm) passwordProblem(password Secret) string {
	switch text := password.Expose(); {
	case utf8.RuneCountInString(text) < minPasswordLength:
		return fmt.Sprintf("passwords must be at least [%d] characters long", minPasswordLength)
	case a.scheme == schemeBcrypt && len(text) > maxBcryptPassword:
		return fmt.Sprintf("passwords must be no more than [%d] bytes long with the hashing algorithm [%s]", maxBcryptPassword, a)
	}
	return ""
}

// compactObject returns a JSON object without insignificant space, and its members.
// No bytes at all stand for an object without members.
func compactObject(what string, limit int, raw []byte) (compact []byte, members map[string]json.RawMessage, problem string) {
	if len(raw) == 0 {
		return nil, nil, ""
	}
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, nil, fmt.Sprintf("[%s] must be a JSON object", what)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, nil, fmt.Sprintf("[%s] must be a JSON object", what)
	}
	if b.Len() > limit {
		return nil, nil, fmt.Sprintf("[%s] must be no more than [%d] bytes", what, limit)
	}
	if len(members) == 0 {
		return nil, nil, ""
	}
	return b.Bytes(), members, ""
}

// hasReservedKey looks for keys that only Elasticsearch itself may set.
func hasReservedKey(members map[string]json.RawMessage) bool {
	for key := range members {
		if strings.HasPrefix(key, "_") {
			return true
		}
	}
	return false
}

// appendProblem skips "no problem".
func appendProblem(problems []string, problem string) []string {
	if problem == "" {
		return problems
	}
	return append(problems, problem)
}
