package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// audit logs an error's answer where an auditor or an operator needs it. The name
// of a user who could not be authenticated is left out: people type passwords into
// the wrong field.
func (s *Server) audit(x *exchange, p reply, err error) {
	at := []any{"method", knownMethod(x.request.Method), "route", x.route, "remote", x.request.RemoteAddr}
	switch {
	case p.status == http.StatusUnauthorized:
		s.log.Info("authentication refused", append(at, "reason", whyUnauthorized(x, err))...)
	case p.status == http.StatusForbidden:
		s.log.Info("access refused", append(at, "user", x.who())...)
	case p.kind == codeInvalidGrant:
		s.auditRefresh(x, p, err, at)
	case p.status == http.StatusInternalServerError:
		s.log.Error("request failed", append(at, "error", internalText(err))...)
	case p.status >= http.StatusInternalServerError, p.status == http.StatusTooManyRequests:
		s.log.Debug("request not served", append(at, "error", err)...)
	}
}

// auditRefresh logs a refused refresh. If it has ended a family, somebody holds a
// stolen token, and the owner's other sessions may be next.
func (s *Server) auditRefresh(x *exchange, p reply, err error, at []any) {
	at = append(at, "client", x.who())
	if reuse, ok := errors.AsType[*token.ReuseError](err); ok && reuse.Ended > 0 {
		s.log.Warn("refresh token reused, session ended",
			append(at, "user", string(reuse.Owner.Username), "realm", string(reuse.Owner.Realm.Name), "count", reuse.Ended)...)
		return
	}
	s.log.Info("refresh refused", append(at, "reason", p.reason)...)
}

// whyUnauthorized tells an operator what to look for, in words of our own only. A
// wrong password and an unknown user are one: the log is no oracle either.
func whyUnauthorized(x *exchange, err error) string {
	if e, ok := errors.AsType[*headerError](err); ok {
		return e.audit
	}
	e, called := errors.AsType[*callerError](err)
	switch {
	case errors.Is(err, realm.ErrBadCredentials):
		return "bad credentials"
	case errors.Is(err, token.ErrExpired):
		return "expired or invalidated token"
	case called && errors.Is(err, token.ErrUnknown) && token.Malformed(e.credentials.Bearer):
		return "malformed token"
	case errors.Is(err, token.ErrUnknown):
		return "unknown token"
	}
	// A header of another scheme than ours, which counts as none.
	if _, rest, _ := strings.Cut(x.request.Header.Get("Authorization"), " "); strings.TrimSpace(rest) != "" {
		return reasonScheme
	}
	return "no credentials"
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

// principal is how a user is named in the log. Public clients have no name there, for
// what they call themselves is no more than what a stranger typed.
func principal(p fsm.Principal) string {
	if p.Realm.Type == realmPublic {
		p.Username = ""
	}
	return string(p.Username) + "@" + string(p.Realm.Name)
}

// who is how the caller is named in the log.
func (x *exchange) who() string {
	who := principal(x.caller.Identity.Principal)
	if actor := x.caller.Identity.RunBy; actor != nil {
		who += " run by " + principal(actor.Principal)
	}
	return who
}

// knownMethod keeps a client's own words out of the log.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return method
	default:
		return "other"
	}
}
