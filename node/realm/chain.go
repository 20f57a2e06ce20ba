package realm

import (
	"context"
	"errors"
	"time"

	"jeton/fsm"
)

// ChainConfig is what a [Chain] needs. View, Hasher and Now are required.
type ChainConfig struct {
	View   View
	Hasher *Hasher
	Now    func() time.Time

	// UsersFile and UsersRolesFile are the file realm's files, in Elasticsearch's
	// formats. A file that does not exist holds nobody. Both empty: no file realm.
	UsersFile      string
	UsersRolesFile string
}

// Chain asks the realms in order: reserved, native, file. Its methods are safe for
// concurrent use.
type Chain struct {
	view     View
	dummy    string
	files    *fileRealm // nil: none
	verdicts *verdicts
}

// NewChain reads the file realm's files; an unreadable one is an error here, while
// later it leaves what was read before in force ([Chain.Reload]).
func NewChain(config ChainConfig) (*Chain, error) {
	if config.View == nil || config.Hasher == nil || config.Now == nil {
		return nil, errors.New("realm chain: View, Hasher and Now are required")
	}
	c := &Chain{
		view:     config.View,
		dummy:    config.Hasher.dummy,
		verdicts: newVerdicts(config.Hasher.matches, config.Now),
	}
	if config.UsersFile != "" || config.UsersRolesFile != "" {
		c.files = &fileRealm{usersPath: config.UsersFile, rolesPath: config.UsersRolesFile}
	}
	if _, err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the file realm's files again and reports whether they have changed.
// After an error the former content stays in force. It is for the caller to call it
// every few seconds and to log both.
func (c *Chain) Reload() (changed bool, err error) {
	if c.files == nil {
		return false, nil
	}
	return c.files.reload()
}

// Forget forgets which passwords were verified on this node, so that each costs a hash
// once more. Nothing that was true becomes wrong by remembering it.
func (c *Chain) Forget() { c.verdicts.forget() }

// ForgetExpired lets go of verified passwords whose time is over. It is for the caller
// to call it every minute or so: a login does it too, but perhaps nobody comes.
func (c *Chain) ForgetExpired() { c.verdicts.expire() }

// Authenticate verifies a password. The first realm in which the user name and the
// password match decides; a reserved name is looked up in the reserved realm only.
//
// Errors: [ErrBadCredentials], [ErrBusy], or the context's when it ends while the
// password waits to be hashed.
func (c *Chain) Authenticate(ctx context.Context, username string, password Secret) (Login, error) {
	name := fsm.Username(username)
	if identity := reserved(name); identity != nil {
		return c.reservedLogin(ctx, identity, password)
	}
	user, isNative := c.view.User(fsm.RealmNative, name)
	if isNative {
		if match, err := c.matches(ctx, name, user.Verifier, password); err != nil {
			return Login{}, err
		} else if match {
			return admit(nativeIdentity(&user), user.Enabled, user.Generation)
		}
	}
	identity, encoded := c.files.lookup(name)
	if identity != nil || !isNative {
		if match, err := c.matches(ctx, name, encoded, password); err != nil {
			return Login{}, err
		} else if match {
			return admit(identity, true, 0)
		}
	}
	return Login{}, ErrBadCredentials
}

func (c *Chain) reservedLogin(ctx context.Context, identity *fsm.Identity, password Secret) (Login, error) {
	user, _ := c.view.User(fsm.RealmReserved, identity.Username)
	match, err := c.matches(ctx, identity.Username, user.Verifier, password)
	if err != nil {
		return Login{}, err
	}
	return admit(identity, match && user.Enabled, user.Generation)
}

// matches does a hash's worth of work in any case: without a verifier (unknown
// user, no password set) it is done on the dummy, in vain.
func (c *Chain) matches(ctx context.Context, name fsm.Username, encoded string, password Secret) (bool, error) {
	if encoded != "" {
		return c.verdicts.ask(ctx, name, encoded, password)
	}
	_, err := c.verdicts.ask(ctx, name, c.dummy, password)
	return false, err
}

// admit comes after the password: a disabled user is refused like a wrong password.
func admit(identity *fsm.Identity, enabled bool, generation fsm.Generation) (Login, error) {
	if !enabled {
		return Login{}, ErrBadCredentials
	}
	return Login{Identity: identity, Generation: generation}, nil
}

func nativeIdentity(user *fsm.User) *fsm.Identity {
	return &fsm.Identity{
		Principal: fsm.Principal{
			Username: user.Username,
			Realm:    fsm.Realm{Name: fsm.RealmNative, Type: "native"},
		},
		Roles:    user.Roles,
		FullName: user.FullName,
		Email:    user.Email,
		Metadata: user.Metadata,
	}
}
