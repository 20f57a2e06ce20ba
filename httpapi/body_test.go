package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// endless is a body that goes on; it counts what is read of it.
type endless struct{ read int }

func (e *endless) Close() error { return nil }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, "{                               "), nil
}

// serveBody sends one call with another body, of a length that may be -1.
func serveBody(h http.Handler, c *call, body io.ReadCloser, length int64) *httptest.ResponseRecorder {
	r := request(c)
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = body, length
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}

// Nobody has a body held before it is known who sends it.
func TestStrangersBodiesAreNotRead(t *testing.T) {
	attempts := 0
	w := &world{authenticate: func(_ bool, c token.Credentials) (token.Caller, error) {
		if attempts++; c.Scheme == "" {
			return token.Caller{}, token.ErrNoCredentials
		}
		return token.Caller{}, realm.ErrBadCredentials
	}}
	h := handlerOf(t, config(w))
	for _, line := range []string{"", "Basic", "Basic ???", "Basic " + encode("nobody"), "ApiKey x", "Negotiate x", "Bearer x", basic} {
		for _, length := range []int64{-1, 100} {
			for _, target := range []string{"POST " + tokenPath, "PUT /_security/user/joe", "DELETE /_security/user/joe", "GET /"} {
				attempts = 0
				body := &endless{}
				c := call{request: target, header: authorization(line)}
				if answer := serveBody(h, &c, body, length); answer.Code != http.StatusUnauthorized || body.read > 0 || attempts > 1 {
					t.Errorf("%s by %q: status %d, %d bytes read, authenticated %d times", target, line, answer.Code, body.read, attempts)
				}
			}
		}
	}
	body := &endless{}
	if answer := serveBody(h, &call{request: "GET /livez"}, body, -1); answer.Code != http.StatusBadRequest || body.read > 0 {
		t.Errorf("open to all: status %d, %d bytes read", answer.Code, body.read)
	}
}

// An operation without a body finds out that there is one, and no more.
func TestBodiesOfNoUseAreNotRead(t *testing.T) {
	h := handlerOf(t, config(&world{}))
	for _, target := range []string{"GET /", "DELETE /_security/user/joe", "PUT /_security/user/joe/_enable"} {
		for _, length := range []int64{-1, 100} {
			body := &endless{}
			if answer := serveBody(h, &call{request: target}, body, length); answer.Code != http.StatusBadRequest || body.read != 1 {
				t.Errorf("%s: status %d, %d bytes read", target, answer.Code, body.read)
			}
		}
		if answer := serveBody(h, &call{request: target}, io.NopCloser(http.NoBody), -1); answer.Code != http.StatusOK {
			t.Errorf("%s with an empty body of unknown length: status %d", target, answer.Code)
		}
	}
}

// A body that cannot be read is read once, and its sender is authenticated once.
func TestUnreadableBodyIsNotReadAgain(t *testing.T) {
	var kinds []string
	h := handlerOf(t, config(&world{authenticate: asked(&kinds, someone())}))
	answer := serveBody(h, &call{request: "POST " + tokenPath}, &endless{}, -1)
	if answer.Code != http.StatusRequestEntityTooLarge || !slices.Equal(kinds, []string{"local"}) {
		t.Errorf("status %d after %v", answer.Code, kinds)
	}
}

// The bodies of all requests together have a limit, and each gives back what it had.
func TestHeldBodies(t *testing.T) {
	const target = "POST " + tokenPath
	grant := call{request: target, body: `{"grant_type":"client_credentials"}`}
	w := &world{}
	c := config(w)
	c.Limits = httpapi.Limits{BodyBytes: 100, HeldBytes: int64(2*len(grant.body) + 1)}
	h := handlerOf(t, c)
	chunked := func() *httptest.ResponseRecorder {
		return serveBody(h, &grant, request(&grant).Body, -1)
	}
	var refused *httptest.ResponseRecorder
	w.issue = func(caller token.Caller, _ token.IssueRequest) (token.Pair, error) {
		// In here, the bodies of the requests that led here are held.
		if answer := chunked(); answer.Code != http.StatusServiceUnavailable {
			t.Errorf("of unknown length: status %d", answer.Code)
		}
		if answer := serve(h, &call{request: "DELETE /_security/user/joe"}); answer.Code != http.StatusOK {
			t.Errorf("without a body: status %d", answer.Code)
		}
		if answer := serve(h, &grant); answer.Code != http.StatusOK {
			refused = answer
		}
		return token.Pair{Identity: caller.Identity}, nil
	}
	for range 3 {
		refused = nil
		if answer := serve(h, &grant); answer.Code != http.StatusOK {
			t.Fatalf("the first: status %d", answer.Code)
		}
		want := repeatable("es_rejected_execution_exception", "rejected execution: too many request bodies are held", repeat, "503")
		if refused == nil || refused.Code != http.StatusServiceUnavailable || refused.Header().Get("Retry-After") != "1" ||
			refused.Body.String() != want {
			t.Fatalf("one too many: %+v", refused)
		}
	}
	// Also after refusals, failures and panics there is room again.
	w.issue = func(token.Caller, token.IssueRequest) (token.Pair, error) { panic("oops") }
	for range 3 {
		serve(h, &grant)
		serveBody(h, &grant, &endless{}, -1)
	}
	w.issue = nil
	if answer := chunked(); answer.Code != http.StatusOK {
		t.Errorf("in the end: status %d", answer.Code)
	}
}
