package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

const actionInvalidateToken = "cluster:admin/xpack/security/token/invalidate"

// paramConfirm must be true for all tokens to be invalidated.
const paramConfirm = "confirm"

// invalidateParser is Elasticsearch's name of the parser of an invalidation's body.
const invalidateParser = "invalidate_token"

// invalidateRequest is the body of an invalidation. Zero: the member is absent, or
// counts as absent: empty, false, or for names blank.
type invalidateRequest struct {
	token, refreshToken *realm.Secret
	realmName, username *string

	// Those that Elasticsearch does not have.
	ids           []string // nil: absent
	owner, all    bool
	pair, family  bool
	createdBefore time.Time
}

func parseInvalidateRequest(body []byte) (invalidateRequest, error) {
	var q invalidateRequest
	err := parseFields(invalidateParser, body, []field{
		{name: "token", secret: &q.token},
		{name: "refresh_token", secret: &q.refreshToken},
		{name: "realm_name", text: &q.realmName},
		{name: "username", text: &q.username},
		{name: "ids", read: func(v value) (err error) { q.ids, err = v.asStrings("ids"); return err }},
		{name: "owner", read: flag("owner", &q.owner)},
		{name: "all", read: flag("all", &q.all)},
		{name: "pair", read: flag("pair", &q.pair)},
		{name: "family", read: flag("family", &q.family)},
		{name: "created_before", read: func(v value) (err error) { q.createdBefore, err = v.asMoment("created_before"); return err }},
	})
	return q, err
}

func flag(name string, target *bool) func(value) error {
	return func(v value) (err error) {
		*target, err = v.asBoolean(name)
		return err
	}
}

// asMoment reads milliseconds since 1970, or RFC 3339.
func (v value) asMoment(name string) (time.Time, error) {
	switch v.kind {
	case kindNumber:
		if ms, err := strconv.ParseInt(string(v.raw), 10, 64); err == nil && ms >= 0 && ms <= int64(fsm.MaxMoment) {
			return time.UnixMilli(ms), nil
		}
	case kindString:
		if at, err := time.Parse(time.RFC3339, v.text); err == nil {
			return at, nil
		}
	case kindBoolean, kindNull, kindObject, kindArray:
	}
	return time.Time{}, elementError("failed to parse [%s]: want milliseconds since the epoch, or a date and time as in RFC 3339", name)
}

// validate returns what is asked for. Exactly one thing names what ends: a token, a
// refresh token, a list of ids, the caller (owner), all, or a realm and/or a username.
// What Elasticsearch refuses is refused in its words.
func (q *invalidateRequest) validate(confirmed bool) (token.InvalidateRequest, error) {
	r := token.InvalidateRequest{
		Realm: fsm.RealmName(unlessBlank(q.realmName)), Username: fsm.Username(unlessBlank(q.username)),
		Owner: q.owner, All: q.all, CreatedBefore: q.createdBefore,
	}
	if given(q.token) {
		r.Token = *q.token
	}
	if given(q.refreshToken) {
		r.RefreshToken = *q.refreshToken
	}
	if given(q.token) && given(q.refreshToken) {
		return r, &buildError{parser: invalidateParser, cause: "only one of [token, refresh_token] may be sent per request"}
	}
	switch {
	case q.family:
		r.Reach = fsm.ReachFamily
	case q.pair:
		r.Reach = fsm.ReachPair
	}
	problems := q.problems(&r, confirmed)
	for _, id := range q.ids {
		digest, ok := parseSessionID(id)
		if !ok {
			problems.add("[ids] must hold ids as the list of tokens has them")
			break
		}
		r.IDs = append(r.IDs, digest)
	}
	if len(problems) > 0 {
		return r, &realm.ValidationError{Type: typeValidation, Messages: problems}
	}
	return r, nil
}

// problems lists what does not go together.
func (q *invalidateRequest) problems(r *token.InvalidateRequest, confirmed bool) (p problems) {
	one, many := given(q.token) || given(q.refreshToken), r.Realm != "" || r.Username != ""
	named := one || q.ids != nil
	selectors := 0
	for _, chosen := range []bool{one, many, q.ids != nil, q.owner, q.all} {
		if chosen {
			selectors++
		}
	}
	switch {
	case selectors == 0:
		p.add("token string must be provided when not specifying a realm name or a username")
	case one && many:
		p.add("token string must not be provided when realm name or username is specified")
		p.add("token type must not be provided when realm name or username is specified")
	case selectors > 1:
		p.add("only one of [token, refresh_token, ids, owner, all] can be specified, and none of them together with [realm_name] or [username]")
	}
	if q.ids != nil && (len(q.ids) == 0 || len(q.ids) > token.MaxIDs) {
		p.add(fmt.Sprintf("[ids] must hold at least one id and no more than [%d]", token.MaxIDs))
	}
	if r.Reach != fsm.ReachToken && selectors > 0 && !named {
		p.add("[pair] and [family] can only be specified together with [token], [refresh_token] or [ids]")
	}
	if !q.createdBefore.IsZero() && selectors > 0 && named {
		p.add("[created_before] can only be specified together with [realm_name], [username], [owner] or [all]")
	}
	if q.all && !confirmed {
		p.add("invalidating all tokens must be confirmed with the parameter [confirm=true]")
	}
	return p
}

// deleteToken invalidates tokens.
func (s *Server) deleteToken(ctx context.Context, x *exchange) (response, error) {
	q, err := parseInvalidateRequest(x.body)
	if err != nil {
		return response{}, err
	}
	confirmed, err := boolean(x.query, paramConfirm, false)
	if err != nil {
		return response{}, err
	}
	r, err := q.validate(confirmed)
	if err != nil {
		return response{}, err
	}
	forbidden := s.authorize(x, actionInvalidateToken)
	if forbidden != nil {
		if err := s.onlyOwn(x, &r, forbidden); err != nil {
			return response{}, err
		}
	}
	counts, err := s.tokens.Invalidate(ctx, x.caller, r)
	if err != nil {
		if refusal, ok := errors.AsType[*fsm.RefusalError](err); ok && refusal.Reason == fsm.NotOwned {
			return response{}, forbidden
		}
		return response{}, err
	}
	status := http.StatusOK
	if named := !r.Owner && !r.All && r.Realm == "" && r.Username == ""; named && counts == (token.Counts{}) {
		if r.OwnOnly && len(r.IDs) == 0 {
			return response{}, forbidden // of no use to anybody, and what Elasticsearch answers
		}
		status = http.StatusNotFound
	}
	s.log.Info("tokens invalidated", "by", x.who(), "count", counts.Invalidated,
		"previously", counts.PreviouslyInvalidated)
	x.scratch = appendCounts(x.scratch[:0], counts)
	return response{status: status, body: x.scratch}, nil
}

// onlyOwn lets a caller who has not the privilege end what is its own, unless its token
// was narrowed to something else: its sessions (owner), and what it names, if the state
// machine finds that it is its own or was obtained by it.
func (s *Server) onlyOwn(x *exchange, r *token.InvalidateRequest, forbidden error) error {
	if r.All || r.Realm != "" || r.Username != "" {
		return forbidden
	}
	r.OwnOnly = !r.Owner
	return s.roles.AuthorizeOwn(x.caller.Identity, actionInvalidateToken)
}

func appendCounts(dst []byte, counts token.Counts) []byte {
	dst = append(dst, `{"invalidated_tokens":`...)
	dst = strconv.AppendInt(dst, int64(counts.Invalidated), 10)
	dst = append(dst, `,"previously_invalidated_tokens":`...)
	dst = strconv.AppendInt(dst, int64(counts.PreviouslyInvalidated), 10)
	return append(dst, `,"error_count":0}`...)
}

// sessionID is how a pair is named outside: base64url of its digest, without padding
// (RFC 4648, 5).
func sessionID(d fsm.Digest) string { return base64.RawURLEncoding.EncodeToString(d[:]) }

func parseSessionID(id string) (d fsm.Digest, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(id)
	return d, err == nil && len(b) == len(d) && copy(d[:], b) == len(d)
}
