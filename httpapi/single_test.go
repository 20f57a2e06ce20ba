package httpapi_test

import (
	"net/http"
	"testing"
)

func TestSeveralValuesOfOneHeader(t *testing.T) {
	const get = "GET /_security/_authenticate"
	media := func(header string) string {
		inner := `"type":"media_type_header_exception","reason":"Invalid media-type value on headers [` + header + `]"`
		return `{"error":{"root_cause":[{` + inner + `}],` + inner + `,"caused_by":{"type":"illegal_argument_exception",` +
			`"reason":"Incorrect header [` + header + `]. Only one value should be provided"}},"status":400}`
	}
	simple := func(header string) string {
		return `{"error":"multiple values for single-valued header [` + header + `].","status":400}`
	}
	ok := elasticJSON + `"realm"}`
	grant := `{"grant_type":"client_credentials"}`
	check(t, []call{
		{name: "Accept", request: get, header: http.Header{"Accept": {"application/json", "text/plain"}}, status: 400, want: media("Accept")},
		{name: "Accept, the same", request: get, header: http.Header{"Accept": {"*/*", "*/*"}}, status: 400, want: media("Accept")},
		{name: "Accept, a list", request: get, header: http.Header{"Accept": {"application/json, text/plain"}}, status: 200, want: ok},
		{
			name: "Content-Type", request: "POST " + tokenPath, body: grant, header: http.Header{"Content-Type": {"application/json", "text/plain"}},
			status: 400, want: media("Content-Type"),
		},
		{
			name: "Content-Type, without a body", request: get, header: http.Header{"Content-Type": {"application/json", "application/json"}},
			status: 400, want: media("Content-Type"),
		},
		{name: "Authorization", request: get, header: authorization(basic, "Bearer tok"), status: 400, want: simple("Authorization")},
		{name: "Authorization, the same", request: get, header: authorization(basic, basic), status: 200, want: ok},
		{name: "Authorization, where none is needed", request: "GET /livez", header: authorization(basic, "Bearer tok"), status: 400, want: simple("Authorization")},
		{name: "run as", request: get, header: runAs("", "bob"), status: 400, want: simple("es-security-runas-user")},
		{name: "X-Opaque-Id", request: get, header: http.Header{"X-Opaque-Id": {"a", "b"}}, status: 400, want: simple("X-Opaque-Id")},
		{
			name: "X-Opaque-Id, the same", request: get, header: http.Header{"X-Opaque-Id": {"a", "a"}}, status: 200, want: ok,
			headers: map[string]string{"X-Opaque-Id": "a"},
		},
		{name: "a header of no meaning here", request: get, header: http.Header{"Traceparent": {"a", "b"}}, status: 200, want: ok},
	})
}

// A value counts whether another is hidden behind it or not: nothing is done.
func TestSeveralCredentialsDoNothing(t *testing.T) {
	h := handlerOf(t, config(&world{}))
	for _, c := range everyRequest() {
		c.header = authorization(basic, "Bearer tok")
		if answer := serve(h, &c); answer.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", c.request, answer.Code)
		}
	}
}
