package token

import (
	"context"
	"fmt"

	"jeton/fsm"
	"jeton/node/realm"
)

// RefreshRequest shows a refresh token.
type RefreshRequest struct {
	Presented realm.Secret
	// Scope narrows the successor pair ([realm.Narrow]): both its tokens and all that
	// come after. Nil: it has the scope of the presented pair.
	Scope []string
}

// Refresh consumes a refresh token and returns its successor pair. Shown again by
// the same client within the window, at any node, it returns the same pair, byte
// for byte, with the scope that it got: a client that lost the answer may repeat the
// request.
//
// Errors: [*fsm.RefusalError] (RFC 6749, 5.2: invalid_grant), in a [*ReuseError] if
// the window was over, [ErrScope], with nothing consumed, [ErrDisabled], [ErrStale],
// [ErrUnavailable], [ErrOverloaded].
func (s *Service) Refresh(ctx context.Context, caller Caller, r RefreshRequest) (Pair, error) {
	if !s.enabled {
		return Pair{}, ErrDisabled
	}
	held, written, ok := read(refreshPrefix, r.Presented)
	if !ok {
		return Pair{}, &fsm.RefusalError{Reason: fsm.UnknownToken}
	}
	digest := written.digest()
	predecessor, err := s.refreshToken(ctx, digest)
	if err != nil {
		return Pair{}, err
	}
	identity, err := narrowed(predecessor.Identity, r.Scope)
	if err != nil {
		return Pair{}, err
	}
	pair, err := s.consume(ctx, caller, &held, digest, identity)
	if err != nil {
		return Pair{}, fmt.Errorf("refresh: %w", err)
	}
	pair.ExpiresIn = s.accessUntil(predecessor.SessionEndsAt)
	pair.Type = AuthenticationToken
	pair.Scope = pair.Identity.Scope
	return pair, nil
}

// refreshToken looks a refresh token up. It may be late in everything but the
// identity, which a pair keeps for life.
func (s *Service) refreshToken(ctx context.Context, digest fsm.Digest) (fsm.Token, error) {
	if t, found := s.view.RefreshToken(digest); found {
		return t, nil
	}
	if err := s.confirmRead(ctx); err != nil {
		return fsm.Token{}, err
	}
	if t, found := s.view.RefreshToken(digest); found {
		return t, nil
	}
	return fsm.Token{}, &fsm.RefusalError{Reason: fsm.UnknownToken}
}

// consume proposes a successor with that identity for the held token, and returns the
// one that the state machine decided on: this, or that of an earlier refresh.
func (s *Service) consume(ctx context.Context, caller Caller, held *secret, presented fsm.Digest, identity *fsm.Identity) (Pair, error) {
	var salt fsm.Salt
	header := fsm.Header{Guard: caller.Guard}
	if err := s.draw(salt[:], header.Operation[:]); err != nil {
		return Pair{}, err
	}
	access, refresh, err := s.successorOf(held, salt)
	if err != nil {
		return Pair{}, err
	}
	outcome, err := s.propose(ctx, fsm.Refresh{
		Header:          header,
		Presented:       presented,
		Client:          caller.Client(),
		Salt:            salt,
		Access:          access.digest(),
		Refresh:         refresh.digest(),
		AccessLifetime:  s.access.Milliseconds(),
		RefreshLifetime: s.refresh.Milliseconds(),
		Window:          s.window.Milliseconds(),
		KeepFamily:      s.keepFamily,
		Scope:           identity.Scope,
	})
	if outcome.Reason == fsm.Reused {
		return Pair{}, &ReuseError{Owner: identity.Principal, Ended: int(outcome.Invalidated)}
	}
	if err != nil {
		return Pair{}, err
	}
	if outcome.Salt != salt {
		access, refresh, err = s.successorOf(held, outcome.Salt)
		if err != nil {
			return Pair{}, err
		}
		if identity, err = s.issued(ctx, presented, refresh.digest()); err != nil {
			return Pair{}, err
		}
	}
	return Pair{AccessToken: access.secret(), RefreshToken: refresh.secret(), Identity: identity}, nil
}

func (s *Service) successorOf(held *secret, salt fsm.Salt) (access, refresh text, err error) {
	pair, err := successor(held, s.clusterKey, salt)
	if err != nil {
		return text{}, text{}, err
	}
	return pair.access.write(accessPrefix), pair.refresh.write(refreshPrefix), nil
}

// issued makes sure that a pair derived for a repetition is the one that was issued,
// and returns its identity. With another cluster key than that of the node which
// issued it, it would be one that nobody knows. Both may be gone meanwhile: a backup was
// restored.
func (s *Service) issued(ctx context.Context, presented, refresh fsm.Digest) (*fsm.Identity, error) {
	if t, found := s.view.RefreshToken(refresh); found {
		return t.Identity, nil
	}
	if err := s.confirmRead(ctx); err != nil {
		return nil, err
	}
	if t, found := s.view.RefreshToken(refresh); found {
		return t.Identity, nil
	}
	if _, found := s.view.RefreshToken(presented); !found {
		return nil, &fsm.RefusalError{Reason: fsm.UnknownToken}
	}
	return nil, errClusterKey
}
