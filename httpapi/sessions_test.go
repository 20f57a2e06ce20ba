package httpapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/node/token"
)

func TestSessions(t *testing.T) {
	native := fsm.Realm{Name: fsm.RealmNative, Type: "native"}
	joe := fsm.Principal{Username: "joe", Realm: native}
	pair := token.Session{Active: true, Listed: fsm.Listed{ID: fsm.Digest{1}, Token: fsm.Token{
		Identity: &fsm.Identity{Principal: joe}, Client: &fsm.Client{Principal: elastic().Principal},
		CreatedAt: 1000, AccessExpiresAt: 2000, RefreshExpiresAt: 3000, SessionEndsAt: 4000, Refreshed: true,
	}}}
	alone := token.Session{Listed: fsm.Listed{ID: fsm.Digest{2}, Token: fsm.Token{
		Identity: &fsm.Identity{
			Principal: joe, Scope: []string{"manage_token", "monitor"},
			RunBy: &fsm.Actor{Principal: elastic().Principal},
		},
		Client:    &fsm.Client{Principal: joe, RunBy: elastic().Principal},
		CreatedAt: 1000, AccessExpiresAt: 2000, AccessInvalidated: true,
	}}}
	page := world{
		authenticate: func(bool, token.Credentials) (token.Caller, error) {
			return token.Caller{Identity: elastic(), Type: token.AuthenticationToken, AccessDigest: fsm.Digest{1}}, nil
		},
		sessions: func(token.Caller, token.SessionsRequest) (token.SessionsPage, error) {
			return token.SessionsPage{Sessions: []token.Session{pair, alone}, After: "next"}, nil
		},
	}
	fails := func(err error) world {
		return world{sessions: func(token.Caller, token.SessionsRequest) (token.SessionsPage, error) {
			return token.SessionsPage{}, err
		}}
	}
	const (
		aJoe     = `"username":"joe","realm":"default_native","realm_type":"native"`
		aElastic = `"username":"elastic","realm":"reserved","realm_type":"reserved"`
	)
	const disabled = `"type":"feature_not_enabled_exception","reason":"security tokens are not enabled","disabled.feature":"security_tokens"`
	argument := func(reason string) string { return exception("illegal_argument_exception", reason, "400") }
	request := "GET " + tokenPath
	check(t, []call{
		{name: "a page", world: page, request: request, status: 200, want: `{"tokens":[` +
			`{"id":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",` + aJoe + `,"client":{` + aElastic + `},` +
			`"creation":1000,"expiration":2000,"invalidated":false,"refresh_expiration":3000,"refresh_invalidated":false,"refreshed":true,` +
			`"session_expiration":4000,"active":true,"current":true},` +
			`{"id":"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",` + aJoe + `,"run_by":{` + aElastic + `},"scope":"manage_token monitor",` +
			`"client":{` + aJoe + `,"run_by":{` + aElastic + `}},` +
			`"creation":1000,"expiration":2000,"invalidated":true,"active":false,"current":false}` +
			`],"after":"next"}`},
		{name: "the last page", request: request + "?owner=true&active_only&size=1000", status: 200, want: `{"tokens":[]}`},
		{name: "old path", request: "GET /_xpack/security/oauth2/token", status: 200, want: `{"tokens":[]}`},
		{name: "unprivileged", world: world{authorize: forbid}, request: request, status: 403, want: forbidden(actionGetTokens)},
		{name: "another's", world: world{authorize: forbid}, request: request + "?username=joe", status: 403, want: forbidden(actionGetTokens)},
		{name: "of the same name", world: world{authorize: forbid}, request: request + "?username=elastic", status: 403, want: forbidden(actionGetTokens)},
		{name: "one's own", world: world{authorize: forbid}, request: request + "?owner", status: 200, want: `{"tokens":[]}`},
		{name: "one's own, by name", world: world{authorize: forbid}, request: request + "?username=elastic&realm_name=reserved", status: 200, want: `{"tokens":[]}`},
		{name: "outage", world: fails(token.ErrUnavailable), request: request, status: 503, want: outageBody(), headers: map[string]string{"Retry-After": "1"}},
		{name: "cursor", world: fails(token.ErrCursor), request: request + "?after=x", status: 400, want: argument("[after] is not the end of a page")},
		{name: "disabled", world: fails(token.ErrDisabled), request: request, status: 400, want: `{"error":{"root_cause":[{` + disabled + `}],` + disabled + `},"status":400}`},
		{request: request + "?owner=true&username=elastic", status: 400, want: exception("action_request_validation_exception", "Validation Failed: 1: neither username nor realm-name may be specified when retrieving owned tokens;", "400")},
		{request: request + "?owner=1", status: 400, want: argument("Failed to parse value [1] as only [true] or [false] are allowed.")},
		{request: request + "?active_only=1", status: 400, want: argument("Failed to parse value [1] as only [true] or [false] are allowed.")},
		{request: request + "?size=ten", status: 400, want: argument("Failed to parse int parameter [size] with value [ten]")},
		{request: request + "?size=0", status: 400, want: argument("[size] must be at least [1] and no more than [1000]")},
		{request: request + "?size=1001", status: 400, want: argument("[size] must be at least [1] and no more than [1000]")},
		{request: request + "?from=5", status: 400, want: argument("request [/_security/oauth2/token] contains unrecognized parameter: [from]")},
	})
}

func TestSessionsRequestIsPassedOn(t *testing.T) {
	for query, want := range map[string]token.SessionsRequest{
		"":                                     {Size: 100},
		"?owner&active_only=true&size=7":       {Owner: true, Active: true, Size: 7},
		"?username=joe&realm_name=r&after=abc": {Username: "joe", Realm: "r", Size: 100, After: "abc"},
	} {
		var got token.SessionsRequest
		w := world{sessions: func(_ token.Caller, r token.SessionsRequest) (token.SessionsPage, error) {
			got = r
			return token.SessionsPage{}, nil
		}}
		serve(handlerOf(t, config(&w)), &call{request: "GET " + tokenPath + query})
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", query, d)
		}
	}
}
