package realm

import (
	"context"
	"crypto/rand"
	"fmt"

	"jeton/fsm"
)

// Users holds the use cases of the users API. Its methods are safe for concurrent
// use. Reads answer from this node's state: confirm the read before.
//
// Every change takes the [fsm.Guard] under which it was allowed and fails with
// [ErrStale] if that no longer holds; with [ErrUnavailable] or [ErrOverloaded] from
// [Log]; with [ErrBusy] if a password cannot be hashed now; and with the errors
// named at each method.
type Users struct {
	log    Log
	view   View
	hasher *Hasher
}

// NewUsers needs all three.
func NewUsers(log Log, view View, hasher *Hasher) *Users {
	return &Users{log: log, view: view, hasher: hasher}
}

// UserRequest is the body of a put user request.
type UserRequest struct {
	Username     fsm.Username
	Password     *Secret        // nil: absent
	PasswordHash *Secret        // nil: absent; with neither of the two an existing user keeps its password
	Roles        []fsm.RoleName // nil: absent, which is an error
	FullName     *string        // nil: null
	Email        *string        // nil: null
	Metadata     []byte         // a JSON object; empty means {}
	Enabled      bool           // true where the request does not say
}

// Put creates or replaces a native user for the caller. Errors: [*ValidationError],
// [*ArgumentError].
func (u *Users) Put(ctx context.Context, caller fsm.Principal, guard fsm.Guard, r UserRequest) (created bool, err error) {
	if err := u.checkPassword(r.Password, r.PasswordHash); err != nil {
		return false, err
	}
	command, err := putCommand(caller, r)
	if err != nil {
		return false, err
	}
	command.Guard = guard
	if command.Verifier, err = u.verifier(ctx, r.Password, r.PasswordHash); err != nil {
		return false, err
	}
	outcome, err := propose(ctx, u.log, command)
	switch {
	case err != nil:
		return false, err
	case outcome.Reason == fsm.PasswordRequired:
		return false, invalid("password must be specified unless you are updating an existing user")
	}
	return !outcome.Existed, refusal(outcome)
}

// putCommand checks everything but the password, in Elasticsearch's order.
func putCommand(caller fsm.Principal, r UserRequest) (fsm.PutUser, error) {
	var problems []string
	if r.Roles == nil {
		problems = append(problems, "roles are missing")
	}
	metadata, members, problem := compactObject("metadata", maxMetadataBytes, r.Metadata)
	problems = appendProblem(problems, problem)
	if hasReservedKey(members) {
		problems = append(problems, "metadata keys may not start with [_]")
	}
	if len(problems) > 0 {
		return fsm.PutUser{}, invalidAction(problems...)
	}
	self := fsm.Principal{Username: r.Username, Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}
	if !r.Enabled && caller == self {
		problems = append(problems, "native and reserved realm users may not update the enabled status of their own account")
	}
	if reserved(r.Username) != nil {
		problems = append(problems, fmt.Sprintf("user [%s] is reserved and only the password can be changed", r.Username))
	} else {
		problems = appendProblem(problems, usernameProblem(r.Username))
	}
	problems = append(problems, rolesProblems(r.Roles)...)
	problems = appendProblem(problems, textProblem("full_name", maxFullNameBytes, r.FullName))
	problems = appendProblem(problems, textProblem("email", maxEmailBytes, r.Email))
	return fsm.PutUser{
		Username: r.Username,
		Roles:    r.Roles,
		FullName: r.FullName,
		Email:    r.Email,
		Metadata: metadata,
		Enabled:  r.Enabled,
	}, invalidAction(problems...)
}

// Get returns users without their verifiers: those with the given names that exist,
// or without names all reserved and native ones.
func (u *Users) Get(names ...fsm.Username) []fsm.User {
	if len(names) == 0 {
		users := make([]fsm.User, 0, len(reservedUsers))
		for i := range reservedUsers {
			users = append(users, u.reserved(&reservedUsers[i]))
		}
		for _, user := range u.view.Users() {
			user.Verifier = ""
			users = append(users, user)
		}
		return users
	}
	users := make([]fsm.User, 0, min(len(names), maxRoles))
	for _, name := range names {
		if identity := reserved(name); identity != nil {
			users = append(users, u.reserved(identity))
		} else if user, ok := u.view.User(fsm.RealmNative, name); ok {
			user.Verifier = ""
			users = append(users, user)
		}
	}
	return users
}

// reserved completes a built-in user with what is replicated of it.
func (u *Users) reserved(identity *fsm.Identity) fsm.User {
	record, ok := u.view.User(fsm.RealmReserved, identity.Username)
	return fsm.User{
		Username:   identity.Username,
		Realm:      fsm.RealmReserved,
		Roles:      identity.Roles,
		Metadata:   identity.Metadata,
		Enabled:    record.Enabled || !ok,
		Generation: record.Generation,
	}
}

// Delete removes a native user and ends its tokens. Errors: [*ArgumentError].
func (u *Users) Delete(ctx context.Context, guard fsm.Guard, name fsm.Username) (found bool, err error) {
	if reserved(name) != nil {
		return false, &ArgumentError{fmt.Sprintf("user [%s] is reserved and cannot be deleted", name)}
	}
	if usernameProblem(name) != "" {
		return false, nil // nobody can have it
	}
	outcome, err := propose(ctx, u.log, fsm.DeleteUser{Header: fsm.Header{Guard: guard}, Username: name})
	if err != nil {
		return false, err
	}
	return outcome.Existed, refusal(outcome)
}

// SetPassword gives a native or reserved user a new password, or the verifier of
// one, and ends the user's tokens. Exactly one of the two must be given. Errors:
// [*ValidationError], [*ArgumentError].
func (u *Users) SetPassword(ctx context.Context, guard fsm.Guard, name fsm.Username, password, hash *Secret) error {
	if password == nil && hash == nil {
		return invalidAction("password is missing")
	}
	if err := u.checkPassword(password, hash); err != nil {
		return err
	}
	unknown := invalid("user must exist in order to change password")
	if usernameProblem(name) != "" {
		return unknown
	}
	encoded, err := u.verifier(ctx, password, hash)
	if err != nil {
		return err
	}
	outcome, err := propose(ctx, u.log, fsm.SetPassword{
		Header:   fsm.Header{Guard: guard},
		Realm:    realmOf(name),
		Username: name,
		Verifier: encoded,
	})
	switch {
	case err != nil:
		return err
	case outcome.Reason == fsm.UnknownUser:
		return unknown
	}
	return refusal(outcome)
}

// SetEnabled enables or disables a native or reserved user, though never the caller
// itself; disabling ends the user's tokens. Errors: [*ValidationError],
// [*ArgumentError].
func (u *Users) SetEnabled(ctx context.Context, caller fsm.Principal, guard fsm.Guard, name fsm.Username, enabled bool) error {
	if caller.Username == name {
		return &ArgumentError{"users may not update the enabled status of their own account"}
	}
	unknown := invalid("only existing users can be disabled")
	if enabled {
		unknown = invalid("only existing users can be enabled")
	}
	if usernameProblem(name) != "" {
		return unknown
	}
	outcome, err := propose(ctx, u.log, fsm.SetEnabled{
		Header:   fsm.Header{Guard: guard},
		Realm:    realmOf(name),
		Username: name,
		Enabled:  enabled,
	})
	switch {
	case err != nil:
		return err
	case outcome.Reason == fsm.UnknownUser:
		return unknown
	}
	return refusal(outcome)
}

// EnsureBootstrapPassword gives the user elastic its first password: the configured
// one or, if that is empty, a generated one, which is returned so that it can be
// shown once. It never replaces a password, so every node may call it. set reports
// whether this call set the password; if not, generated is empty.
//
// An error may come with a generated password: then it is not known whether that
// was set. The context should therefore be a patient one.
func (u *Users) EnsureBootstrapPassword(ctx context.Context, configured Secret) (generated Secret, set bool, err error) {
	if user, _ := u.view.User(fsm.RealmReserved, elastic); user.Verifier != "" {
		return Secret{}, false, nil
	}
	password := configured
	if configured.IsZero() {
		generated = generatePassword()
		password = generated
	}
	if err := u.checkPassword(&password, nil); err != nil {
		return Secret{}, false, fmt.Errorf("bootstrap password: %w", err)
	}
	encoded, err := u.hasher.newVerifier(ctx, password)
	if err != nil {
		return Secret{}, false, fmt.Errorf("bootstrap password: %w", err)
	}
	outcome, err := propose(ctx, u.log, fsm.SetPassword{
		Realm:       fsm.RealmReserved,
		Username:    elastic,
		Verifier:    encoded,
		OnlyIfUnset: true,
	})
	switch {
	case err != nil:
		return generated, false, fmt.Errorf("bootstrap password: %w", err)
	case outcome.Reason == fsm.AlreadySet:
		return Secret{}, false, nil
	case outcome.Reason != fsm.Done:
		return Secret{}, false, fmt.Errorf("bootstrap password: %w", refusal(outcome))
	}
	return generated, true, nil
}

// generatePassword draws 20 characters that cannot be mistaken for one another: 116 bits.
func generatePassword() Secret {
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
	var password []byte
	for len(password) < 20 {
		var b [1]byte
		_, _ = rand.Read(b[:]) // never fails, see its documentation
		if i := int(b[0] & 63); i < len(alphabet) {
			password = append(password, alphabet[i])
		}
	}
	return NewSecret(string(password))
}

// checkPassword is the cheap part: nothing is hashed for a request that is refused.
func (u *Users) checkPassword(password, hash *Secret) error {
	if password != nil {
		if problem := u.hasher.algorithm.passwordProblem(*password); problem != "" {
			return invalid(problem)
		}
	}
	if hash != nil {
		if err := u.hasher.accept(hash.Expose()); err != nil {
			return err
		}
	}
	if password != nil && hash != nil {
		return invalid("password_hash has already been set")
	}
	return nil
}

// verifier is what to store: empty to keep what is there.
func (u *Users) verifier(ctx context.Context, password, hash *Secret) (string, error) {
	switch {
	case password != nil:
		return u.hasher.newVerifier(ctx, *password)
	case hash != nil:
		return hash.Expose(), nil
	}
	return "", nil
}
