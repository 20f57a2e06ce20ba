package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// GrantType is what a pair is asked for with (RFC 6749, 1.3).
type GrantType string

// The grant types. GrantRefreshToken is [Service.Refresh].
const (
	GrantPassword          GrantType = "password"
	GrantClientCredentials GrantType = "client_credentials"
	GrantRefreshToken      GrantType = "refresh_token"
)

// ErrGrantType means that the grant type is not one that Issue knows.
var ErrGrantType = errors.New("unsupported grant type")

// IssueRequest asks for tokens.
type IssueRequest struct {
	GrantType GrantType
	Username  string       // GrantPassword: whose token it shall be
	Password  realm.Secret // GrantPassword
	// Scope narrows the tokens to cluster privileges ([realm.Narrow]). Nil: to nothing
	// less than what they are made of, the user or, with GrantClientCredentials, the
	// caller, who may be narrowed itself.
	Scope []string
}

// Pair is what a grant yields.
type Pair struct {
	AccessToken  realm.Secret
	RefreshToken realm.Secret  // empty with GrantClientCredentials
	ExpiresIn    time.Duration // the access token's lifetime
	// Identity is whom the tokens speak for, shared and immutable; Type is how that
	// was established.
	Identity *fsm.Identity
	Type     AuthenticationType
	Scope    []string // what the tokens are narrowed to; nil: full
}

// Issue draws new tokens: a pair for the user whose password is shown
// (GrantPassword), or an access token alone for the caller itself
// (GrantClientCredentials; RFC 6749, 4.4.3: no refresh token).
//
// Errors: [ErrDisabled], [ErrGrantType], [ErrScope], [ErrStale], [ErrUnavailable],
// [ErrOverloaded], and those of the realms about the user's password.
func (s *Service) Issue(ctx context.Context, caller Caller, r IssueRequest) (Pair, error) {
	if !s.enabled {
		return Pair{}, ErrDisabled
	}
	switch r.GrantType {
	case GrantPassword:
		return s.issueForPassword(ctx, caller, r)
	case GrantClientCredentials:
		return s.issueForCaller(ctx, caller, r.Scope)
	case GrantRefreshToken:
		return Pair{}, ErrGrantType
	default:
		return Pair{}, ErrGrantType
	}
}

func (s *Service) issueForPassword(ctx context.Context, caller Caller, r IssueRequest) (Pair, error) {
	login, err := s.login(ctx, r.Username, r.Password)
	if err != nil {
		return Pair{}, err
	}
	identity, err := narrowed(login.Identity, r.Scope)
	if err != nil {
		return Pair{}, err
	}
	var drawn pairSecrets
	header := fsm.Header{Guard: caller.Guard}
	if err := s.draw(drawn.access[:], drawn.refresh[:], header.Operation[:]); err != nil {
		return Pair{}, err
	}
	access, refresh := drawn.access.write(accessPrefix), drawn.refresh.write(refreshPrefix)
	_, err = s.propose(ctx, fsm.Issue{
		Header:             header,
		Access:             access.digest(),
		Refresh:            refresh.digest(),
		Identity:           *identity,
		IdentityGeneration: login.Generation,
		Client:             caller.Client(),
		AccessLifetime:     s.access.Milliseconds(),
		RefreshLifetime:    s.refresh.Milliseconds(),
		SessionLifetime:    s.session.Milliseconds(),
	})
	if err != nil {
		return Pair{}, fmt.Errorf("issue pair: %w", err)
	}
	return Pair{
		AccessToken:  access.secret(),
		RefreshToken: refresh.secret(),
		ExpiresIn:    s.accessWithin(s.session),
		Identity:     identity,
		Type:         AuthenticationRealm,
		Scope:        identity.Scope,
	}, nil
}

// narrowed returns the identity with the scope that is asked of it.
func narrowed(identity *fsm.Identity, asked []string) (*fsm.Identity, error) {
	scope, err := realm.Narrow(identity.Scope, asked)
	if err != nil {
		return nil, fmt.Errorf("narrow: %w", err)
	}
	if slices.Equal(scope, identity.Scope) {
		return identity, nil
	}
	narrow := *identity
	narrow.Scope = scope
	return &narrow, nil
}

// accessWithin is the lifetime of an access token of a session that lasts so much
// longer; 0: without end.
func (s *Service) accessWithin(session time.Duration) time.Duration {
	if session == 0 {
		return s.access
	}
	return min(s.access, session)
}

// accessUntil is the lifetime of an access token that is made now, in a session that
// ends at that moment; zero: without end.
func (s *Service) accessUntil(end fsm.UnixMilli) time.Duration {
	if end == 0 {
		return s.access
	}
	left := time.UnixMilli(int64(end)).Sub(s.now())
	return s.accessWithin(max(left, time.Millisecond))
}

// issueForCaller needs no generation of the identity: it is the caller's, and the
// guard speaks for the caller (for a token caller: the token is live). A token that is
// made from a token does not outlast it.
func (s *Service) issueForCaller(ctx context.Context, caller Caller, scope []string) (Pair, error) {
	identity, err := narrowed(caller.Identity, scope)
	if err != nil {
		return Pair{}, err
	}
	var drawn secret
	header := fsm.Header{Guard: caller.Guard}
	if err := s.draw(drawn[:], header.Operation[:]); err != nil {
		return Pair{}, err
	}
	access := drawn.write(accessPrefix)
	_, err = s.propose(ctx, fsm.Issue{
		Header:          header,
		Access:          access.digest(),
		Identity:        *identity,
		Client:          caller.Client(),
		AccessLifetime:  s.access.Milliseconds(),
		SessionLifetime: s.session.Milliseconds(),
		WithinSession:   caller.Guard.Bearer != fsm.Digest{},
	})
	if err != nil {
		return Pair{}, fmt.Errorf("issue access token: %w", err)
	}
	lifetime := s.accessWithin(s.session)
	if t, found := s.view.AccessToken(caller.Guard.Bearer); found {
		lifetime = s.accessUntil(t.AccessExpiresAt) // the end of the session is not before
	}
	return Pair{
		AccessToken: access.secret(),
		ExpiresIn:   lifetime,
		Identity:    identity,
		Type:        caller.Type,
		Scope:       identity.Scope,
	}, nil
}

// draw fills the parts with random bytes.
func (s *Service) draw(parts ...[]byte) error {
	for _, part := range parts {
		if _, err := io.ReadFull(s.random, part); err != nil {
			return fmt.Errorf("draw random bytes: %w", err)
		}
	}
	return nil
}
