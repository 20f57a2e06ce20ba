package httpapi

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// Texts of Elasticsearch that clients compare with.
const (
	reasonNotAuthenticated = "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
	reasonUnavailable      = "unable to perform requested action"
	challengeExpired       = `Bearer realm="security", error="invalid_token", error_description="The access token expired"`
)

// What a client can do about an outage or overload. Elasticsearch has the cause there.
const (
	adviceRepeat = "repeat the request, at any node, after the seconds in Retry-After: repeating is safe"
	adviceOutage = "this node cannot know now, perhaps because no leader is elected or no majority of the nodes answers; " + adviceRepeat
)

// Elasticsearch's names of exceptions.
const (
	typeSecurity        = "security_exception"
	typeIllegalArgument = "illegal_argument_exception"
	typeValidation      = "action_request_validation_exception"
	typeRejected        = "es_rejected_execution_exception"
	typeParse           = "x_content_parse_exception"
	typeMediaType       = "media_type_header_exception"
	typeStatus          = "status_exception"
	typeDisabled        = "feature_not_enabled_exception"
	typeNotFound        = "resource_not_found_exception"
	typeTooLong         = "content_too_long_exception"
)

// Error codes of RFC 6749, 5.2.
const (
	codeInvalidRequest       = "invalid_request"
	codeInvalidGrant         = "invalid_grant"
	codeUnsupportedGrantType = "unsupported_grant_type"
	codeInvalidScope         = "invalid_scope"
)

// Errors of this package that have no file of their own.
type (
	// routeError is a path that does not exist.
	routeError struct{}
	// methodError is a method that a path does not have.
	methodError struct{ allowed []string }
	// callerError is a caller that could not be authenticated.
	callerError struct {
		credentials token.Credentials
		err         error
	}
	// ownerError is a password grant for a user that could not be authenticated.
	ownerError struct {
		username string
		err      error
	}
	// grantError is a refused token request (RFC 6749, 5.2).
	grantError struct{ code, description string }
	// buildError is a body whose members contradict each other.
	buildError struct{ parser, cause string }
	// bodyError is a body that did not arrive.
	bodyError struct{ err error }
	// panicError is a bug.
	panicError struct {
		value any
		stack []byte
	}
)

func (*routeError) Error() string    { return "no such route" }
func (*methodError) Error() string   { return "no such method" }
func (e *callerError) Error() string { return "authenticate caller: " + e.err.Error() }
func (e *callerError) Unwrap() error { return e.err }
func (e *ownerError) Error() string  { return "authenticate resource owner: " + e.err.Error() }
func (e *ownerError) Unwrap() error  { return e.err }
func (e *grantError) Error() string  { return e.code + ": " + e.description }
func (e *buildError) Error() string  { return "build " + e.parser + ": " + e.cause }
func (e *bodyError) Error() string   { return "read body: " + e.err.Error() }
func (e *bodyError) Unwrap() error   { return e.err }
func (*panicError) Error() string    { return "panic" }

// isRefusal reports whether the state machine said no.
func isRefusal(err error) bool {
	_, refused := errors.AsType[*fsm.RefusalError](err)
	return refused
}

// replyFor translates an error to what the client may know of it. What it does not
// recognise is our fault, and its text stays with us.
func (s *Server) replyFor(x *exchange, err error) reply {
	for _, translate := range []func(*exchange, error) (reply, bool){
		replyForRouting, s.replyForCredentials, replyForRequest, replyForCapacity,
	} {
		if answer, known := translate(x, err); known {
			return answer
		}
	}
	return reply{status: http.StatusInternalServerError, kind: typeStatus, reason: "internal server error"}
}

// replyForRouting knows the errors that come before authentication.
func replyForRouting(x *exchange, err error) (reply, bool) {
	if e, ok := errors.AsType[*singleError](err); ok {
		return replyForSingle(e), true
	}
	if _, ok := errors.AsType[*routeError](err); ok {
		return reply{
			status: http.StatusNotFound, kind: typeNotFound,
			reason: "no handler found for uri [" + uri(x.request) + "] and method [" + x.request.Method + "]",
		}, true
	}
	if errors.Is(err, errNoIssuer) {
		return replyForNoIssuer(), true
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		return reply{
			status: http.StatusMethodNotAllowed, shape: simpleShape,
			reason: "Incorrect HTTP method for uri [" + uri(x.request) + "] and method [" + x.request.Method +
				"], allowed: [" + strings.Join(e.allowed, ", ") + "]",
		}, true
	}
	if e, ok := errors.AsType[*formatError](err); ok {
		return replyForFormat(e), true
	}
	if e, ok := errors.AsType[*contentTypeError](err); ok {
		reason := "Content-Type header is missing"
		if e.value != "" {
			reason = "Content-Type header [" + echo(e.value) + "] is not supported"
		}
		return reply{status: http.StatusNotAcceptable, shape: simpleShape, reason: reason}, true
	}
	if e, ok := errors.AsType[*mediaTypeError](err); ok {
		return reply{
			status: http.StatusBadRequest, kind: typeMediaType,
			reason: "Invalid media-type value on headers [" + e.header + "]",
			cause: cause{kind: typeStatus, reason: e.header + " version must be 7, 8 or 9. " +
				e.header + "=" + echo(e.value)},
		}, true
	}
	return reply{}, false
}

// replyForCredentials knows who may not: 401 and 403. An error that says nothing
// about the credentials, such as an outage, is not its business.
func (s *Server) replyForCredentials(x *exchange, err error) (reply, bool) {
	unauthorized := reply{status: http.StatusUnauthorized, kind: typeSecurity, challenges: s.challenges}
	if _, ok := errors.AsType[*foreignError](err); ok {
		unauthorized.challenges = s.oneChallenge
	}
	if e, ok := errors.AsType[*headerError](err); ok {
		unauthorized.reason = e.reason
		return unauthorized, true
	}
	if e, ok := errors.AsType[*runAsError](err); ok {
		return reply{status: http.StatusForbidden, kind: typeSecurity, reason: e.Error()}, true
	}
	if e, ok := errors.AsType[*demandError](err); ok {
		return reply{status: http.StatusForbidden, kind: typeSecurity, reason: e.reason}, true
	}
	if e, ok := errors.AsType[*realm.ForbiddenError](err); ok {
		return reply{status: http.StatusForbidden, kind: typeSecurity, reason: e.Error()}, true
	}
	if e, ok := errors.AsType[*ownerError](err); ok && errors.Is(e.err, realm.ErrBadCredentials) {
		unauthorized.reason = "unable to authenticate user [" + e.username + "] for action [" + actionCreateToken + "]"
		return unauthorized, true
	}
	e, ok := errors.AsType[*callerError](err)
	if !ok {
		return reply{}, false
	}
	switch {
	case errors.Is(e.err, token.ErrNoCredentials):
		unauthorized.reason = "missing authentication credentials for REST request [" + uri(x.request) + "]"
	case errors.Is(e.err, realm.ErrBadCredentials):
		unauthorized.reason = "unable to authenticate user [" + e.credentials.Username + "] for REST request [" + uri(x.request) + "]"
	case errors.Is(e.err, token.ErrExpired):
		unauthorized.reason = "token expired"
		unauthorized.challenges = []string{challengeExpired}
	case errors.Is(e.err, token.ErrUnknown):
		unauthorized.reason = reasonNotAuthenticated
		unauthorized.detail = detail{name: "additional_unsuccessful_credentials", value: "oauth2 token: invalid token"}
	default:
		return reply{}, false
	}
	return unauthorized, true
}

// replyForRequest knows what is wrong with a request whose sender is known.
func replyForRequest(_ *exchange, err error) (reply, bool) {
	bad := reply{status: http.StatusBadRequest}
	if e, ok := errors.AsType[*grantError](err); ok {
		bad.shape, bad.kind, bad.reason = oauthShape, e.code, e.description
		return bad, true
	}
	if e, ok := errors.AsType[*fsm.RefusalError](err); ok {
		return replyForReason(e.Reason)
	}
	if e, ok := errors.AsType[*parseError](err); ok {
		bad.kind, bad.reason = e.kind, e.reason
		return bad, true
	}
	if e, ok := errors.AsType[*buildError](err); ok {
		bad.kind, bad.reason = typeParse, "Failed to build ["+e.parser+"] after last required field arrived"
		bad.cause = cause{kind: typeIllegalArgument, reason: e.cause}
		return bad, true
	}
	if e, ok := errors.AsType[*argumentError](err); ok {
		bad.kind, bad.reason = typeIllegalArgument, e.reason
		return bad, true
	}
	if e, ok := errors.AsType[*realm.ArgumentError](err); ok {
		bad.kind, bad.reason = typeIllegalArgument, e.Message
		return bad, true
	}
	if e, ok := errors.AsType[*realm.ValidationError](err); ok {
		bad.kind, bad.reason = e.Type, e.Error()
		return bad, true
	}
	if errors.Is(err, token.ErrScope) {
		bad.shape, bad.kind, bad.reason = oauthShape, codeInvalidScope, token.ErrScope.Error()
		return bad, true
	}
	if errors.Is(err, token.ErrDisabled) {
		bad.kind, bad.reason = typeDisabled, token.ErrDisabled.Error()
		bad.detail = detail{name: "disabled.feature", value: "security_tokens"} // a contract with Kibana
		return bad, true
	}
	return reply{}, false
}

// replyForReason is exhaustive: the linter fails the build on a forgotten one.
func replyForReason(reason fsm.Reason) (reply, bool) {
	invalidGrant := func(description string) (reply, bool) {
		return reply{status: http.StatusBadRequest, shape: oauthShape, kind: codeInvalidGrant, reason: description}, true
	}
	switch reason {
	case fsm.UnknownToken:
		return invalidGrant("could not refresh the requested token")
	case fsm.RefreshExpired:
		return invalidGrant("token document has expired")
	case fsm.TokenInvalidated:
		return invalidGrant("token has been invalidated")
	case fsm.NotCreatingClient:
		return invalidGrant("tokens must be refreshed by the creating client")
	case fsm.Reused:
		// Kibana compares with this text, so it does not follow the setting.
		return invalidGrant("token has already been refreshed more than 30 seconds in the past")
	case fsm.StaleDecision, fsm.Expired:
		return unavailable(), true // the use cases retry these; reaching us, the outcome is not known
	case fsm.Done, fsm.DigestTaken, fsm.UnknownUser, fsm.PasswordRequired, fsm.AlreadySet,
		fsm.NotOwned:
		return reply{}, false // the use cases translate these
	case fsm.RestoreLost, fsm.RestoreUnreadable, fsm.RestoreForeign, fsm.RestoreOutdated, fsm.RestoreAhead:
		return reply{}, false // an operator's command gets these, no client
	}
	return reply{}, false
}

// replyForCapacity knows what repeating cures.
func replyForCapacity(_ *exchange, err error) (reply, bool) {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return reply{
			status: http.StatusRequestEntityTooLarge, kind: typeTooLong,
			reason: "the request body is larger than the limit of [" + strconv.FormatInt(e.Limit, 10) + "] bytes",
		}, true
	}
	if e, ok := errors.AsType[*bodyError](err); ok {
		if errors.Is(e.err, os.ErrDeadlineExceeded) {
			return reply{status: http.StatusRequestTimeout, kind: typeStatus, reason: "the request body did not arrive in time"}, true
		}
		return reply{status: http.StatusBadRequest, kind: typeStatus, reason: "the request body could not be read"}, true
	}
	switch {
	case errors.Is(err, realm.ErrBusy):
		return reply{
			status: http.StatusTooManyRequests, kind: typeRejected, retry: true,
			reason: "rejected execution: too many passwords wait to be verified", cause: cause{typeStatus, adviceRepeat},
		}, true
	case errors.Is(err, realm.ErrOverloaded):
		return reply{
			status: http.StatusServiceUnavailable, kind: typeRejected, retry: true,
			reason: "rejected execution: too many writes are pending", cause: cause{typeStatus, adviceRepeat},
		}, true
	case errors.Is(err, errBodies):
		return reply{
			status: http.StatusServiceUnavailable, kind: typeRejected, retry: true,
			reason: "rejected execution: too many request bodies are held", cause: cause{typeStatus, adviceRepeat},
		}, true
	case errors.Is(err, realm.ErrUnavailable), errors.Is(err, realm.ErrStale),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable(), true
	}
	return reply{}, false
}

func unavailable() reply {
	return reply{
		status: http.StatusServiceUnavailable, kind: typeSecurity, reason: reasonUnavailable, retry: true,
		cause: cause{typeStatus, adviceOutage},
	}
}

// uri is the request's target as the client wrote it.
func uri(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}
