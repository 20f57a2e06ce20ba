package token

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"jeton/fsm"
)

// MaxSessions bounds a page of [Service.Sessions].
const MaxSessions = 1000

// maxLists bounds the looks at the state, of some 2,000 pairs each, that one page may
// take: about a million pairs, a tenth of a second.
const maxLists = 500

// ErrCursor means that SessionsRequest.After is not the end of any page.
var ErrCursor = errors.New("not the end of a page")

// SessionsRequest asks for pairs. Empty fields do not narrow.
type SessionsRequest struct {
	Realm    fsm.RealmName
	Username fsm.Username
	Owner    bool   // the caller's own instead
	Active   bool   // only pairs of which something can still be used
	Size     int    // pairs at most, 1 to MaxSessions
	After    string // SessionsPage.After of the page before; empty: from the beginning
}

// Session is one pair in a listing. Of all pairs that come of one login, exactly one
// was not Refreshed.
type Session struct {
	fsm.Listed
	Active bool // its access token, or its unused refresh token, can still be used
}

// SessionsPage is one page of a listing.
type SessionsPage struct {
	// Sessions are newest first if they are one owner's, else in no order that means
	// anything. There may be fewer than asked for, or none, before the end.
	Sessions []Session
	After    string // where the next page begins; empty: there is none
}

// Sessions lists pairs, without secrets, from this node's state: confirm the read
// before, as [Service.Authenticate] does. Pairs come and go between the pages; one
// that is there all the time is on one of them. It does not judge who may see what.
//
// Errors: [ErrCursor], [ErrDisabled], [ErrUnavailable].
func (s *Service) Sessions(ctx context.Context, caller Caller, r SessionsRequest) (SessionsPage, error) {
	if !s.enabled {
		return SessionsPage{}, ErrDisabled
	}
	after, ok := readCursor(r.After)
	if !ok {
		return SessionsPage{}, ErrCursor
	}
	now := fsm.UnixMilli(s.now().UnixMilli())
	q := fsm.Listing{Realm: r.Realm, Username: r.Username, After: after}
	if r.Owner {
		q.Realm, q.Username = caller.Identity.Realm.Name, caller.Identity.Username
	}
	if r.Active {
		q.ActiveAt = now
	}
	var page SessionsPage
	for range maxLists {
		if err := ctx.Err(); err != nil {
			return SessionsPage{}, patience("list sessions", err)
		}
		q.Limit = min(max(r.Size, 1), MaxSessions) - len(page.Sessions)
		var found []fsm.Listed
		found, q.After = s.view.List(q)
		for _, v := range found {
			page.Sessions = append(page.Sessions, Session{Listed: v, Active: v.ActiveAt(now)})
		}
		if q.After == (fsm.Position{}) || len(found) == q.Limit {
			break
		}
	}
	page.After = writeCursor(q.After)
	return page, nil
}

// cursor is a position as a client keeps it: slot (4), moment (8), digest (24).
type cursor [36]byte

func writeCursor(p fsm.Position) string {
	if p == (fsm.Position{}) {
		return ""
	}
	var c cursor
	binary.BigEndian.PutUint32(c[:], p.Slot)
	binary.BigEndian.PutUint64(c[4:], uint64(p.CreatedAt)) //nolint:gosec // the bits are meant
	copy(c[12:], p.ID[:])
	return base64.RawURLEncoding.EncodeToString(c[:])
}

func readCursor(text string) (p fsm.Position, ok bool) {
	if text == "" {
		return p, true
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(cursor{}) {
		return p, false
	}
	return fsm.Position{
		Slot:      binary.BigEndian.Uint32(b),
		CreatedAt: fsm.UnixMilli(binary.BigEndian.Uint64(b[4:])), //nolint:gosec // any value is safe
		ID:        fsm.Digest(b[12:]),
	}, true
}
