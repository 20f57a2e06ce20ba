package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

const (
	actionInvalidate = "cluster:admin/xpack/security/token/invalidate"
	actionGetTokens  = "cluster:admin/xpack/security/token/get"
)

// forbidden is the body of a 403 for joe.
func forbidden(action string) string {
	return exception("security_exception", "action ["+action+"] is unauthorized for user [joe] "+
		"with effective roles [r], this action is granted by the cluster privileges [manage_token,manage_security,all]", "403")
}

func TestInvalidate(t *testing.T) {
	counts := func(invalidated, previously int) world {
		return world{invalidate: func(token.Caller, token.InvalidateRequest) (token.Counts, error) {
			return token.Counts{Invalidated: invalidated, PreviouslyInvalidated: previously}, nil
		}}
	}
	const (
		zero = `{"invalidated_tokens":0,"previously_invalidated_tokens":0,"error_count":0}`
		one  = `{"invalidated_tokens":1,"previously_invalidated_tokens":0,"error_count":0}`
		done = `{"invalidated_tokens":0,"previously_invalidated_tokens":1,"error_count":0}`
	)
	const both = `{"type":"x_content_parse_exception","reason":"Failed to build [invalidate_token] after last required field arrived"}`
	validation := func(problems string) string {
		return exception("action_request_validation_exception", "Validation Failed: "+problems, "400")
	}
	missing := validation("1: token string must be provided when not specifying a realm name or a username;")
	mixed := validation("1: token string must not be provided when realm name or username is specified;" +
		"2: token type must not be provided when realm name or username is specified;")
	request := "DELETE " + tokenPath
	foreign := world{authorize: forbid, invalidate: func(token.Caller, token.InvalidateRequest) (token.Counts, error) {
		return token.Counts{}, fmt.Errorf("invalidate: %w", &fsm.RefusalError{Reason: fsm.NotOwned})
	}}
	check(t, []call{
		{name: "active", world: counts(1, 0), request: request, body: `{"token":"t"}`, status: 200, want: one},
		{name: "again", world: counts(0, 1), request: request, body: `{"token":"t"}`, status: 200, want: done},
		{name: "refresh token", world: counts(1, 0), request: request, body: `{"refresh_token":"t"}`, status: 200, want: one},
		{name: "unknown", world: counts(0, 0), request: request, body: `{"token":"t"}`, status: 404, want: zero},
		{name: "unknown refresh token", world: counts(0, 0), request: request, body: `{"refresh_token":"t"}`, status: 404, want: zero},
		{
			name: "by user", world: counts(4, 2), request: request, body: `{"username":"u"}`, status: 200,
			want: `{"invalidated_tokens":4,"previously_invalidated_tokens":2,"error_count":0}`,
		},
		{name: "by realm, none", world: counts(0, 0), request: request, body: `{"realm_name":"r","username":" "}`, status: 200, want: zero},
		{name: "old path", world: counts(1, 0), request: "DELETE /_xpack/security/oauth2/token", body: `{"token":"t"}`, status: 200, want: `{"created":true,` + one[1:]},
		{request: request, body: `{}`, status: 400, want: missing},
		{request: request, body: `{"token":"","username":"","realm_name":" "}`, status: 400, want: missing},
		{request: request, body: `{"token":"t","username":"u"}`, status: 400, want: mixed},
		{request: request, body: `{"refresh_token":"t","realm_name":"r"}`, status: 400, want: mixed},
		{
			request: request, body: `{"token":"a","refresh_token":"b"}`, status: 400,
			want: `{"error":{"root_cause":[` + both + `],` + both[1:len(both)-1] +
				`,"caused_by":{"type":"illegal_argument_exception","reason":"only one of [token, refresh_token] may be sent per request"}},"status":400}`,
		},
		{request: request, body: `{"x":1}`, status: 400, want: exception("x_content_parse_exception", "[1:2] [invalidate_token] unknown field [x]", "400")},
		{name: "no body", request: request, status: 400, want: exception("parse_exception", "request body is required", "400")},
		{
			name: "no privilege", world: foreign, request: request, body: `{"token":"t"}`, status: 403,
			want: forbidden(actionInvalidate),
		},
		{
			name: "outage",
			world: world{invalidate: func(token.Caller, token.InvalidateRequest) (token.Counts, error) {
				return token.Counts{}, token.ErrUnavailable
			}},
			request: request, body: `{"token":"t"}`, status: 503,
			want:    outageBody(),
			headers: map[string]string{"Retry-After": "1"},
		},
	})
}

func TestInvalidateRequestIsPassedOn(t *testing.T) {
	var got token.InvalidateRequest
	w := world{invalidate: func(_ token.Caller, r token.InvalidateRequest) (token.Counts, error) {
		got = r
		return token.Counts{Invalidated: 1}, nil
	}}
	send := func(body string) token.InvalidateRequest {
		got = token.InvalidateRequest{}
		check(t, []call{{
			world: w, request: "DELETE " + tokenPath, body: body, status: 200,
			want: `{"invalidated_tokens":1,"previously_invalidated_tokens":0,"error_count":0}`,
		}})
		return got
	}
	if got := send(`{"realm_name":"r","username":"u"}`); got.Realm != "r" || got.Username != "u" || !got.Token.IsZero() || !got.RefreshToken.IsZero() {
		t.Errorf("realm and username: %+v", got)
	}
	if got := send(`{"token":"a"}`); got.Token.Expose() != "a" || !got.RefreshToken.IsZero() || got.Realm+fsm.RealmName(got.Username) != "" {
		t.Errorf("token: %+v", got)
	}
	if got := send(`{"refresh_token":"b"}`); got.RefreshToken.Expose() != "b" || !got.Token.IsZero() {
		t.Errorf("refresh token: %+v", got)
	}
}

// id is that of a pair.
func id(n byte) string {
	digest := fsm.Digest{n}
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// TestInvalidateMoreThanElasticsearch is about the members that only Jeton has.
func TestInvalidateMoreThanElasticsearch(t *testing.T) {
	requests := func(joined string) world {
		return world{authorize: func(user *fsm.Identity, action string) error {
			if strings.Contains(joined, "unprivileged") {
				return forbid(user, action)
			}
			return nil
		}, invalidate: func(_ token.Caller, r token.InvalidateRequest) (token.Counts, error) {
			switch {
			case strings.Contains(joined, "none"):
				return token.Counts{}, nil
			case strings.Contains(joined, "foreign"):
				return token.Counts{}, &fsm.RefusalError{Reason: fsm.NotOwned}
			}
			return token.Counts{Invalidated: 2}, nil
		}}
	}
	const (
		two  = `{"invalidated_tokens":2,"previously_invalidated_tokens":0,"error_count":0}`
		zero = `{"invalidated_tokens":0,"previously_invalidated_tokens":0,"error_count":0}`
	)
	bad := func(problems string) string {
		return exception("action_request_validation_exception", "Validation Failed: "+problems, "400")
	}
	parse := func(reason string) string { return exception("parse_exception", reason, "400") }
	many := `["` + strings.Repeat(id(1)+`","`, token.MaxIDs) + id(1) + `"]`
	exclusive := "1: only one of [token, refresh_token, ids, owner, all] can be specified, and none of them together with [realm_name] or [username];"
	reach := "1: [pair] and [family] can only be specified together with [token], [refresh_token] or [ids];"
	moment := "failed to parse [created_before]: want milliseconds since the epoch, or a date and time as in RFC 3339"
	request := "DELETE " + tokenPath
	narrow := world{
		authenticate: func(bool, token.Credentials) (token.Caller, error) {
			identity := elastic()
			identity.Scope = []string{"monitor"}
			return token.Caller{Identity: identity, Type: token.AuthenticationToken}, nil
		},
		authorize: forbid,
	}
	check(t, []call{
		{request: request, body: `{"ids":["` + id(1) + `"]}`, status: 200, want: two, world: requests("")},
		{name: "ids, gone", request: request, body: `{"ids":["` + id(1) + `"]}`, status: 404, want: zero, world: requests("none")},
		{name: "own ids, gone", request: request, body: `{"ids":["` + id(1) + `"]}`, status: 404, want: zero, world: requests("none unprivileged")},
		{name: "another's ids", request: request, body: `{"ids":["` + id(1) + `"]}`, status: 403, want: forbidden(actionInvalidate), world: requests("foreign unprivileged")},
		{name: "own token", request: request, body: `{"token":"t"}`, status: 200, want: two, world: requests("unprivileged")},
		{name: "unknown, or another's", request: request, body: `{"token":"t"}`, status: 403, want: forbidden(actionInvalidate), world: requests("none unprivileged")},
		{name: "own sessions", request: request, body: `{"owner":true}`, status: 200, want: two, world: requests("unprivileged")},
		{name: "own sessions, none", request: request, body: `{"owner":true}`, status: 200, want: zero, world: requests("none unprivileged")},
		{name: "own, narrowed", request: request, body: `{"owner":true}`, status: 403, want: forbidden(actionInvalidate), world: narrow},
		{name: "named, narrowed", request: request, body: `{"token":"t"}`, status: 403, want: forbidden(actionInvalidate), world: narrow},
		{name: "all, unprivileged", request: request + "?confirm=true", body: `{"all":true}`, status: 403, want: forbidden(actionInvalidate), world: requests("unprivileged")},
		{name: "a user's, unprivileged", request: request, body: `{"username":"elastic"}`, status: 403, want: forbidden(actionInvalidate), world: requests("unprivileged")},
		{request: request + "?confirm=true", body: `{"all":true}`, status: 200, want: two, world: requests("")},
		{name: "all, none", request: request + "?confirm", body: `{"all":true,"created_before":0}`, status: 200, want: zero, world: requests("none")},
		{request: request, body: `{"all":true}`, status: 400, want: bad("1: invalidating all tokens must be confirmed with the parameter [confirm=true];")},
		{request: request + "?confirm=false", body: `{"all":true}`, status: 400, want: bad("1: invalidating all tokens must be confirmed with the parameter [confirm=true];")},
		{request: request + "?confirm=yes", body: `{"all":true}`, status: 400, want: exception("illegal_argument_exception", "Failed to parse value [yes] as only [true] or [false] are allowed.", "400")},
		{name: "old path", request: "DELETE /_xpack/security/oauth2/token", body: `{"owner":true}`, status: 200, want: `{"created":true,` + two[1:], world: requests("")},
		{request: request, body: `{"owner":false,"all":false,"pair":true}`, status: 400, want: bad("1: token string must be provided when not specifying a realm name or a username;")},
		{request: request, body: `{"token":"t","owner":true}`, status: 400, want: bad(exclusive)},
		{request: request, body: `{"owner":true,"username":"u"}`, status: 400, want: bad(exclusive)},
		{request: request + "?confirm=true", body: `{"all":true,"realm_name":"u"}`, status: 400, want: bad(exclusive)},
		{request: request, body: `{"ids":["` + id(1) + `"],"refresh_token":"r"}`, status: 400, want: bad(exclusive)},
		{request: request, body: `{"owner":true,"pair":true}`, status: 400, want: bad(reach)},
		{request: request, body: `{"username":"u","family":true}`, status: 400, want: bad(reach)},
		{request: request, body: `{"token":"t","created_before":1}`, status: 400, want: bad("1: [created_before] can only be specified together with [realm_name], [username], [owner] or [all];")},
		{request: request, body: `{"ids":[]}`, status: 400, want: bad("1: [ids] must hold at least one id and no more than [1000];")},
		{name: "too many ids", request: request, body: `{"ids":` + many + `}`, status: 400, want: bad("1: [ids] must hold at least one id and no more than [1000];")},
		{request: request, body: `{"ids":["jat_x"]}`, status: 400, want: bad("1: [ids] must hold ids as the list of tokens has them;")},
		{request: request, body: `{"ids":"x"}`, status: 400, want: parse("could not parse [ids] field. expected a string array but found [VALUE_STRING] value instead")},
		{request: request, body: `{"ids":[1]}`, status: 400, want: parse("could not parse [ids] field. expected a string array but one of the value in the array is [VALUE_NUMBER]")},
		{request: request, body: `{"owner":"true"}`, status: 400, want: parse("expected field [owner] to be of type boolean, but found [VALUE_STRING] instead")},
		{request: request, body: `{"owner":true,"created_before":"yesterday"}`, status: 400, want: parse(moment)},
		{request: request, body: `{"owner":true,"created_before":-1}`, status: 400, want: parse(moment)},
		{request: request, body: `{"owner":true,"created_before":1.5}`, status: 400, want: parse(moment)},
		{request: request, body: `{"owner":true,"created_before":99999999999999999}`, status: 400, want: parse(moment)},
		{request: request, body: `{"owner":true,"created_before":null}`, status: 400, want: parse(moment)},
	})
}

// TestInvalidateIsTranslated: what the use case is asked for.
func TestInvalidateIsTranslated(t *testing.T) {
	moment := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	first, second := fsm.Digest{1}, fsm.Digest{2}
	for body, want := range map[string]token.InvalidateRequest{
		`{"ids":["` + id(2) + `","` + id(1) + `"]}`: {IDs: []fsm.Digest{second, first}, OwnOnly: true},
		`{"ids":["` + id(1) + `"],"family":true}`:   {IDs: []fsm.Digest{first}, Reach: fsm.ReachFamily, OwnOnly: true},
		`{"owner":true}`: {Owner: true},
		`{"owner":true,"created_before":"2024-05-06T09:08:09+02:00"}`:          {Owner: true, CreatedBefore: moment},
		`{"owner":true,"token":"","all":false,"created_before":1714979289000}`: {Owner: true, CreatedBefore: moment},
	} {
		var got token.InvalidateRequest
		w := world{authorize: forbid, invalidate: func(_ token.Caller, r token.InvalidateRequest) (token.Counts, error) {
			got = r
			return token.Counts{Invalidated: 1}, nil
		}}
		serve(handlerOf(t, config(&w)), &call{request: "DELETE " + tokenPath, body: body})
		same := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
		if d := cmp.Diff(want, got, same, cmp.Comparer(func(a, b realm.Secret) bool { return a.Expose() == b.Expose() })); d != "" {
			t.Errorf("%s (-want +got):\n%s", body, d)
		}
	}
	var reaches []fsm.Reach
	w := world{invalidate: func(_ token.Caller, r token.InvalidateRequest) (token.Counts, error) {
		reaches = append(reaches, r.Reach)
		return token.Counts{Invalidated: 1}, nil
	}}
	for _, body := range []string{`{"token":"t"}`, `{"token":"t","pair":true}`, `{"refresh_token":"t","family":true}`, `{"token":"t","pair":true,"family":true}`} {
		if answer := serve(handlerOf(t, config(&w)), &call{request: "DELETE " + tokenPath, body: body}); answer.Code != http.StatusOK {
			t.Errorf("%s: %s", body, answer.Body)
		}
	}
	if d := cmp.Diff([]fsm.Reach{fsm.ReachToken, fsm.ReachPair, fsm.ReachFamily, fsm.ReachFamily}, reaches); d != "" {
		t.Errorf("reaches (-want +got):\n%s", d)
	}
}
