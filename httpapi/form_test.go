package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/node/token"
)

func TestFilterPath(t *testing.T) {
	metadata := `{"a.b":1,"list":[{"x":1,"y":2},{"y":3},7],"deep":{"x":{"x":4}},"none":{},"é\"":5}`
	w := world{users: []fsm.User{{Username: "u", Roles: []fsm.RoleName{"r"}, Enabled: true, Metadata: []byte(metadata)}}}
	for _, c := range []struct{ paths, want string }{
		{"u.username", `{"u":{"username":"u"}}`},
		{"*.username,u.roles", `{"u":{"username":"u","roles":["r"]}}`},
		{"u.*name", `{"u":{"username":"u","full_name":null}}`},
		{"u.us*me", `{"u":{"username":"u"}}`},
		{"us", `{}`},
		{"**.x", `{"u":{"metadata":{"list":[{"x":1}],"deep":{"x":{"x":4}}}}}`},
		{"u.**.deep.x.x", `{"u":{"metadata":{"deep":{"x":{"x":4}}}}}`},
		{"u.metadata.list.y", `{"u":{"metadata":{"list":[{"y":2},{"y":3}]}}}`},
		{"u.metadata.list", `{"u":{"metadata":{"list":[{"x":1,"y":2},{"y":3},7]}}}`},
		{`u.metadata.a\.b`, `{"u":{"metadata":{"a.b":1}}}`},
		{`u.metadata.é"`, `{"u":{"metadata":{"é\"":5}}}`},
		{"u.metadata.none", `{"u":{"metadata":{"none":{}}}}`},
		{"u.metadata.deep.**", `{"u":{"metadata":{"deep":{"x":{"x":4}}}}}`},
		{"-u.metadata", `{"u":{"username":"u","roles":["r"],"full_name":null,"email":null,"enabled":true}}`},
		{"-u.metadata,-*.roles,-*.*l", `{"u":{"username":"u","full_name":null,"enabled":true}}`},
		{"u.metadata,-**.x", `{"u":{"metadata":{"a.b":1,"list":[{"y":2},{"y":3},7],"é\"":5}}}`},
		{"u.metadata.list,-u.metadata.list.y", `{"u":{"metadata":{"list":[{"x":1},7]}}}`},
		{"-**", `{}`},
		{"*.username,-u", `{}`},
		{" u.username , ", `{"u":{"username":"u"}}`},
	} {
		check(t, []call{{
			name: c.paths, world: w, request: "GET /_security/user?filter_path=" + url.QueryEscape(c.paths), status: 200, want: c.want,
		}})
	}
	many := "GET /_security/user?filter_path=" + strings.Repeat("a,", 65)
	bad := exception("illegal_argument_exception", "[filter_path] must have no more than [64] paths", "400")
	check(t, []call{
		{name: "too many", request: many, status: 400, want: bad},
		{name: "an error stays whole", request: "GET /x?filter_path=status", status: 404, want: exception(
			"resource_not_found_exception", "no handler found for uri [/x?filter_path=status] and method [GET]", "404")},
		{
			name: "pretty", world: w, request: "GET /_security/user?pretty&filter_path=u.enabled", status: 200,
			want: "{\n  \"u\" : {\n    \"enabled\" : true\n  }\n}\n",
		},
		{name: "no body", request: "HEAD /?filter_path=name", status: 200, want: ""},
	})
}

// Whatever the paths, an answer stays JSON, and taking out and keeping the same parts
// leaves nothing.
func TestFilterPathLeavesJSON(t *testing.T) {
	value := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(3) })
	part := rapid.SampledFrom([]string{"*", "**", "a", "b", "a*", "*b", "u", "metadata"})
	w := &world{}
	h := handlerOf(t, config(w))
	rapid.Check(t, func(t *rapid.T) {
		metadata, err := json.Marshal(map[string]any{"a": value.Draw(t, "a"), "b": value.Draw(t, "b")})
		if err != nil {
			t.Fatal(err)
		}
		w.users = []fsm.User{{Username: "u", Metadata: metadata}}
		var list []string
		for _, path := range rapid.SliceOfN(rapid.SliceOfN(part, 1, 5), 0, 4).Draw(t, "paths") {
			list = append(list, rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")+strings.Join(path, "."))
		}
		paths := strings.Join(list, ",")
		answer := serve(h, &call{request: "GET /_security/user?filter_path=" + url.QueryEscape(paths)})
		if !json.Valid(answer.Body.Bytes()) {
			t.Fatalf("%s of %s: %s", paths, metadata, answer.Body)
		}
		if len(list) == 0 {
			return
		}
		one := strings.ReplaceAll(list[0], "-", "")
		answer = serve(h, &call{request: "GET /_security/user?filter_path=" + url.QueryEscape(one+",-"+one)})
		if got := answer.Body.String(); got != "{}" {
			t.Fatalf("%s with and without: %s", one, got)
		}
	})
}

func jsonValue(depth int) *rapid.Generator[any] {
	scalar := rapid.OneOf(rapid.Just[any](nil), rapid.Just[any](1.5), rapid.Just[any](true), rapid.Just[any]("s,]}\"\\"))
	if depth == 0 {
		return scalar
	}
	name := rapid.SampledFrom([]string{"a", "b", "ab", `q"`})
	return rapid.OneOf(
		scalar,
		rapid.Map(rapid.SliceOfN(jsonValue(depth-1), 0, 3), func(list []any) any { return list }),
		rapid.Map(rapid.MapOfN(name, jsonValue(depth-1), 0, 3), func(m map[string]any) any { return m }),
	)
}

func TestFormats(t *testing.T) {
	w := world{users: []fsm.User{{Username: "no", FullName: new("J: \"x\"\n"), Enabled: true, Metadata: []byte(`{"n":[1.5,{},[]],"\ud83d\ude00":"\u2028"}`)}}}
	want := `---
"no":
  username: "no"
  roles: []
  full_name: "J: \"x\"\n"
  email: null
  metadata:
    "n":
      - 1.5
      - {}
      - []
    "\U0001F600": "\L"
  enabled: true
`
	asYAML := map[string]string{"Content-Type": "application/yaml"}
	get := "GET /_security/user"
	check(t, []call{
		{request: get + "?format=yaml", world: w, status: 200, want: want, headers: asYAML},
		{name: "by Accept", request: get, world: w, header: http.Header{"Accept": {"application/yaml"}}, status: 200, want: want, headers: asYAML},
		{request: get + "?format=yaml&pretty&filter_path=no.enabled", world: w, status: 200, want: "---\n\"no\":\n  enabled: true\n", headers: asYAML},
		{
			request: "PUT /livez?format=YAML", status: 405, headers: map[string]string{"Content-Type": "application/yaml", "Allow": "GET,HEAD"},
			want: "---\nerror: \"Incorrect HTTP method for uri [/livez?format=YAML] and method [PUT], allowed: [GET, HEAD]\"\nstatus: 405\n",
		},
		{
			name: "json by parameter", request: "GET /livez?format=json", header: http.Header{"Accept": {"application/yaml"}},
			status: 200, want: `{"live":true}`,
		},
		{name: "unknown, as in Elasticsearch", request: "GET /livez?format=xml", status: 200, want: `{"live":true}`},
		{request: "GET /livez?format=cbor", status: 406, want: `{"error":"format [cbor] is not supported","status":406}`},
		{request: "GET /livez?format=smile", status: 406, want: `{"error":"format [smile] is not supported","status":406}`},
	})
}

// YAML says the same as JSON, whatever a client has stored.
func TestYAMLIsFaithful(t *testing.T) {
	value := jsonValue(3)
	who := elastic()
	h := handlerOf(t, config(&world{authenticate: func(bool, token.Credentials) (token.Caller, error) {
		return token.Caller{Identity: who, Type: token.AuthenticationToken}, nil
	}}))
	rapid.Check(t, func(t *rapid.T) {
		metadata, err := json.Marshal(map[string]any{rapid.String().Draw(t, "name"): value.Draw(t, "value"), "s": rapid.String().Draw(t, "text")})
		if err != nil {
			t.Fatal(err)
		}
		who.Metadata = metadata
		var fromJSON, fromYAML any
		if err := json.Unmarshal(serve(h, &call{request: "GET /_security/_authenticate"}).Body.Bytes(), &fromJSON); err != nil {
			t.Fatal(err)
		}
		body := serve(h, &call{request: "GET /_security/_authenticate?format=yaml"}).Body.Bytes()
		if err := yaml.Unmarshal(body, &fromYAML); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
			t.Fatalf("(-json +yaml):\n%s", diff)
		}
	})
}

func TestErrorTrace(t *testing.T) {
	inner := `"type":"parse_exception","reason":"request body is required","stack_trace":"parse_exception: request body is required"`
	media := `"type":"media_type_header_exception","reason":"Invalid media-type value on headers [Accept]"`
	trace := `"stack_trace":"media_type_header_exception: Invalid media-type value on headers [Accept]`
	why := `Accept version must be 7, 8 or 9. Accept=application/vnd.elasticsearch+json;compatible-with=6`
	check(t, []call{
		{request: "PUT /_security/user/u?error_trace", status: 400, want: `{"error":{"root_cause":[{` + inner + `}],` + inner + `},"status":400}`},
		{request: "PUT /_security/user/u?error_trace=false", status: 400, want: exception("parse_exception", "request body is required", "400")},
		{request: "GET /livez?error_trace=1", status: 400, want: exception("illegal_argument_exception", "Failed to parse value [1] as only [true] or [false] are allowed.", "400")},
		{request: "GET /livez?human=1", status: 400, want: exception("illegal_argument_exception", "Failed to parse value [1] as only [true] or [false] are allowed.", "400")},
		{request: "PUT /livez?error_trace", status: 405, headers: map[string]string{"Allow": "GET,HEAD"}, want: `{"error":"Incorrect HTTP method for uri [/livez?error_trace] and method [PUT], allowed: [GET, HEAD]","status":405}`},
		{
			name: "with its cause", request: "GET /_security/user?error_trace", status: 400,
			header: http.Header{"Accept": {"application/vnd.elasticsearch+json;compatible-with=6"}},
			want: `{"error":{"root_cause":[{` + media + `,` + trace + `"}],` + media + `,"caused_by":{"type":"status_exception","reason":"` + why + `"},` +
				trace + `\nCaused by: status_exception: ` + why + `"},"status":400}`,
		},
	})
}

func TestFormerPathsWarn(t *testing.T) {
	warning := func(method, path string) string {
		return `299 Elasticsearch-8.19.0-unknown "[` + method + ` /_xpack/security` + path + `] is deprecated! Use [` +
			method + ` /_security` + path + `] instead."`
	}
	tokenWarning := map[string]string{"Warning": warning("DELETE", "/oauth2/token")}
	gone := world{invalidate: func(token.Caller, token.InvalidateRequest) (token.Counts, error) {
		return token.Counts{PreviouslyInvalidated: 1}, nil
	}}
	counts := `"previously_invalidated_tokens":`
	check(t, []call{
		{
			request: "GET /_xpack/security/user/u", status: 404, want: `{}`,
			headers: map[string]string{"Warning": warning("GET", "/user/{username}")},
		},
		{
			request: "DELETE /_xpack/security/oauth2/token", body: `{"token":"t"}`, status: 200, headers: tokenWarning,
			want: `{"created":true,"invalidated_tokens":1,` + counts + `0,"error_count":0}`,
		},
		{
			name: "invalidated before", world: gone, request: "DELETE /_xpack/security/oauth2/token", body: `{"token":"t"}`,
			status: 200, headers: tokenWarning, want: `{"created":false,"invalidated_tokens":0,` + counts + `1,"error_count":0}`,
		},
		{
			name: "errors, too", request: "DELETE /_xpack/security/oauth2/token", body: `{}`, status: 400, headers: tokenWarning,
			want: exception("action_request_validation_exception", "Validation Failed: 1: token string must be provided when not "+
				"specifying a realm name or a username;", "400"),
		},
		{
			request: "PUT /_xpack/security/user/u", body: `{"roles":[],"password":"s3cr3t"}`, status: 200,
			want: `{"user":{"created":true},"created":true}`, headers: map[string]string{"Warning": warning("PUT", "/user/{username}")},
		},
		{
			name: "a stranger is not told", request: "GET /_xpack/security/user", header: authorization(), status: 401,
			want:    unauthorized("missing authentication credentials for REST request [/_xpack/security/user]", ""),
			headers: map[string]string{"Www-Authenticate": challenge["Www-Authenticate"]},
		},
	})
}
