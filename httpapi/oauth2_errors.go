package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"jeton/node/realm"
	"jeton/node/token"
)

// Error codes of RFC 6749, 5.2 and 4.1.2.1, RFC 6750, 3.1, and RFC 7009, 2.2.1, beside
// those that Elasticsearch has too.
const (
	codeInvalidClient        = "invalid_client"
	codeUnauthorizedClient   = "unauthorized_client"
	codeInvalidToken         = "invalid_token"
	codeUnsupportedTokenType = "unsupported_token_type"
	codeUnavailable          = "temporarily_unavailable"
	codeServerError          = "server_error"
)

// Challenges to a client (RFC 6749, 5.2: matching the scheme that it used).
const (
	challengeClient       = `Basic realm="security", charset="UTF-8"`
	challengeUnknownToken = `Bearer realm="security", error="invalid_token", error_description="The access token is unknown or malformed"`
)

// errNoIssuer: metadata is asked for, and the setting without which there is none is
// not set.
var errNoIssuer = errors.New("there is no metadata, for the setting oauth2.issuer is not set")

func replyForNoIssuer() reply {
	return reply{status: http.StatusNotFound, shape: oauthShape, kind: "not_found", reason: errNoIssuer.Error()}
}

// oauth2Reply turns an error's answer into RFC 6749's. Most follow from the status
// that Elasticsearch's API has for them.
func oauth2Reply(p reply, err error) reply {
	if p.retry && p.cause.reason != "" {
		p.reason += ": " + p.cause.reason
	}
	p.detail, p.cause = detail{}, cause{}
	if p.shape != oauthShape { // else the error was one of RFC 6749 from the start
		p.shape = oauthShape
		p = oauth2Code(p)
	}
	p = refineOAuth2(p, err)
	p.reason = ascii(p.reason)
	return p
}

func oauth2Code(p reply) reply {
	switch p.status {
	case http.StatusUnauthorized:
		p.kind, p.challenges = codeInvalidClient, []string{challengeClient}
	case http.StatusForbidden:
		p.kind, p.status = codeUnauthorizedClient, http.StatusBadRequest
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		p.kind = codeUnavailable
	case http.StatusInternalServerError:
		p.kind = codeServerError
	default:
		p.kind = codeInvalidRequest
	}
	return p
}

// refineOAuth2 knows the errors that mean something else here than there.
func refineOAuth2(p reply, err error) reply {
	if owner, ok := errors.AsType[*ownerError](err); ok && errors.Is(owner.err, realm.ErrBadCredentials) {
		// RFC 6749, 5.2: the resource owner's credentials are the grant.
		return reply{
			status: http.StatusBadRequest, shape: oauthShape, kind: codeInvalidGrant,
			reason: "the username or the password is wrong",
		}
	}
	if errors.Is(err, token.ErrDisabled) {
		p.kind = codeUnsupportedGrantType
	}
	caller, ok := errors.AsType[*callerError](err)
	if !ok || p.status != http.StatusUnauthorized {
		return p
	}
	switch {
	case errors.Is(caller.err, token.ErrNoCredentials):
		p.reason = "the client does not authenticate"
	case errors.Is(caller.err, token.ErrExpired): // RFC 6750, 3.1
		p.kind, p.challenges = codeInvalidToken, []string{challengeExpired}
	case errors.Is(caller.err, token.ErrUnknown):
		p.kind, p.challenges = codeInvalidToken, []string{challengeUnknownToken}
		p.reason = token.ErrUnknown.Error()
	default:
		p.reason = "unknown client, or wrong client secret"
	}
	return p
}

// ascii is a text as error_description may have it (RFC 6749, 5.2): printable ASCII
// without quotation marks and backslashes. What it may not have becomes a question mark.
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, text)
}
