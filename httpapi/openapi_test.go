package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/httpapi"
	"jeton/httpapi/apitest"
)

func description(tb testing.TB) *apitest.API {
	tb.Helper()
	api, err := apitest.Load("../docs/openapi.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	return api
}

// What is served is described in docs/openapi.yaml, and what is described is served.
// Whether the answers are as described is told by TestE2EOpenAPI.
func TestWhatIsServedIsDescribed(t *testing.T) {
	s, err := httpapi.New(config(&world{}))
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Open, Body bool
		Query      []string
	}
	served, described := map[string]facts{}, map[string]facts{}
	for _, route := range s.EveryRoute() {
		if route.Method == "*" { // every method, and every parameter
			served[route.Method+" "+route.Path] = facts{Query: []string{}}
			continue
		}
		served[route.Method+" "+route.Path] = facts{route.Open, route.Body, sorted(route.Params)}
	}
	for _, o := range description(t).Operations {
		if strings.HasPrefix(o.Path, "/_forward_auth") {
			described["* "+strings.Replace(o.Path, "{original}", "{original:.*}", 1)] = facts{Query: []string{}}
			continue
		}
		described[o.String()] = facts{o.Open, len(o.Bodies) > 0, sorted(o.Query)}
	}
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("docs/openapi.yaml and the routes differ (-described +served):\n%s", diff)
	}
}

func sorted(list []string) []string { return append([]string{}, slices.Sorted(slices.Values(list))...) }

// CVE-2021-22146: without credentials nothing answers but what is described as open, and
// that tells nothing of users and tokens. A path that is forgotten here is one that
// [TestWhatIsServedIsDescribed] reports.
func TestOnlyOpenRoutesAnswerStrangers(t *testing.T) {
	n := newLive(t)
	var open []string
	for _, o := range description(t).Operations {
		target := strings.NewReplacer("{", "", "}", "").Replace(o.Path)
		bodies := o.Bodies
		if len(bodies) == 0 {
			bodies = []apitest.Body{{}}
		}
		for _, body := range bodies {
			r := httptest.NewRequest(o.Method, target, strings.NewReader(body.Text))
			if body.Text != "" {
				r.Header.Set("Content-Type", body.MediaType)
			}
			answer := httptest.NewRecorder()
			n.server.Handler().ServeHTTP(answer, r)
			want := http.StatusUnauthorized
			if o.Open {
				want = http.StatusOK
			}
			if answer.Code != want {
				t.Errorf("%s %s: want %d, got %d %s", &o, body.Text, want, answer.Code, answer.Body)
			}
		}
		if o.Open {
			open = append(open, o.String())
		}
	}
	want := []string{
		"GET /.well-known/oauth-authorization-server", "HEAD /.well-known/oauth-authorization-server",
		"GET /.well-known/openid-configuration", "HEAD /.well-known/openid-configuration",
		"GET /livez", "HEAD /livez", "GET /readyz", "HEAD /readyz",
	}
	if diff := cmp.Diff(want, open); diff != "" {
		t.Errorf("open routes (-want +got):\n%s", diff)
	}
}
