package httpapi

import (
	"context"
	"net/http"
	"net/url"
)

// The endpoints.
const (
	pathToken      = "/oauth2/token"
	pathRevoke     = "/oauth2/revoke"
	pathIntrospect = "/oauth2/introspect"
)

// Where clients look for metadata: RFC 8414, 3, and OpenID Connect Discovery 1.0, 4.
const (
	wellKnownServer = "/.well-known/oauth-authorization-server"
	wellKnownOpenID = "/.well-known/openid-configuration"
)

// oauth2Routes are those of OAuth 2.0. If the issuer has a path they are there as
// well, for a proxy may leave it on. RFC 8414, 3.1 inserts the well-known part before
// that path, OpenID Connect appends it.
func (s *Server) oauth2Routes(handle handle) {
	issue := methods{http.MethodPost: {access: write, body: true, oauth2: &oauth2Options{public: true}, do: s.postOAuth2Token}}
	revoke := methods{http.MethodPost: {access: write, body: true, oauth2: &oauth2Options{public: true}, do: s.postRevoke}}
	introspect := methods{http.MethodPost: {access: read, body: true, oauth2: &oauth2Options{bearer: true}, do: s.postIntrospect}}
	document := operation{do: s.getMetadata}
	metadata := methods{http.MethodGet: document, http.MethodHead: document}
	under := func(path string) {
		handle(path+pathToken, issue)
		handle(path+pathRevoke, revoke)
		handle(path+pathIntrospect, introspect)
		handle(path+wellKnownServer, metadata)
		handle(path+wellKnownOpenID, metadata)
	}
	under("")
	issuer, err := url.Parse(s.issuer)
	if err != nil || issuer.Path == "" {
		return
	}
	under(issuer.Path)
	handle(wellKnownServer+issuer.Path, metadata)
	handle(wellKnownOpenID+issuer.Path, metadata)
}

// getMetadata is the authorization server's metadata (RFC 8414, 2). The issuer comes
// from the configuration and never from the request: whoever writes a Host header
// would tell other people's clients where to send their passwords.
func (s *Server) getMetadata(_ context.Context, x *exchange) (response, error) {
	if s.issuer == "" {
		return response{}, errNoIssuer
	}
	x.scratch = s.appendMetadata(x.scratch[:0])
	return response{status: http.StatusOK, body: x.scratch, lasting: true}, nil
}

// appendMetadata appends what is true of this server. It has no authorization
// endpoint, so it knows no response type.
func (s *Server) appendMetadata(dst []byte) []byte {
	member := func(name string, values ...string) {
		dst = append(dst, ',')
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendStrings(dst, values)
	}
	endpoint := func(name, path string, methods ...string) {
		dst = append(dst, ',')
		dst = appendString(dst, name+"_endpoint")
		dst = append(dst, ':')
		dst = appendString(dst, s.issuer+path)
		member(name+"_endpoint_auth_methods_supported", methods...)
	}
	const basic, post, none, bearer = "client_secret_basic", "client_secret_post", "none", "Bearer"
	methods := []string{basic, post}
	if s.publicClients {
		methods = append(methods, none)
	}
	dst = append(dst, `{"issuer":`...)
	dst = appendString(dst, s.issuer)
	endpoint("token", pathToken, methods...)
	endpoint("revocation", pathRevoke, methods...)
	endpoint("introspection", pathIntrospect, basic, post, bearer)
	member("grant_types_supported", "password", "client_credentials", "refresh_token")
	member("response_types_supported", []string{}...)
	return append(dst, '}')
}
