package httpapi

import (
	"strings"

	"jeton/node/realm"
	"jeton/node/token"
)

// grantKerberos is validated as Elasticsearch does, and then fails like a realm
// that is not configured: there is no Kerberos realm.
const grantKerberos token.GrantType = "_kerberos"

// tokenRequest is the body of a token request. Nil: the member is absent.
type tokenRequest struct {
	grantType      *string
	scope          *string // accepted with every grant, and without meaning
	username       *string
	password       *realm.Secret
	kerberosTicket *realm.Secret
	refreshToken   *realm.Secret
}

func parseTokenRequest(body []byte) (tokenRequest, error) {
	var q tokenRequest
	err := parseFields("token_request", body, []field{
		{name: "grant_type", text: &q.grantType},
		{name: "username", text: &q.username},
		{name: "password", secret: &q.password},
		{name: "refresh_token", secret: &q.refreshToken},
		{name: "scope", text: &q.scope},
		{name: "kerberos_ticket", secret: &q.kerberosTicket},
	})
	return q, err
}

// grant returns the request's grant type; without one, the empty one.
func (q *tokenRequest) grant() token.GrantType {
	if q.grantType == nil {
		return ""
	}
	return token.GrantType(*q.grantType)
}

// validate checks which members a grant needs and which it must not have. All
// problems are reported at once, in Elasticsearch's order.
func (q *tokenRequest) validate() error {
	const (
		username       = "username"
		password       = "password"
		kerberosTicket = "kerberos_ticket"
		refreshToken   = "refresh_token"
	)
	var p problems
	grant := q.grant()
	refuse := func(field string, present bool) {
		if present {
			p.add(field + " is not supported with the " + string(grant) + " grant_type")
		}
	}
	require := func(field string, present bool) {
		if !present {
			p.add(field + " is missing")
		}
	}
	switch grant {
	case token.GrantPassword:
		refuse(kerberosTicket, q.kerberosTicket != nil)
		refuse(refreshToken, q.refreshToken != nil)
		require(username, q.username != nil && *q.username != "")
		require(password, given(q.password))
	case grantKerberos:
		refuse(username, q.username != nil)
		refuse(password, q.password != nil)
		refuse(refreshToken, q.refreshToken != nil)
		require(kerberosTicket, given(q.kerberosTicket))
	case token.GrantRefreshToken:
		refuse(username, q.username != nil)
		refuse(password, q.password != nil)
		refuse(kerberosTicket, q.kerberosTicket != nil)
		require(refreshToken, given(q.refreshToken))
	case token.GrantClientCredentials:
		refuse(username, q.username != nil)
		refuse(password, q.password != nil)
		refuse(kerberosTicket, q.kerberosTicket != nil)
		refuse(refreshToken, q.refreshToken != nil)
	default:
		p.add("grant_type only supports the values: [password, _kerberos, refresh_token, client_credentials]")
	}
	if len(p) == 0 {
		return nil
	}
	text := p.text()
	// Elasticsearch decides by the text, so that a superfluous member is an
	// unsupported grant type and only a missing one an invalid request.
	if strings.Contains(text, "grant_type") {
		return &grantError{code: codeUnsupportedGrantType, description: text}
	}
	return &grantError{code: codeInvalidRequest, description: text}
}

func given(s *realm.Secret) bool { return s != nil && !s.IsZero() }

// problems become one text as Elasticsearch numbers them.
type problems []string

func (p *problems) add(problem string) { *p = append(*p, problem) }

func (p *problems) text() string { return (&realm.ValidationError{Messages: *p}).Error() }

func unlessBlank(s *string) string {
	if s == nil || strings.TrimSpace(*s) == "" {
		return ""
	}
	return *s
}
