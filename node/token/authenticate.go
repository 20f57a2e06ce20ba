package token

import (
	"context"
	"errors"
	"fmt"

	"jeton/fsm"
	"jeton/node/realm"
)

// Scheme is an HTTP authentication scheme, as RFC 7617 and RFC 6750 spell it.
type Scheme string

// The schemes. The zero Scheme stands for a request without credentials.
const (
	SchemeBasic  Scheme = "Basic"
	SchemeBearer Scheme = "Bearer"
)

// Credentials are what a request showed to prove who sent it.
type Credentials struct {
	Scheme   Scheme
	Username string       // Basic
	Password realm.Secret // Basic
	Bearer   realm.Secret // Bearer: an access token
}

// AuthenticationType tells how a caller was authenticated, in Elasticsearch's words.
type AuthenticationType string

// The types of authentication.
const (
	AuthenticationRealm AuthenticationType = "realm" // by username and password
	AuthenticationToken AuthenticationType = "token" // by access token, or by refresh token
)

// Caller is an authenticated sender of a request.
type Caller struct {
	// Identity is whose rights the request has: the user acted as, if the sender acts
	// for another (RunBy), within the Scope of its token. Shared and immutable.
	Identity *fsm.Identity
	Type     AuthenticationType
	// Guard is what the authentication rested on; every command proposed for this
	// caller carries it. The version of the roles in it was read before Authenticate
	// returned: evaluate privileges after, and a change of roles in between cannot
	// slip through.
	Guard fsm.Guard
	// AccessDigest names the access token presented; zero for a login.
	AccessDigest fsm.Digest
}

// Client is the caller as the one that obtains a pair.
func (c Caller) Client() fsm.Client {
	client := fsm.Client{Principal: c.Identity.Principal}
	if c.Identity.RunBy != nil {
		client.RunBy = c.Identity.RunBy.Principal
	}
	return client
}

// Authenticate finds out whose credentials these are, for an answer: once it
// returns, this node's state has everything that was acknowledged before the call.
//
// Errors: [ErrNoCredentials], [ErrExpired], [ErrUnknown], [ErrUnavailable], and
// those of the realms.
func (s *Service) Authenticate(ctx context.Context, c Credentials) (Caller, error) {
	switch c.Scheme {
	case SchemeBearer:
		digest, err := s.accessDigest(c.Bearer)
		if err != nil {
			return Caller{}, err
		}
		t, found := s.view.AccessToken(digest)
		if found && s.over(&t) {
			return Caller{}, ErrExpired
		}
		if err := s.confirmRead(ctx); err != nil {
			return Caller{}, err
		}
		return s.bearer(digest)
	case SchemeBasic:
		if err := s.confirmRead(ctx); err != nil {
			return Caller{}, err
		}
		login, err := s.verify(ctx, c.Username, c.Password)
		return s.loggedIn(login, err)
	default:
		return Caller{}, ErrNoCredentials
	}
}

// Recognize is like Authenticate for an answer of the caller alone: who it is, and what
// its roles grant it. Of those nothing acknowledged before the call is missing, but of all
// else in this node's state: for while this node holds a read lease it asks nobody about a
// token that it finds live.
func (s *Service) Recognize(ctx context.Context, c Credentials) (Caller, error) {
	if c.Scheme == SchemeBearer {
		digest, err := s.accessDigest(c.Bearer)
		if err != nil {
			return Caller{}, err
		}
		if t, found := s.view.AccessToken(digest); found && !t.MadeFromToken && s.knows(digest, t.Identity) {
			if caller, err := s.bearer(digest); err == nil {
				return caller, nil
			}
		}
		// What is unknown may just have been issued, and what has expired may only have
		// done so by this node's clock.
	}
	return s.Authenticate(ctx, c)
}

// AuthenticateForWrite is like Authenticate for a request that ends in a
// proposal with the Caller's Guard. It spares the confirmed read where it can: a
// Caller it returns may rest on a late state, but then the state machine refuses
// the proposal, which surfaces as [ErrStale].
func (s *Service) AuthenticateForWrite(ctx context.Context, c Credentials) (Caller, error) {
	switch c.Scheme {
	case SchemeBearer:
		digest, err := s.accessDigest(c.Bearer)
		if err != nil {
			return Caller{}, err
		}
		if caller, err := s.bearer(digest); err == nil {
			return caller, nil // live by this node's state, and guarded
		}
		if s.gone(digest) {
			return Caller{}, ErrExpired
		}
		if err := s.confirmRead(ctx); err != nil {
			return Caller{}, err
		}
		return s.bearer(digest)
	case SchemeBasic:
		login, err := s.login(ctx, c.Username, c.Password)
		return s.loggedIn(login, err)
	default:
		return Caller{}, ErrNoCredentials
	}
}

// accessDigest refuses, without a look-up, what cannot be an access token.
func (s *Service) accessDigest(bearer realm.Secret) (fsm.Digest, error) {
	_, written, ok := read(accessPrefix, bearer)
	if !ok || !s.enabled {
		return fsm.Digest{}, ErrUnknown
	}
	return written.digest(), nil
}

// bearer judges an access token by this node's state.
func (s *Service) bearer(digest fsm.Digest) (Caller, error) {
	t, found := s.view.AccessToken(digest)
	switch {
	case !found:
		return Caller{}, ErrUnknown
	case s.dead(&t):
		return Caller{}, ErrExpired
	}
	caller := Caller{
		Identity:     t.Identity,
		Type:         AuthenticationToken,
		Guard:        fsm.Guard{Bearer: digest, RolesVersion: s.view.RolesVersion()},
		AccessDigest: digest,
	}
	if actor := t.Identity.RunBy; actor != nil {
		// Its owner's changes end the token; its actor's have to be looked at.
		if !s.realms.MayRun(t.Identity) {
			return Caller{}, ErrExpired
		}
		caller.Guard.RunBy, caller.Guard.RunByGeneration = actor.Principal, actor.Generation
	}
	return caller, nil
}

// RunAs returns the caller that acts as another user (Elasticsearch's run-as): with
// that user's rights, and no others. It judges by this node's state, as
// [Service.AuthenticateForWrite] does: an error is to be believed after
// [Service.Authenticate] only.
//
// Errors: [ErrRunAs], and [ErrStale] if the caller has changed since it was
// authenticated.
func (s *Service) RunAs(caller Caller, name fsm.Username) (Caller, error) {
	login, err := s.realms.RunAs(caller.Identity, name)
	if err != nil {
		return Caller{}, fmt.Errorf("run as: %w", err)
	}
	actor := login.Identity.RunBy
	if caller.Guard.Caller != (fsm.Principal{}) && caller.Guard.CallerGeneration != actor.Generation {
		return Caller{}, ErrStale
	}
	return Caller{
		Identity: login.Identity,
		Type:     caller.Type,
		Guard: fsm.Guard{
			Caller:           login.Identity.Principal,
			CallerGeneration: login.Generation,
			RunBy:            actor.Principal,
			RunByGeneration:  actor.Generation,
			Bearer:           caller.Guard.Bearer,
			RolesVersion:     caller.Guard.RolesVersion,
		},
		AccessDigest: caller.AccessDigest,
	}, nil
}

// gone tells whether an access token is known and [Service.over].
func (s *Service) gone(digest fsm.Digest) bool {
	t, found := s.view.AccessToken(digest)
	return found && s.over(&t)
}

// over tells whether an access token is over beyond doubt, so that it can be refused
// without a confirmed read: it was invalidated, or has expired by the time on the
// log. This node's idea of the time may be wrong until a leader has told it.
func (s *Service) over(t *fsm.Token) bool {
	return t.AccessInvalidated || s.view.Now() > t.AccessExpiresAt
}

// dead tells whether an access token is over. It is valid at the very
// millisecond of its expiry.
func (s *Service) dead(t *fsm.Token) bool {
	return t.AccessInvalidated || fsm.UnixMilli(s.now().UnixMilli()) > t.AccessExpiresAt
}

func (s *Service) loggedIn(login realm.Login, err error) (Caller, error) {
	if err != nil {
		return Caller{}, err
	}
	return Caller{
		Identity: login.Identity,
		Type:     AuthenticationRealm,
		Guard: fsm.Guard{
			Caller:           login.Identity.Principal,
			CallerGeneration: login.Generation,
			RolesVersion:     s.view.RolesVersion(),
		},
	}, nil
}

// login verifies a password. A good one is good by this node's state, as of the
// Login's Generation; a bad one is bad by everything acknowledged before the call.
func (s *Service) login(ctx context.Context, username string, password realm.Secret) (realm.Login, error) {
	login, err := s.verify(ctx, username, password)
	if !errors.Is(err, realm.ErrBadCredentials) {
		return login, err
	}
	// The user may have been created, or the password changed, elsewhere.
	if err := s.confirmRead(ctx); err != nil {
		return realm.Login{}, err
	}
	return s.verify(ctx, username, password)
}

// verify judges a password by this node's state.
func (s *Service) verify(ctx context.Context, username string, password realm.Secret) (realm.Login, error) {
	login, err := s.realms.Authenticate(ctx, username, password)
	if err != nil {
		return realm.Login{}, patience("verify password", err)
	}
	return login, nil
}
