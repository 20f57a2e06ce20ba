package httpapi

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"

	"jeton/fsm"
)

// shape is one of the three forms of an error's body.
type shape int

const (
	elasticShape shape = iota // {"error":{"root_cause":[...],...},"status":n}
	oauthShape                // {"error":code,"error_description":text}, RFC 6749, 5.2
	simpleShape               // {"error":text,"status":n}
)

// reply is an error as the client sees it.
type reply struct {
	status     int
	shape      shape
	kind       string // the exception's name, or the code of RFC 6749
	reason     string
	detail     detail
	cause      cause
	challenges []string // WWW-Authenticate, one header line each
	retry      bool     // Retry-After
}

// detail is an exception's metadata; cause what it was caused by. Zero: none.
type (
	detail struct{ name, value string }
	cause  struct{ kind, reason string }
)

// append appends the body as compact JSON.
func (p *reply) append(dst []byte) []byte {
	switch p.shape {
	case oauthShape:
		dst = append(dst, `{"error":`...)
		dst = appendString(dst, p.kind)
		dst = append(dst, `,"error_description":`...)
		dst = appendString(dst, p.reason)
		return append(dst, '}')
	case simpleShape:
		dst = append(dst, `{"error":`...)
		dst = appendString(dst, p.reason)
	case elasticShape:
		dst = append(dst, `{"error":{"root_cause":[{`...)
		dst = p.appendException(dst, false)
		dst = append(dst, `}],`...)
		dst = p.appendException(dst, true)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.status), 10)
	return append(dst, '}')
}

// appendException appends the members of one exception.
func (p *reply) appendException(dst []byte, withCause bool) []byte {
	dst = append(dst, `"type":`...)
	dst = appendString(dst, p.kind)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, p.reason)
	if p.detail.name != "" {
		dst = append(dst, ',')
		dst = appendString(dst, p.detail.name)
		dst = append(dst, ':')
		dst = appendString(dst, p.detail.value)
	}
	if withCause && p.cause.kind != "" {
		dst = append(dst, `,"caused_by":{"type":`...)
		dst = appendString(dst, p.cause.kind)
		dst = append(dst, `,"reason":`...)
		dst = appendString(dst, p.cause.reason)
		dst = append(dst, '}')
	}
	switch len(p.challenges) {
	case 0:
	case 1:
		dst = append(dst, `,"header":{"WWW-Authenticate":`...)
		dst = appendString(dst, p.challenges[0])
		dst = append(dst, '}')
	default:
		dst = append(dst, `,"header":{"WWW-Authenticate":`...)
		dst = appendStrings(dst, p.challenges)
		dst = append(dst, '}')
	}
	return dst
}

// audit logs an error's answer where an auditor or an operator needs it. The name
// of a user who could not be authenticated is left out: people type passwords into
// the wrong field.
func (s *Server) audit(x *exchange, p reply, err error) {
	at := []any{"method", knownMethod(x.request.Method), "route", x.route, "remote", x.request.RemoteAddr}
	switch {
	case p.status == http.StatusUnauthorized:
		s.log.Info("authentication refused", at...)
	case p.status == http.StatusForbidden:
		s.log.Info("access refused", append(at, "user", principal(x.caller.Identity.Principal))...)
	case p.kind == codeInvalidGrant:
		s.log.Info("refresh refused", append(at, "client", principal(x.caller.Identity.Principal), "reason", p.reason)...)
	case p.status == http.StatusInternalServerError:
		s.log.Error("request failed", append(at, "error", internalText(err))...)
	case p.status >= http.StatusInternalServerError, p.status == http.StatusTooManyRequests:
		s.log.Debug("request not served", append(at, "error", err)...)
	}
}

// internalText is what the log may say of a bug. A panic's value may be anything;
// only the runtime's own are known to hold nothing of a client's.
func internalText(err error) string {
	p, ok := err.(*panicError) //nolint:errorlint // made by run, never wrapped
	if !ok {
		return err.Error()
	}
	text := fmt.Sprintf("panic with a %T", p.value)
	if e, ok := p.value.(runtime.Error); ok {
		text = "panic: " + e.Error()
	}
	return text + "\n" + string(p.stack)
}

// principal is how a user is named in the log.
func principal(p fsm.Principal) string { return string(p.Username) + "@" + string(p.Realm.Name) }

// knownMethod keeps a client's own words out of the log.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return method
	default:
		return "other"
	}
}
