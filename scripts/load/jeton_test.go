package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeJeton answers as Jeton does, and holds every caller to the protocol: a
// refresh token works once, a token dies once.
type fakeJeton struct {
	mu      sync.Mutex
	serial  int
	refresh map[string]bool
	live    map[string]bool
}

func (f *fakeJeton) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	text := string(body)
	switch {
	case r.Method == http.MethodGet && f.live[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]:
		fmt.Fprint(w, `{"username":"elastic"}`)
	case r.Method == http.MethodDelete && f.live[between(text, `{"token":"`)]:
		delete(f.live, between(text, `{"token":"`))
		fmt.Fprint(w, `{"invalidated_tokens":1}`)
	case strings.Contains(text, `"grant_type":"refresh_token"`) && f.refresh[between(text, `"refresh_token":"`)]:
		delete(f.refresh, between(text, `"refresh_token":"`))
		f.issue(w)
	case strings.Contains(text, `"grant_type":"client_credentials"`), strings.Contains(text, `"grant_type":"password"`):
		f.issue(w)
	default:
		http.Error(w, text, http.StatusBadRequest)
	}
}

func (f *fakeJeton) issue(w io.Writer) {
	f.serial++
	f.live[fmt.Sprintf("jat_%d", f.serial)] = true
	f.refresh[fmt.Sprintf("jrt_%d", f.serial)] = true
	fmt.Fprintf(w, `{"access_token":"jat_%d","type":"Bearer","refresh_token":"jrt_%d"}`, f.serial, f.serial)
}

func between(text, before string) string {
	_, rest, _ := strings.Cut(text, before)
	middle, _, _ := strings.Cut(rest, `"`)
	return middle
}

func fakeTarget(t *testing.T) target {
	t.Helper()
	server := httptest.NewTLSServer(&fakeJeton{refresh: map[string]bool{}, live: map[string]bool{}})
	t.Cleanup(server.Close)
	settings, err := clientTLS(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if err != nil {
		t.Fatal(err)
	}
	return target{url: server.URL, tls: settings, username: "elastic", password: "changeme"}
}

func TestEveryOperationKeepsToTheProtocol(t *testing.T) {
	for _, operation := range append([]string{"password"}, operations...) {
		t.Run(operation, func(t *testing.T) {
			l := load{operation: operation, connections: 3, warmup: 20 * time.Millisecond, length: 200 * time.Millisecond, tokens: 20_000}
			result, err := fakeTarget(t).measure(t.Context(), l)
			if err != nil || result.Operations == 0 {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
}

func TestRefusalFailsTheRun(t *testing.T) {
	here := fakeTarget(t)
	conns, err := dialAll(t.Context(), here.url, here.tls, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(conns)
	_, err = here.ask(conns[0], here.request(http.MethodGet, authenticatePath, "Bearer jat_none", nil))
	if err == nil || !strings.Contains(err.Error(), "status 400") {
		t.Errorf("got %v", err)
	}
}

func TestMemberOfAnAnswer(t *testing.T) {
	answer := []byte(`{"access_token":"a","refresh_token":"b","empty":""}`)
	for name, want := range map[string]string{"access_token": "a", "refresh_token": "b", "empty": "", "none": ""} {
		got, err := member(answer, name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
