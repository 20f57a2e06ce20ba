package token

import (
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// Introspection is what there is to know of a token (RFC 7662, 2.2).
type Introspection struct {
	// Active tells whether the token can be used. If not, nothing else is told: the
	// other fields are zero.
	Active bool
	// RefreshToken tells what kind it is; false: an access token.
	RefreshToken bool
	// Pair names the pair that the token belongs to: the digest of its access token.
	Pair      fsm.Digest
	Identity  *fsm.Identity // whom the token is for, shared and immutable
	Client    fsm.Client    // who obtained it
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// Presented is a token that somebody shows, to ask about it or to have it ended.
type Presented struct {
	Token realm.Secret // of either kind
	// Own allows it for tokens that are for the caller or that the caller obtained; Any
	// for everybody's.
	Own, Any bool
}

// Introspect tells about a token, by this node's state: the caller must come from
// [Service.Authenticate], whose confirmed read is also this answer's. Everybody may ask
// about the access token that it authenticated with; one that the caller may not ask
// about is not active.
func (s *Service) Introspect(caller Caller, p Presented) Introspection {
	found := s.inspect(p.Token)
	switch {
	case !found.Active:
	case p.Any:
		return found
	case !found.RefreshToken && found.Pair == caller.AccessDigest:
		return found
	case p.Own && (found.Identity.Principal == caller.Identity.Principal || found.Client == caller.Client()):
		return found
	}
	return Introspection{}
}

func (s *Service) inspect(presented realm.Secret) Introspection {
	if !s.enabled {
		return Introspection{}
	}
	if _, written, ok := read(accessPrefix, presented); ok {
		digest := written.digest()
		t, found := s.view.AccessToken(digest)
		if _, err := s.bearer(digest); !found || err != nil {
			return Introspection{}
		}
		return Introspection{
			Active: true, Pair: digest, Identity: t.Identity, Client: *t.Client,
			IssuedAt: moment(t.CreatedAt), ExpiresAt: moment(t.AccessExpiresAt),
		}
	}
	if _, written, ok := read(refreshPrefix, presented); ok {
		return s.inspectRefresh(written.digest())
	}
	return Introspection{}
}

// inspectRefresh takes a refresh token that was used for dead, also while it would
// still get its successors once more: nothing new comes of it.
func (s *Service) inspectRefresh(digest fsm.Digest) Introspection {
	t, found := s.view.RefreshToken(digest)
	if !found || t.RefreshInvalidated || t.Refreshed || fsm.UnixMilli(s.now().UnixMilli()) > t.RefreshExpiresAt {
		return Introspection{}
	}
	return Introspection{
		Active: true, RefreshToken: true, Identity: t.Identity, Client: *t.Client,
		IssuedAt: moment(t.CreatedAt), ExpiresAt: moment(t.RefreshExpiresAt),
	}
}

func moment(at fsm.UnixMilli) time.Time { return time.UnixMilli(int64(at)) }
