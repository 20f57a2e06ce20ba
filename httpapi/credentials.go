package httpapi

import (
	"encoding/base64"
	"net/http"
	"strings"

	"jeton/node/realm"
	"jeton/node/token"
)

// schemeAPIKey is Elasticsearch's third scheme. Jeton issues no API keys, so every
// one is unknown.
const schemeAPIKey = "ApiKey"

// headerError is a request whose credentials cannot even be read.
type headerError struct {
	reason string // for the client
	audit  string // for the log: nothing of the client's
}

// What the log says of headers that hold no credentials of ours.
const (
	reasonScheme    = "unsupported scheme"
	reasonMalformed = "malformed credentials"
)

func (e *headerError) Error() string { return e.reason }

// errAPIKey: the request carries an API key.
var errAPIKey = &headerError{reason: reasonNotAuthenticated, audit: reasonScheme}

// credentialsOf reads the Authorization header, of which [checkSingle] has seen to
// it that there is one. A header without credentials, or
// with a scheme that nobody here knows, is like none.
func credentialsOf(header http.Header) (token.Credentials, error) {
	lines := header["Authorization"]
	if len(lines) == 0 {
		return token.Credentials{}, nil
	}
	scheme, rest, _ := strings.Cut(lines[0], " ")
	blank := strings.TrimSpace(rest) == ""
	switch {
	case blank:
		return token.Credentials{}, nil
	case strings.EqualFold(scheme, string(token.SchemeBearer)):
		return token.Credentials{Scheme: token.SchemeBearer, Bearer: realm.NewSecret(rest)}, nil
	case strings.EqualFold(scheme, string(token.SchemeBasic)):
		return basicCredentials(rest)
	case strings.EqualFold(scheme, schemeAPIKey):
		return token.Credentials{}, errAPIKey
	default:
		return token.Credentials{}, nil
	}
}

// basicCredentials reads RFC 7617, 2: base64 of user:password, in UTF-8.
func basicCredentials(encoded string) (token.Credentials, error) {
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return token.Credentials{}, &headerError{reason: "invalid basic authentication header encoding", audit: reasonMalformed}
	}
	username, password, found := strings.Cut(string(decoded), ":")
	if !found {
		return token.Credentials{}, &headerError{reason: "invalid basic authentication header value", audit: reasonMalformed}
	}
	return token.Credentials{Scheme: token.SchemeBasic, Username: username, Password: realm.NewSecret(password)}, nil
}
