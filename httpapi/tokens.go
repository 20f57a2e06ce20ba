package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"jeton/node/realm"
	"jeton/node/token"
)

// Actions that a caller needs a privilege for.
const (
	actionCreateToken  = "cluster:admin/xpack/security/token/create"
	actionRefreshToken = "cluster:admin/xpack/security/token/refresh"
)

// postToken issues and refreshes tokens.
func (s *Server) postToken(ctx context.Context, x *exchange) (response, error) {
	q, err := parseTokenRequest(x.body)
	if err != nil {
		return response{}, err
	}
	if err := q.validate(); err != nil {
		return response{}, err
	}
	action := actionCreateToken
	if q.grant() == token.GrantRefreshToken {
		action = actionRefreshToken
	}
	if err := s.authorize(x, action); err != nil {
		return response{}, err
	}
	pair, err := s.grant(ctx, x, &q)
	if err != nil {
		return response{}, err
	}
	s.logIssue(x, q.grant(), pair)
	x.scratch = appendPair(x.scratch[:0], pair, q.scope != nil)
	return response{status: http.StatusOK, body: x.scratch, noStore: true}, nil
}

func (s *Server) logIssue(x *exchange, grant token.GrantType, pair token.Pair) {
	if s.log.IsDebug() {
		s.log.Debug("token issued", "grant", string(grant), "client", x.who(),
			"user", principal(pair.Identity.Principal))
	}
}

// grant hands a validated request to its use case.
func (s *Server) grant(ctx context.Context, x *exchange, q *tokenRequest) (token.Pair, error) {
	switch grant := q.grant(); grant {
	case token.GrantRefreshToken:
		return s.tokens.Refresh(ctx, x.caller, token.RefreshRequest{Presented: *q.refreshToken})
	case grantKerberos:
		return token.Pair{}, &ownerError{username: "<Kerberos Token>", err: realm.ErrBadCredentials}
	case token.GrantPassword:
		pair, err := s.tokens.Issue(ctx, x.caller, token.IssueRequest{
			GrantType: grant, Username: *q.username, Password: *q.password,
		})
		if err != nil {
			return token.Pair{}, &ownerError{username: *q.username, err: err}
		}
		return pair, nil
	case token.GrantClientCredentials:
		return s.tokens.Issue(ctx, x.caller, token.IssueRequest{GrantType: grant})
	}
	return token.Pair{}, token.ErrGrantType // not reached: the request has been validated
}

// appendPair appends RFC 6749, 5.1 as Elasticsearch has it: "type", not
// "token_type", and whatever scope was asked for is "full", unless the caller's own
// token is narrowed: then so is what it gets.
func appendPair(dst []byte, p token.Pair, scope bool) []byte {
	dst = append(dst, `{"access_token":`...)
	dst = appendString(dst, p.AccessToken.Expose())
	dst = append(dst, `,"type":"Bearer","expires_in":`...)
	dst = strconv.AppendInt(dst, int64(p.ExpiresIn/time.Second), 10)
	if !p.RefreshToken.IsZero() {
		dst = append(dst, `,"refresh_token":`...)
		dst = appendString(dst, p.RefreshToken.Expose())
	}
	if scope || p.Scope != nil {
		dst = append(dst, `,"scope":`...)
		dst = appendString(dst, scopeText(p.Scope))
	}
	dst = append(dst, `,"authentication":`...)
	dst = appendAuthentication(dst, p.Identity, p.Type)
	return append(dst, '}')
}
