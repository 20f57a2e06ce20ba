package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"jeton/node/token/tokentest"
)

// Texts of the API that tell one refusal from another; clients compare them, too.
const (
	textExpired     = `error_description="The access token expired"`
	textInvalidated = "token has been invalidated"
	textReused      = "token has already been refreshed more than 30 seconds in the past"
	maxQuoted       = 300
)

// outcome is what an answer means.
type outcome struct {
	out      tokentest.Output
	family   int           // that an issue began
	lifetime time.Duration // of the access token, where there is a new one
	body     []byte        // of what is done
	recorded bool          // the history has it
	// open: it may take effect, or not. Neither recorded nor open: it certainly had no
	// effect and told nothing.
	open   bool
	ending ending
	wrong  string // why the answer cannot be; empty: it can

	from   string
	status int
	text   string // of a refusal, for reports
	err    error
}

func (o *outcome) refused(a tokentest.Answer) {
	o.out.Answer, o.recorded, o.ending = a, true, endedRefused
}

// judge reads an answer to an operation.
func judge(o order, t Target, a answer) outcome {
	result := outcome{from: t.Name, status: a.status, err: a.err, ending: endedFailed}
	result.out.Uncounted = o.oauth2
	if a.status >= http.StatusBadRequest {
		result.text = quote(a.body)
	}
	switch {
	case a.err != nil:
		result.open = a.sent
	case a.status == http.StatusOK:
		if err := result.done(o, a.body); err != nil {
			result.wrong, result.open = fmt.Sprintf("malformed: %v", err), true
		}
	case a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests:
		result.unavailable(t, a)
	case a.status == http.StatusRequestTimeout: // the body came too slowly, and was not looked at
		result.ending = endedUnavailable
	case t.Balancer && (a.status == http.StatusBadGateway || a.status == http.StatusGatewayTimeout):
		result.ending, result.open = endedUnavailable, true
	default:
		result.refusal(o, a)
	}
	return result
}

// unavailable reads an answer that asks for patience. Overload is certain: nothing was
// done; an outage is not.
func (o *outcome) unavailable(t Target, a answer) {
	o.ending = endedUnavailable
	o.open = a.status == http.StatusServiceUnavailable && !strings.Contains(o.text, "es_rejected_execution_exception")
	if a.header.Get("Retry-After") == "" && !t.Balancer {
		o.wrong = "no Retry-After"
	}
}

// refusal reads a no.
func (o *outcome) refusal(r order, a answer) {
	switch {
	case r.in.Action == tokentest.Authenticate && !r.oauth2 && a.status == http.StatusUnauthorized &&
		strings.Contains(a.header.Get("WWW-Authenticate"), textExpired):
		o.refused(tokentest.Dead)
	case r.in.Action == tokentest.Refresh && a.status == http.StatusBadRequest && strings.Contains(o.text, textInvalidated):
		o.refused(tokentest.Invalidated)
	case r.in.Action == tokentest.Refresh && a.status == http.StatusBadRequest && strings.Contains(o.text, textReused):
		o.refused(tokentest.Reused)
	default:
		o.wrong, o.open = "impossible", true
	}
}

// done reads what was done.
func (o *outcome) done(r order, body []byte) error {
	var fields struct {
		Access   *string `json:"access_token"`
		Refresh  *string `json:"refresh_token"`
		Lifetime *int64  `json:"expires_in"`
		Username *string `json:"username"`
		Active   *bool   `json:"active"`
		Ended    *int    `json:"invalidated_tokens"`
		Before   *int    `json:"previously_invalidated_tokens"`
		Errors   *int    `json:"error_count"`
	}
	if err := json.Unmarshal(body, &fields); err != nil {
		return fmt.Errorf("no JSON object: %w", err)
	}
	switch r.in.Action {
	case tokentest.Issue, tokentest.Refresh:
		if fields.Access == nil || fields.Refresh == nil || fields.Lifetime == nil || *fields.Access == "" || *fields.Refresh == "" {
			return errors.New("no pair of tokens")
		}
		o.out.Pair = tokentest.Pair{Access: *fields.Access, Refresh: *fields.Refresh}
		o.lifetime = time.Duration(*fields.Lifetime) * time.Second
	case tokentest.Authenticate:
		if r.oauth2 && fields.Active != nil && !*fields.Active {
			o.refused(tokentest.Dead)
			return nil
		}
		if fields.Username == nil || *fields.Username != r.in.User {
			return fmt.Errorf("not the token of %s", r.in.User)
		}
	case tokentest.InvalidateAccess, tokentest.InvalidateRefresh, tokentest.InvalidateFamily, tokentest.InvalidateUser:
		if !r.oauth2 && (fields.Ended == nil || fields.Before == nil || fields.Errors == nil || *fields.Errors != 0) {
			return errors.New("no counts")
		}
		if !o.out.Uncounted {
			o.out.Invalidated, o.out.PreviouslyInvalidated = *fields.Ended, *fields.Before
		}
	case tokentest.SetPassword:
	}
	o.recorded, o.ending, o.body = true, endedOK, body
	return nil
}

// said names an outcome in a report.
func (o *outcome) said() string {
	if o.err != nil {
		return fmt.Sprintf("%s: %v", o.from, o.err)
	}
	return fmt.Sprintf("%s: %d %s", o.from, o.status, o.text)
}

// quote is the beginning of a refusal. No refusal has a secret in it.
func quote(body []byte) string {
	return strings.ToValidUTF8(string(body[:min(len(body), maxQuoted)]), "?")
}
