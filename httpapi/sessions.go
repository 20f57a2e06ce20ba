package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

const actionGetTokens = "cluster:admin/xpack/security/token/get"

// sessionParams are the parameters of the list of tokens.
var sessionParams = []string{"owner", "username", "realm_name", "active_only", "size", "after"}

const usualSessions = 100 // on a page

// getTokens lists pairs: what Elasticsearch's "get API key" is for API keys.
func (s *Server) getTokens(ctx context.Context, x *exchange) (response, error) {
	r, err := parseSessionsRequest(x.query)
	if err != nil {
		return response{}, err
	}
	if err := s.authorizeList(x, &r); err != nil {
		return response{}, err
	}
	page, err := s.tokens.Sessions(ctx, x.caller, r)
	if errors.Is(err, token.ErrCursor) {
		return response{}, &argumentError{reason: "[after] is not the end of a page"}
	}
	if err != nil {
		return response{}, err
	}
	dst := append(x.scratch[:0], `{"tokens":[`...)
	for i := range page.Sessions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSession(dst, &page.Sessions[i], x.caller.AccessDigest)
	}
	dst = append(dst, ']')
	if page.After != "" {
		dst = append(dst, `,"after":`...)
		dst = appendString(dst, page.After)
	}
	x.scratch = append(dst, '}')
	return response{status: http.StatusOK, body: x.scratch}, nil
}

func parseSessionsRequest(query url.Values) (r token.SessionsRequest, err error) {
	if r.Owner, err = boolean(query, "owner", false); err != nil {
		return r, err
	}
	if r.Active, err = boolean(query, "active_only", false); err != nil {
		return r, err
	}
	r.Realm, r.Username = fsm.RealmName(query.Get("realm_name")), fsm.Username(query.Get("username"))
	if r.Owner && (r.Realm != "" || r.Username != "") {
		return r, &realm.ValidationError{
			Type: typeValidation, Messages: []string{"neither username nor realm-name may be specified when retrieving owned tokens"},
		}
	}
	r.Size, r.After = usualSessions, query.Get("after")
	if !query.Has("size") {
		return r, nil
	}
	if r.Size, err = strconv.Atoi(query.Get("size")); err != nil {
		return r, &argumentError{reason: "Failed to parse int parameter [size] with value [" + echo(query.Get("size")) + "]"}
	}
	if r.Size < 1 || r.Size > token.MaxSessions {
		return r, &argumentError{reason: fmt.Sprintf("[size] must be at least [1] and no more than [%d]", token.MaxSessions)}
	}
	return r, nil
}

// authorizeList asks for the privilege, unless the list is of the caller's own tokens.
func (s *Server) authorizeList(x *exchange, r *token.SessionsRequest) error {
	forbidden := s.authorize(x, actionGetTokens)
	caller := x.caller.Identity
	own := r.Owner || r.Realm == caller.Realm.Name && r.Username == caller.Username
	if forbidden == nil || !own {
		return forbidden
	}
	return s.roles.AuthorizeOwn(caller, actionGetTokens)
}

// appendSession appends one pair, with the names that Elasticsearch has for API keys.
// Current is the caller's own access token.
func appendSession(dst []byte, v *token.Session, current fsm.Digest) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, sessionID(v.ID))
	dst = append(dst, ',')
	dst = appendPrincipal(dst, v.Identity.Principal)
	if actor := v.Identity.RunBy; actor != nil {
		dst = append(dst, `,"run_by":{`...)
		dst = append(appendPrincipal(dst, actor.Principal), '}')
	}
	if v.Identity.Scope != nil {
		dst = append(dst, `,"scope":`...)
		dst = appendString(dst, strings.Join(v.Identity.Scope, " "))
	}
	dst = append(dst, `,"client":{`...)
	dst = appendPrincipal(dst, v.Client.Principal)
	if v.Client.RunBy != (fsm.Principal{}) {
		dst = append(dst, `,"run_by":{`...)
		dst = append(appendPrincipal(dst, v.Client.RunBy), '}')
	}
	dst = append(dst, '}')
	dst = appendMoment(dst, "creation", v.CreatedAt)
	dst = appendMoment(dst, "expiration", v.AccessExpiresAt)
	dst = appendFlag(dst, "invalidated", v.AccessInvalidated)
	if v.RefreshExpiresAt != 0 {
		dst = appendMoment(dst, "refresh_expiration", v.RefreshExpiresAt)
		dst = appendFlag(dst, "refresh_invalidated", v.RefreshInvalidated)
		dst = appendFlag(dst, "refreshed", v.Refreshed)
	}
	if v.SessionEndsAt != 0 {
		dst = appendMoment(dst, "session_expiration", v.SessionEndsAt)
	}
	dst = appendFlag(dst, "active", v.Active)
	dst = appendFlag(dst, "current", v.ID == current)
	return append(dst, '}')
}

// appendPrincipal appends the members that tell who somebody is.
func appendPrincipal(dst []byte, p fsm.Principal) []byte {
	dst = append(dst, `"username":`...)
	dst = appendString(dst, string(p.Username))
	dst = append(dst, `,"realm":`...)
	dst = appendString(dst, string(p.Realm.Name))
	dst = append(dst, `,"realm_type":`...)
	return appendString(dst, p.Realm.Type)
}

func appendMoment(dst []byte, name string, at fsm.UnixMilli) []byte {
	return strconv.AppendInt(append(dst, `,"`+name+`":`...), int64(at), 10)
}

func appendFlag(dst []byte, name string, v bool) []byte {
	return strconv.AppendBool(append(dst, `,"`+name+`":`...), v)
}
