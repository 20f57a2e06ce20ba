package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// errInvalidateTarget: the request names nothing to invalidate, or two things
// that do not go together. Proposing it could end more than was meant.
var errInvalidateTarget = errors.New("invalidate: want an access token, or a refresh token, or ids, or the caller's own, " +
	"or a realm and/or a username, or all")

// MaxIDs bounds InvalidateRequest.IDs.
const MaxIDs = fsm.MaxNamed

// InvalidateRequest names the tokens to end: one by Token (an access token) or by
// RefreshToken, or pairs by their IDs, or all of a Realm's users and/or of a Username,
// or the caller's own (Owner), or All.
type InvalidateRequest struct {
	Token        realm.Secret
	RefreshToken realm.Secret
	IDs          []fsm.Digest // as [Service.Sessions] lists them, at most [MaxIDs]; whole pairs
	Reach        fsm.Reach    // what ends with a Token, RefreshToken or ID that is named
	// OwnOnly is for a caller who may end nothing but its own: unless all that is named
	// is the caller's, or was obtained by it, nothing ends and the error is an
	// [*fsm.RefusalError] with NotOwned. The state machine decides it. What does not exist
	// is nobody's, and not refused.
	OwnOnly bool

	Realm    fsm.RealmName
	Username fsm.Username
	Owner    bool // what speaks for the caller, not what it obtained for others
	All      bool
	// CreatedBefore, unless zero, spares of many what was created then or later. A
	// successor is created by its refresh.
	CreatedBefore time.Time
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
// Errors: [*fsm.RefusalError] (with OwnOnly), [ErrDisabled], [ErrStale],
// [ErrUnavailable], [ErrOverloaded].
func (s *Service) Invalidate(ctx context.Context, caller Caller, r InvalidateRequest) (Counts, error) {
	if !s.enabled {
		return Counts{}, ErrDisabled
	}
	c, exists, err := r.command(caller)
	if err != nil || !exists {
		return Counts{}, err
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

// command returns what is proposed. False: there can be no such token or user.
func (r *InvalidateRequest) command(caller Caller) (c fsm.Invalidate, exists bool, err error) {
	c.Guard = caller.Guard
	named := !r.Token.IsZero() || !r.RefreshToken.IsZero() || len(r.IDs) > 0
	many := r.Realm != "" || r.Username != ""
	if !exactlyOne(!r.Token.IsZero(), !r.RefreshToken.IsZero(), len(r.IDs) > 0, many, r.Owner, r.All) ||
		!named && (r.Reach != fsm.ReachToken || r.OwnOnly) || named && !r.CreatedBefore.IsZero() {
		return c, false, errInvalidateTarget
	}
	if named {
		return r.named(c, caller)
	}
	c.All, c.Realm, c.Username = r.All, r.Realm, r.Username
	if r.Owner {
		c.Realm, c.Username = caller.Identity.Realm.Name, caller.Identity.Username
	}
	if !r.CreatedBefore.IsZero() {
		// Whatever was created before a moment before 1970 or after the last one there is.
		c.CreatedBefore = min(max(fsm.UnixMilli(r.CreatedBefore.UnixMilli()), 1), fsm.MaxMoment)
	}
	return c, len(c.Realm) <= fsm.MaxNameBytes && len(c.Username) <= fsm.MaxNameBytes, nil
}

// named completes the command with the tokens that are named.
func (r *InvalidateRequest) named(c fsm.Invalidate, caller Caller) (fsm.Invalidate, bool, error) {
	c.Reach = r.Reach
	if r.OwnOnly {
		c.OwnedBy = caller.Identity.Principal
	}
	switch {
	case len(r.IDs) > MaxIDs:
		return c, false, errInvalidateTarget
	case len(r.IDs) > 0:
		c.Reach = max(c.Reach, fsm.ReachPair)
		c.Pairs = slices.Clone(r.IDs)
		slices.SortFunc(c.Pairs, func(a, b fsm.Digest) int { return bytes.Compare(a[:], b[:]) })
		c.Pairs = slices.Compact(c.Pairs)
		if c.Pairs[0] == (fsm.Digest{}) { // no token has it
			c.Pairs = c.Pairs[1:]
		}
		return c, len(c.Pairs) > 0, nil
	case !r.Token.IsZero():
		_, written, ok := read(accessPrefix, r.Token)
		c.Access = written.digest()
		return c, ok, nil
	default:
		_, written, ok := read(refreshPrefix, r.RefreshToken)
		c.Refresh = written.digest()
		return c, ok, nil
	}
}

func exactlyOne(conditions ...bool) bool {
	n := 0
	for _, holds := range conditions {
		if holds {
			n++
		}
	}
	return n == 1
}
