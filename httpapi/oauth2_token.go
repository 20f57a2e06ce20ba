package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"jeton/node/token"
)

// postOAuth2Token is the token endpoint (RFC 6749, 3.2).
func (s *Server) postOAuth2Token(ctx context.Context, x *exchange) (response, error) {
	q := x.oauth2
	if err := q.checkGrant(x.public); err != nil {
		return response{}, err
	}
	grant := token.GrantType(q.grantType)
	if err := s.authorizeGrant(x, grant); err != nil {
		return response{}, err
	}
	pair, err := s.oauth2Grant(ctx, x, grant)
	if err != nil {
		return response{}, err
	}
	s.logIssue(x, grant, pair)
	x.scratch = appendOAuth2Pair(x.scratch[:0], pair)
	return response{status: http.StatusOK, body: x.scratch}, nil
}

// checkGrant checks that the parameters of a grant are there (RFC 6749, 4.3.2, 4.4.2
// and 6). Those that belong to another grant are ignored.
func (q *oauth2Request) checkGrant(public bool) error {
	required := func(present bool, name string) error {
		if present {
			return nil
		}
		return invalidRequest("the parameter " + name + " is missing")
	}
	switch token.GrantType(q.grantType) {
	case "":
		return required(false, "grant_type")
	case token.GrantPassword:
		if err := required(q.username != "", "username"); err != nil {
			return err
		}
		return required(!q.password.IsZero(), "password")
	case token.GrantRefreshToken:
		return required(!q.refreshToken.IsZero(), "refresh_token")
	case token.GrantClientCredentials:
		if public { // RFC 6749, 4.4: only for clients that authenticate
			return &callerError{err: token.ErrNoCredentials}
		}
		return nil
	default:
		return &grantError{
			code:        codeUnsupportedGrantType,
			description: "grant_type is none of password, client_credentials, refresh_token",
		}
	}
}

// authorizeGrant asks for the privileges that Elasticsearch's endpoint asks for. A
// public client has none: the setting lets it in.
func (s *Server) authorizeGrant(x *exchange, grant token.GrantType) error {
	if x.public {
		return nil
	}
	if grant == token.GrantRefreshToken {
		return s.authorize(x, actionRefreshToken)
	}
	return s.authorize(x, actionCreateToken)
}

func (s *Server) oauth2Grant(ctx context.Context, x *exchange, grant token.GrantType) (token.Pair, error) {
	q := x.oauth2
	if grant == token.GrantRefreshToken {
		return s.tokens.Refresh(ctx, x.caller, token.RefreshRequest{Presented: q.refreshToken, Scope: strings.Fields(q.scope)})
	}
	r := token.IssueRequest{GrantType: grant, Scope: strings.Fields(q.scope)}
	if grant == token.GrantPassword {
		r.Username, r.Password = q.username, q.password
	}
	pair, err := s.tokens.Issue(ctx, x.caller, r)
	if err != nil && grant == token.GrantPassword {
		err = &ownerError{username: q.username, err: err}
	}
	return pair, err
}

// appendOAuth2Pair appends RFC 6749, 5.1, and Elasticsearch's name of the type.
func appendOAuth2Pair(dst []byte, p token.Pair) []byte {
	dst = append(dst, `{"access_token":`...)
	dst = appendString(dst, p.AccessToken.Expose())
	dst = append(dst, `,"token_type":"Bearer","type":"Bearer","expires_in":`...)
	dst = strconv.AppendInt(dst, int64(p.ExpiresIn/time.Second), 10)
	if !p.RefreshToken.IsZero() {
		dst = append(dst, `,"refresh_token":`...)
		dst = appendString(dst, p.RefreshToken.Expose())
	}
	dst = append(dst, `,"scope":`...)
	dst = appendString(dst, scopeText(p.Scope))
	return append(dst, '}')
}

// scopeText is a scope as RFC 6749, 3.3 has it. It is always told: a client that asked
// for none wants to know, too.
func scopeText(scope []string) string {
	if scope == nil {
		return scopeFull
	}
	return strings.Join(scope, " ")
}

// scopeFull is Elasticsearch's word for a token with all the rights of its user.
const scopeFull = "full"
