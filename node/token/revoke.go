package token

import (
	"context"
	"fmt"

	"jeton/fsm"
)

// Revoke ends the token that is shown (RFC 7009, 2.1): an access token alone, a refresh
// token with all that came of the same login. The state machine decides whether the
// caller may. A token that it may not end counts as one that does not exist.
//
// Errors: [ErrUnknown] for what is no token at all, with nothing asked of the state
// machine, [ErrDisabled], [ErrStale], [ErrUnavailable], [ErrOverloaded].
func (s *Service) Revoke(ctx context.Context, caller Caller, p Presented) (Counts, error) {
	if !s.enabled {
		return Counts{}, ErrDisabled
	}
	c := fsm.Invalidate{Header: fsm.Header{Guard: caller.Guard}}
	if _, written, ok := read(accessPrefix, p.Token); ok {
		c.Access = written.digest()
	} else if _, written, ok := read(refreshPrefix, p.Token); ok {
		c.Refresh, c.Reach = written.digest(), fsm.ReachFamily
	} else {
		return Counts{}, ErrUnknown
	}
	switch {
	case p.Any:
	case p.Own:
		c.OwnedBy = caller.Identity.Principal
	default:
		return Counts{}, ErrUnknown // it may not even end what is its own
	}
	if err := s.draw(c.Operation[:]); err != nil {
		return Counts{}, err
	}
	outcome, err := s.propose(ctx, c)
	switch {
	case outcome.Reason == fsm.NotOwned:
		return Counts{}, nil
	case err != nil:
		return Counts{}, fmt.Errorf("revoke: %w", err)
	}
	return Counts{
		Invalidated:           int(outcome.Invalidated),
		PreviouslyInvalidated: int(outcome.PreviouslyInvalidated),
	}, nil
}
