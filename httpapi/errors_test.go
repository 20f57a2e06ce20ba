package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// Every row of the translation that a use case's error can meet, wrapped as they
// come. Credentials and grants have their own tables.
func TestErrorTranslation(t *testing.T) {
	retry := map[string]string{"Retry-After": "1"}
	unavailable := outageBody()
	internal := exception("status_exception", "internal server error", "500")
	for _, c := range []struct {
		err     error
		status  int
		want    string
		headers map[string]string
	}{
		{realm.ErrUnavailable, 503, unavailable, retry},
		{context.DeadlineExceeded, 503, unavailable, retry},
		{context.Canceled, 503, unavailable, retry},
		{&fsm.RefusalError{Reason: fsm.StaleDecision}, 503, unavailable, retry},
		{&fsm.RefusalError{Reason: fsm.Expired}, 503, unavailable, retry},
		{realm.ErrOverloaded, 503, repeatable("es_rejected_execution_exception", "rejected execution: too many writes are pending", repeat, "503"), retry},
		{realm.ErrBusy, 429, repeatable("es_rejected_execution_exception", "rejected execution: too many passwords wait to be verified", repeat, "429"), retry},
		{&realm.ArgumentError{Message: "m"}, 400, exception("illegal_argument_exception", "m", "400"), nil},
		{&realm.ValidationError{Type: "validation_exception", Messages: []string{"m", "n"}}, 400, exception("validation_exception", "Validation Failed: 1: m;2: n;", "400"), nil},
		{&realm.ForbiddenError{Action: "a", Username: "u"}, 403, exception("security_exception", "action [a] is unauthorized for user [u] with effective roles []", "403"), nil},
		{&fsm.RefusalError{Reason: fsm.DigestTaken}, 500, internal, nil},
		{&fsm.RefusalError{Reason: fsm.UnknownUser}, 500, internal, nil},
		{&fsm.RefusalError{Reason: fsm.PasswordRequired}, 500, internal, nil},
		{&fsm.RefusalError{Reason: fsm.AlreadySet}, 500, internal, nil},
		{errors.New("text that stays with us"), 500, internal, nil},
	} {
		w := world{deleteUser: func(fsm.Username) (bool, error) { return false, fmt.Errorf("delete user: %w", c.err) }}
		check(t, []call{{name: c.err.Error(), world: w, request: "DELETE /_security/user/joe", status: c.status, want: c.want, headers: c.headers}})
	}
}

// The caller's authentication may fail for reasons that say nothing about the caller.
func TestOutageIsNeverUnauthorized(t *testing.T) {
	for err, status := range map[error]int{token.ErrUnavailable: 503, token.ErrOverloaded: 503, realm.ErrBusy: 429, errors.New("x"): 500} {
		w := &world{authenticate: func(bool, token.Credentials) (token.Caller, error) { return token.Caller{}, err }}
		for _, request := range []string{"GET /_security/_authenticate", "POST " + tokenPath} {
			if answer := serve(handlerOf(t, config(w)), &call{request: request}); answer.Code != status {
				t.Errorf("%s with %v: status %d, want %d", request, err, answer.Code, status)
			}
		}
		w = &world{issue: func(token.Caller, token.IssueRequest) (token.Pair, error) { return token.Pair{}, err }}
		c := call{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"u","password":"p"}`}
		if answer := serve(handlerOf(t, config(w)), &c); answer.Code != status {
			t.Errorf("password grant with %v: status %d, want %d", err, answer.Code, status)
		}
	}
}

func TestRouting(t *testing.T) {
	method := func(uri, method, allowed string) string {
		return `{"error":"Incorrect HTTP method for uri [` + uri + `] and method [` + method + `], allowed: [` + allowed + `]","status":405}`
	}
	none := authorization()
	check(t, []call{
		{
			request: "PUT /_security/oauth2/token?human", header: none, status: 405,
			want: method("/_security/oauth2/token?human", "PUT", "DELETE, GET, POST"), headers: map[string]string{"Allow": "DELETE,GET,POST"},
		},
		{
			request: "HEAD /_security/_authenticate", header: none, status: 405, headers: map[string]string{"Allow": "GET"},
		},
		{
			request: "PATCH /_security/user/joe", header: none, status: 405,
			want: method("/_security/user/joe", "PATCH", "DELETE, GET, POST, PUT"), headers: map[string]string{"Allow": "DELETE,GET,POST,PUT"},
		},
		{
			request: "OPTIONS /_security/oauth2/token", header: none, status: 200,
			headers: map[string]string{"Allow": "DELETE,GET,POST", "Content-Type": "text/plain; charset=UTF-8"},
		},
		{
			request: "GET /nowhere?x=1", header: none, status: 404,
			want: exception("resource_not_found_exception", "no handler found for uri [/nowhere?x=1] and method [GET]", "404"),
		},
		{
			request: "GET /_security/user/a/b", header: none, status: 404,
			want: exception("resource_not_found_exception", "no handler found for uri [/_security/user/a/b] and method [GET]", "404"),
		},
		{request: "GET //", status: 200, want: mainPretty},
	})
}

func TestContentTypes(t *testing.T) {
	simple := func(text string) string { return `{"error":"` + text + `","status":406}` }
	grant := `{"grant_type":"client_credentials"}`
	ok := `{"access_token":"jat_1","type":"Bearer","expires_in":1200,"authentication":` + elasticJSON + `"realm"}}`
	for _, c := range []struct {
		contentType string
		status      int
		want        string
	}{
		{"application/json", 200, ok},
		{"application/json; charset=UTF-8", 200, ok},
		{"Application/JSON;charset=utf-8", 200, ok},
		{"application/vnd.elasticsearch+json;compatible-with=7", 200, ok},
		{"application/vnd.elasticsearch+json; compatible-with=8", 200, ok},
		{"application/vnd.elasticsearch+json ; charset=utf-8 ; Compatible-With = 9", 200, ok},
		{"application/vnd.elasticsearch+json", 200, ok},
		{"application/x-www-form-urlencoded", 406, simple("Content-Type header [application/x-www-form-urlencoded] is not supported")},
		{"text/plain", 406, simple("Content-Type header [text/plain] is not supported")},
		{"application/yaml", 406, simple("Content-Type header [application/yaml] is not supported")},
		{"", 406, simple("Content-Type header is missing")},
	} {
		header := http.Header{"Content-Type": {c.contentType}}
		if c.contentType == "" {
			header = http.Header{"Content-Type": nil}
		}
		answer := noStore
		if c.status != 200 {
			answer = nil
		}
		check(t, []call{{name: c.contentType, request: "POST " + tokenPath, header: header, body: grant, status: c.status, want: c.want, headers: answer}})
	}
	bad := `"type":"media_type_header_exception","reason":"Invalid media-type value on headers [Content-Type]"`
	check(t, []call{{
		name: "version of the future", request: "POST " + tokenPath, body: grant, status: 400,
		header: http.Header{"Content-Type": {"application/vnd.elasticsearch+json;compatible-with=10"}},
		want: `{"error":{"root_cause":[{` + bad + `}],` + bad + `,"caused_by":{"type":"status_exception","reason":"Content-Type version must be 7, 8 or 9. ` +
			`Content-Type=application/vnd.elasticsearch+json;compatible-with=10"}},"status":400}`,
	}, {
		name: "without a body it does not matter", request: "GET /_security/_authenticate", header: http.Header{"Content-Type": {"text/plain"}},
		status: 200, want: elasticJSON + `"realm"}`,
	}})
}

func TestAnswerTypes(t *testing.T) {
	for _, c := range []struct{ accept, want string }{
		{"", "application/json"},
		{"*/*", "application/json"},
		{"application/json", "application/json"},
		{"text/html,application/xhtml+xml;q=0.9", "application/json"},
		{"text/plain", "application/json"},
		{"application/json; charset=UTF-8", "application/json"},
		{"application/json, application/vnd.elasticsearch+json;compatible-with=8", "application/json"},
		{"application/vnd.elasticsearch+json;compatible-with=8", "application/vnd.elasticsearch+json;compatible-with=8"},
		{"application/vnd.elasticsearch+json; compatible-with=9,text/plain", "application/vnd.elasticsearch+json;compatible-with=9"},
		{"text/plain, application/vnd.elasticsearch+json; compatible-with=7", "application/vnd.elasticsearch+json;compatible-with=7"},
		{"application/vnd.elasticsearch+json", "application/vnd.elasticsearch+json"},
	} {
		header := http.Header{"Accept": {c.accept}, "X-Opaque-Id": {"mine"}}
		if c.accept == "" {
			delete(header, "Accept")
		}
		answer := map[string]string{"Content-Type": c.want, "X-Opaque-Id": "mine"}
		check(t, []call{
			{name: "ok " + c.accept, request: "GET /livez", header: header, status: 200, want: `{"live":true}`, headers: answer},
			{name: "error " + c.accept, request: "GET /livez?x", header: header, status: 400, headers: answer, want: exception(
				"illegal_argument_exception", "request [/livez] contains unrecognized parameter: [x]", "400")},
		})
	}
	bad := `"type":"media_type_header_exception","reason":"Invalid media-type value on headers [Accept]"`
	check(t, []call{{
		request: "GET /livez", header: http.Header{"Accept": {"application/vnd.elasticsearch+json;compatible-with=x"}}, status: 400,
		want: `{"error":{"root_cause":[{` + bad + `}],` + bad + `,"caused_by":{"type":"status_exception","reason":"Accept version must be 7, 8 or 9. ` +
			`Accept=application/vnd.elasticsearch+json;compatible-with=x"}},"status":400}`,
	}})
}

func TestQueryParameters(t *testing.T) {
	bad := func(reason string) string { return exception("illegal_argument_exception", reason, "400") }
	get := "GET /_security/_authenticate"
	check(t, []call{
		{request: get + "?human&error_trace=true&filter_path=&format=json&pretty=false", status: 200, want: elasticJSON + `"realm"}`},
		{request: get + "?x=1", status: 400, want: bad("request [/_security/_authenticate] contains unrecognized parameter: [x]")},
		{request: get + "?y=1&x=1&pretty=false", status: 400, want: bad("request [/_security/_authenticate] contains unrecognized parameters: [x], [y]")},
		{request: get + "?pretty=yes", status: 400, want: bad("Failed to parse value [yes] as only [true] or [false] are allowed.")},
		{request: get + "?a=%zz", status: 400, want: bad("the query string cannot be decoded")},
		{request: get + "?refresh=true", status: 400, want: bad("request [/_security/_authenticate] contains unrecognized parameter: [refresh]")},
		{
			request: "GET /_security/role?pretty", status: 200, want: "{ }\n",
		},
		{
			request: "PUT /livez?pretty=true&x", status: 405, headers: map[string]string{"Allow": "GET,HEAD"}, want: `{
  "error" : "Incorrect HTTP method for uri [/livez?pretty=true&x] and method [PUT], allowed: [GET, HEAD]",
  "status" : 405
}
`,
		},
		{
			request: "PUT /_security/user/j?pretty", body: `{"x":1}`, status: 400, want: `{
  "error" : {
    "root_cause" : [
      {
        "type" : "parse_exception",
        "reason" : "failed to parse add user request. unexpected field [x]"
      }
    ],
    "type" : "parse_exception",
    "reason" : "failed to parse add user request. unexpected field [x]"
  },
  "status" : 400
}
`,
		},
		{request: get, body: "{}", status: 400, want: bad("request [GET /_security/_authenticate] does not support having a body")},
	})
}

func TestBodyLimit(t *testing.T) {
	tooLarge := exception("content_too_long_exception", "the request body is larger than the limit of [65536] bytes", "413")
	fits := `{"grant_type":"client_credentials"` + strings.Repeat(" ", 64<<10-36) + `}`
	check(t, []call{
		{name: "one byte more", request: "POST " + tokenPath, body: fits + "  ", status: 413, want: tooLarge},
		{name: "also without credentials", request: "POST " + tokenPath, header: authorization(), body: fits + "  ", status: 413, want: tooLarge},
	})
	if answer := serve(handlerOf(t, config(&world{})), &call{request: "POST " + tokenPath, body: fits}); answer.Code != 200 {
		t.Errorf("64 KiB: status %d", answer.Code)
	}
	// Length unknown: only reading tells.
	r := request(&call{request: "POST " + tokenPath, body: fits + "  "})
	r.ContentLength = -1
	answer := httptest.NewRecorder()
	handlerOf(t, config(&world{})).ServeHTTP(answer, r)
	if diff := cmp.Diff(tooLarge, answer.Body.String()); answer.Code != 413 || diff != "" {
		t.Errorf("chunked: status %d, body (-want +got):\n%s", answer.Code, diff)
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := httpapi.New(httpapi.Config{})
	want := "httpapi: no tokens\nhttpapi: no authenticator\nhttpapi: no users\nhttpapi: no roles\nhttpapi: no cluster\nhttpapi: no clock"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
