package token

import (
	"context"
	"fmt"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// Refresh consumes a refresh token and returns its successor pair. Shown again by
// the same client within the window, at any node, it returns the same pair, byte
// for byte: a client that lost the answer may repeat the request.
//
// Errors: [*fsm.RefusalError] (RFC 6749, 5.2: invalid_grant), in a [*ReuseError] if
// the window was over, [ErrDisabled], [ErrStale], [ErrUnavailable], [ErrOverloaded].
func (s *Service) Refresh(ctx context.Context, caller Caller, presented realm.Secret) (Pair, error) {
	if !s.enabled {
		return Pair{}, ErrDisabled
	}
	held, written, ok := read(refreshPrefix, presented)
	if !ok {
		return Pair{}, &fsm.RefusalError{Reason: fsm.UnknownToken}
	}
	digest := written.digest()
	predecessor, err := s.refreshToken(ctx, digest)
	if err != nil {
		return Pair{}, err
	}
	pair, err := s.consume(ctx, caller, &held, digest, predecessor.Identity)
	if err != nil {
		return Pair{}, fmt.Errorf("refresh: %w", err)
	}
	pair.ExpiresIn = s.access
	if end := predecessor.SessionEndsAt; end != 0 {
		left := time.UnixMilli(int64(end)).Sub(s.now())
		pair.ExpiresIn = s.accessWithin(max(left, time.Millisecond))
	}
	pair.Identity = predecessor.Identity
	pair.Type = AuthenticationToken
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

// consume proposes a successor for the held token, and returns the one that the
// state machine decided on: this, or that of an earlier refresh. Owner is whom the
// held token is for.
func (s *Service) consume(ctx context.Context, caller Caller, held *secret, presented fsm.Digest, owner *fsm.Identity) (Pair, error) {
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
		Client:          caller.Identity.Principal,
		Salt:            salt,
		Access:          access.digest(),
		Refresh:         refresh.digest(),
		AccessLifetime:  s.access.Milliseconds(),
		RefreshLifetime: s.refresh.Milliseconds(),
		Window:          s.window.Milliseconds(),
		KeepFamily:      s.keepFamily,
	})
	if outcome.Reason == fsm.Reused {
		return Pair{}, &ReuseError{Owner: owner.Principal, Ended: int(outcome.Invalidated)}
	}
	if err != nil {
		return Pair{}, err
	}
	if outcome.Salt != salt {
		access, refresh, err = s.successorOf(held, outcome.Salt)
		if err != nil {
			return Pair{}, err
		}
		if err := s.checkIssued(ctx, refresh.digest()); err != nil {
			return Pair{}, err
		}
	}
	return Pair{AccessToken: access.secret(), RefreshToken: refresh.secret()}, nil
}

func (s *Service) successorOf(held *secret, salt fsm.Salt) (access, refresh text, err error) {
	pair, err := successor(held, s.clusterKey, salt)
	if err != nil {
		return text{}, text{}, err
	}
	return pair.access.write(accessPrefix), pair.refresh.write(refreshPrefix), nil
}

// checkIssued makes sure that a pair derived for a repetition is the one that was
// issued. With another cluster key than that of the node which issued it, it would
// be one that nobody knows.
func (s *Service) checkIssued(ctx context.Context, refresh fsm.Digest) error {
	if _, found := s.view.RefreshToken(refresh); found {
		return nil
	}
	if err := s.confirmRead(ctx); err != nil {
		return err
	}
	if _, found := s.view.RefreshToken(refresh); found {
		return nil
	}
	return errClusterKey
}
