package httpapi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"jeton/node/token"
)

// nowhere is a ResponseWriter that costs nothing itself.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}

// BenchmarkHandler measures what this package adds to net/http: a bare handler that
// writes a fixed answer, and ours with use cases that cost nothing.
func BenchmarkHandler(b *testing.B) {
	w := &world{}
	caller := someone()
	w.authenticate = func(bool, token.Credentials) (token.Caller, error) { return caller, nil }
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, elasticJSON+`"token"}`)
	})
	ours := handlerOf(b, config(w))
	for _, c := range []struct {
		name    string
		handler http.Handler
		call    call
	}{
		{"bare", bare, call{request: "GET /_security/_authenticate"}},
		{"authenticate", ours, call{request: "GET /_security/_authenticate", header: authorization("Bearer tok")}},
		{"forward auth", ours, call{request: "GET /_forward_auth?role=superuser", header: authorization("Bearer tok")}},
		{"refresh", ours, call{request: "POST " + tokenPath, body: `{"grant_type":"refresh_token","refresh_token":"jrt_0123456789"}`}},
		{"password", ours, call{request: "POST " + tokenPath, body: `{"grant_type":"password","username":"test_admin","password":"x-pack-test-password"}`}},
		{"refused", ours, call{request: "POST " + tokenPath, body: `{}`}},
		{"users", ours, call{request: "GET /_security/user"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := request(&c.call)
				body := strings.NewReader(c.call.body)
				answer := &nowhere{header: make(http.Header)}
				for pb.Next() {
					body.Reset(c.call.body)
					r.Body = io.NopCloser(body)
					clear(answer.header)
					c.handler.ServeHTTP(answer, r)
				}
			})
		})
	}
}
