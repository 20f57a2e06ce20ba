package realm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"jeton/fsm"
)

// maxUsersFileBytes bounds what is read of the file realm's files.
const maxUsersFileBytes = 16 << 20

// fileRealm holds the users of Elasticsearch's users and users_roles files.
type fileRealm struct {
	usersPath, rolesPath string
	users                atomic.Pointer[map[fsm.Username]fileUser]

	mu                         sync.Mutex // held by reload
	usersContent, rolesContent []byte     // as read last
}

type fileUser struct {
	encoded  string // verifier
	identity *fsm.Identity
}

// lookup returns nil and no verifier for an unknown user or without a file realm.
func (r *fileRealm) lookup(name fsm.Username) (identity *fsm.Identity, encoded string) {
	if r == nil {
		return nil, ""
	}
	user := (*r.users.Load())[name]
	return user.identity, user.encoded
}

// reload compares contents, not times of modification: the files are small, and two
// changes can share a time stamp.
func (r *fileRealm) reload() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	usersContent, err := readUsersFile(r.usersPath)
	if err != nil {
		return false, err
	}
	rolesContent, err := readUsersFile(r.rolesPath)
	if err != nil {
		return false, err
	}
	if r.users.Load() != nil && bytes.Equal(usersContent, r.usersContent) && bytes.Equal(rolesContent, r.rolesContent) {
		return false, nil
	}
	verifiers, usersErr := parseUsers(r.usersPath, string(usersContent))
	roles, rolesErr := parseUsersRoles(r.rolesPath, string(rolesContent))
	if err := errors.Join(usersErr, rolesErr); err != nil {
		return false, err
	}
	users := make(map[fsm.Username]fileUser, len(verifiers))
	for name, encoded := range verifiers {
		users[name] = fileUser{encoded: encoded, identity: &fsm.Identity{
			Principal: fsm.Principal{Username: name, Realm: fsm.Realm{Name: realmFile, Type: "file"}},
			Roles:     append([]fsm.RoleName{}, roles[name]...),
		}}
	}
	r.users.Store(&users)
	r.usersContent, r.rolesContent = usersContent, rolesContent
	return true, nil
}

// realmFile is the name that Elasticsearch gives its file realm by default.
const realmFile fsm.RealmName = "default_file"

// readUsersFile takes a file that does not exist for an empty one.
func readUsersFile(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open file realm: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxUsersFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read file realm: %w", err)
	}
	if len(content) > maxUsersFileBytes {
		return nil, fmt.Errorf("file realm: %s is larger than %d bytes", path, maxUsersFileBytes)
	}
	return content, nil
}

// parseUsers reads lines of user:hash. Errors name the line, never its content: it
// holds a verifier.
func parseUsers(path, content string) (map[fsm.Username]string, error) {
	verifiers := map[fsm.Username]string{}
	return verifiers, eachEntry(path, content, func(name, encoded string) error {
		if problem := usernameProblem(fsm.Username(name)); problem != "" {
			return errors.New(problem)
		}
		if reserved(fsm.Username(name)) != nil {
			return fmt.Errorf("Username [%s] is reserved and may not be used.", name) //nolint:revive,staticcheck // Elasticsearch's text
		}
		if _, err := parseVerifier(encoded); err != nil {
			return err
		}
		verifiers[fsm.Username(name)] = encoded
		return nil
	})
}

// parseUsersRoles reads lines of role:user1,user2 and turns them round.
func parseUsersRoles(path, content string) (map[fsm.Username][]fsm.RoleName, error) {
	roles := map[fsm.Username][]fsm.RoleName{}
	return roles, eachEntry(path, content, func(role, users string) error {
		role = strings.TrimSpace(role)
		if problem := roleNameProblem(fsm.RoleName(role)); problem != "" {
			return errors.New(problem)
		}
		for user := range strings.SplitSeq(users, ",") {
			name := fsm.Username(strings.TrimSpace(user))
			assigned := append(roles[name], fsm.RoleName(role))
			if problems := rolesProblems(assigned); len(problems) > 0 {
				return errors.New(problems[0])
			}
			roles[name] = assigned
		}
		return nil
	})
}

// eachEntry calls parse for every line "left:right" that is neither empty nor a
// comment, and reports all bad lines at once.
func eachEntry(path, content string, parse func(left, right string) error) error {
	var problems []error
	number := 0
	for line := range strings.Lines(content) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		left, right, _ := strings.Cut(line, ":")
		err := errors.New("expected name:value")
		if left != "" && right != "" {
			err = parse(left, right)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("file realm: %s:%d: %w", path, number, err))
		}
	}
	return errors.Join(problems...)
}
