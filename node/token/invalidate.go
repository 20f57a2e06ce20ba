package token

import (
	"context"
	"errors"
	"fmt"

	"jeton/fsm"
	"jeton/node/realm"
)

// errInvalidateTarget: the request names nothing to invalidate, or two things
// that do not go together. Proposing it could end more than was meant.
var errInvalidateTarget = errors.New("invalidate: want an access token, or a refresh token, or a realm and/or a username")

// InvalidateRequest names the tokens to end: one by Token (an access token) or by
// RefreshToken, or all of a Realm's users and/or of a Username.
type InvalidateRequest struct {
	Token        realm.Secret
	RefreshToken realm.Secret
	Realm        fsm.RealmName
	Username     fsm.Username
}

// Counts tell what an invalidation met. An access token and its refresh token
// count separately.
type Counts struct {
	Invalidated           int
	PreviouslyInvalidated int
}

// Invalidate ends tokens on all nodes: once it returns, none answers "valid" for
// them. An unknown token, a malformed one, and one of the other kind give zero
// counts.
//
// Errors: [ErrDisabled], [ErrStale], [ErrUnavailable], [ErrOverloaded].
func (s *Service) Invalidate(ctx context.Context, caller Caller, r InvalidateRequest) (Counts, error) {
	if !s.enabled {
		return Counts{}, ErrDisabled
	}
	c := fsm.Invalidate{
		Header:   fsm.Header{Guard: caller.Guard},
		Realm:    r.Realm,
		Username: r.Username,
	}
	many := r.Realm != "" || r.Username != ""
	switch {
	case !r.Token.IsZero() && r.RefreshToken.IsZero() && !many:
		_, written, ok := read(accessPrefix, r.Token)
		if !ok {
			return Counts{}, nil
		}
		c.Access = written.digest()
	case !r.RefreshToken.IsZero() && r.Token.IsZero() && !many:
		_, written, ok := read(refreshPrefix, r.RefreshToken)
		if !ok {
			return Counts{}, nil
		}
		c.Refresh = written.digest()
	case !many || !r.Token.IsZero() || !r.RefreshToken.IsZero():
		return Counts{}, errInvalidateTarget
	}
	if len(r.Realm) > fsm.MaxNameBytes || len(r.Username) > fsm.MaxNameBytes {
		return Counts{}, nil // nobody can have such a name
	}
	if err := s.draw(c.Operation[:]); err != nil {
		return Counts{}, err
	}
	// Not looked up first: this node's state may be late, and the log's answer about
	// an unknown token is as good as a confirmed read.
	outcome, err := s.propose(ctx, c)
	if err != nil {
		return Counts{}, fmt.Errorf("invalidate: %w", err)
	}
	return Counts{
		Invalidated:           int(outcome.Invalidated),
		PreviouslyInvalidated: int(outcome.PreviouslyInvalidated),
	}, nil
}
