package token

import (
	"context"
	"errors"
	"fmt"

	"jeton/fsm"
	"jeton/node/realm"
)

// Errors of the token service itself. A wrong password is
// [realm.ErrBadCredentials]; a refused refresh is an [*fsm.RefusalError].
var (
	// ErrExpired: the access token has expired or was invalidated.
	ErrExpired = errors.New("the access token expired")
	// ErrUnknown: no such access token, or not a token at all.
	ErrUnknown = errors.New("the access token is unknown or malformed")
	// ErrNoCredentials: the request carried nothing to authenticate with.
	ErrNoCredentials = errors.New("no credentials")
	// ErrScope: the scope asked for names no cluster privilege, or is wider than what the
	// token is made of (RFC 6749, 5.2: invalid_scope).
	ErrScope = realm.ErrScope
	// ErrRunAs: the caller may not act as that user, or nobody may.
	ErrRunAs = realm.ErrRunAs
	// ErrDisabled: the token service is switched off.
	ErrDisabled = errors.New("security tokens are not enabled")
)

// Errors shared with the other use cases.
var (
	// ErrUnavailable: no quorum, no leader, or the outcome of a write is not known.
	// Nothing is said about the token or password; repeating is safe.
	ErrUnavailable = realm.ErrUnavailable
	// ErrOverloaded: refused before anything was done, because too much is waiting.
	ErrOverloaded = realm.ErrOverloaded
	// ErrStale: what the caller's authentication rested on has changed, and nothing
	// was done. Authenticate again with a confirmed read, then repeat.
	ErrStale = realm.ErrStale
)

// ReuseError is a refresh token that was used again after the window: two parties
// hold it, and nobody can tell which of them stole it (RFC 9700, 4.14.2). It wraps
// the [*fsm.RefusalError] that a client is answered with.
type ReuseError struct {
	Owner fsm.Principal // whose session it was
	Ended int           // tokens that ended with it; 0 if the family was left alive
}

// Error names nobody and nothing.
func (*ReuseError) Error() string { return "refresh token reused" }

// Unwrap returns the refusal.
func (*ReuseError) Unwrap() error { return &fsm.RefusalError{Reason: fsm.Reused} }

// Malformed tells, for the log, the two kinds of [ErrUnknown] apart: a string that is
// no cluster's access token, and one that may be or have been some cluster's.
func Malformed(bearer realm.Secret) bool {
	_, _, ok := read(accessPrefix, bearer)
	return !ok
}

// propose has the state machine decide on c. A refusal is an error, [ErrStale] or an
// [*fsm.RefusalError], and comes with its outcome.
func (s *Service) propose(ctx context.Context, c fsm.Command) (fsm.Outcome, error) {
	outcome, err := s.log.Propose(ctx, c)
	if err != nil {
		return fsm.Outcome{}, patience("propose", err)
	}
	switch outcome.Reason {
	case fsm.Done:
		return outcome, nil
	case fsm.StaleDecision:
		return fsm.Outcome{}, ErrStale
	case fsm.Expired:
		// Whether an earlier proposal of this operation took effect is forgotten.
		return fsm.Outcome{}, fmt.Errorf("propose: outcome forgotten: %w", ErrUnavailable)
	case fsm.DigestTaken, fsm.UnknownToken, fsm.RefreshExpired, fsm.TokenInvalidated, fsm.NotCreatingClient,
		fsm.Reused, fsm.UnknownUser, fsm.PasswordRequired, fsm.AlreadySet, fsm.NotOwned,
		fsm.RestoreLost, fsm.RestoreUnreadable, fsm.RestoreForeign, fsm.RestoreOutdated, fsm.RestoreAhead:
	}
	return outcome, &fsm.RefusalError{Reason: outcome.Reason}
}

// confirmRead returns once this node's state holds everything acknowledged
// before the call.
func (s *Service) confirmRead(ctx context.Context) error {
	if err := s.confirm(ctx); err != nil {
		return fmt.Errorf("confirm read: %w", ensure(ErrUnavailable, err))
	}
	return nil
}

// patience says what was attempted. If only the caller's patience ended, the
// answer is not known.
func patience(attempted string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = ensure(ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", attempted, err)
}

// ensure makes err match target.
func ensure(target, err error) error {
	if errors.Is(err, target) {
		return err
	}
	return fmt.Errorf("%w: %w", target, err)
}
