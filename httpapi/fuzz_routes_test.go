package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/httpapi/apitest"
)

// Growth that a run may leave behind when all that it made is gone again.
const (
	maxFuzzGrowth = 8 << 20
	// fuzzStep is how far the clock goes with each request, so that also in a short run
	// tokens expire.
	fuzzStep = 100 * time.Millisecond
)

// Whatever is sent to whatever route, for as long as JETON_FUZZ_ROUTES says (2s): the
// answer is one of those described and never a 5xx, there is no panic (which would be a
// 500), and no memory and no goroutine stays behind. The seed is JETON_FUZZ_SEED, or
// the time; a failure tells it and the request.
func TestFuzzRoutes(t *testing.T) {
	duration, seed := fuzzSettings(t)
	f := &routeFuzz{live: newLiveOAuth2(t, httpapi.OAuth2{Issuer: "https://tokens.example.org", PublicClients: true}), api: description(t), seed: seed}
	f.run(t, 200*time.Millisecond) // until caches and pools are what they will be
	f.forget(t)
	began, goroutines := heap(), runtime.NumGoroutine()
	f.run(t, duration)
	f.forget(t)
	ended := heap()
	t.Logf("%v: %d requests, seed %d: heap %d KiB before, %d KiB after; %d goroutines before, %d after; answers %v",
		duration, f.sent.Load(), seed, began>>10, ended>>10, goroutines, runtime.NumGoroutine(), f.statuses())
	if ended > began+maxFuzzGrowth {
		t.Errorf("the heap has grown from %d to %d bytes", began, ended)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines have become %d", goroutines, now)
	}
}

func fuzzSettings(t *testing.T) (duration time.Duration, seed uint64) {
	t.Helper()
	duration, seed = 2*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv("JETON_FUZZ_ROUTES"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		duration = d
	}
	if text := os.Getenv("JETON_FUZZ_SEED"); text != "" {
		if err := json.Unmarshal([]byte(text), &seed); err != nil {
			t.Fatal(err)
		}
	}
	return duration, seed
}

// heap is what is live after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type routeFuzz struct {
	*live
	api      *apitest.API
	seed     uint64
	sent     atomic.Int64
	answered [600]atomic.Int64
}

func (f *routeFuzz) statuses() map[int]int64 {
	counts := map[int]int64{}
	for status := range f.answered {
		if n := f.answered[status].Load(); n > 0 {
			counts[status] = n
		}
	}
	return counts
}

// run sends requests from several clients for a while.
func (f *routeFuzz) run(t *testing.T, duration time.Duration) {
	t.Helper()
	for _, r := range apitest.Prepare(livePassword) {
		f.send(&r)
	}
	var clients sync.WaitGroup
	for i := range uint64(4) {
		clients.Go(func() {
			fuzzer := apitest.NewFuzzer(f.api, f.seed+i, livePassword)
			for began := time.Now(); time.Since(began) < duration && !t.Failed(); {
				r := fuzzer.Next()
				answer, ok := f.send(&r)
				if !ok {
					continue
				}
				f.check(t, &r, answer)
				fuzzer.Learn(answer.Body.Bytes())
				for _, undo := range fuzzer.Undo(&r, answer.Code) {
					f.send(&undo)
				}
			}
		})
	}
	clients.Wait()
}

// send serves a request, unless net/http would refuse it.
func (f *routeFuzz) send(r *apitest.Request) (*httptest.ResponseRecorder, bool) {
	target, err := url.ParseRequestURI(r.Target)
	if err != nil {
		return nil, false
	}
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Method, request.URL, request.RequestURI, request.Header = r.Method, target, r.Target, r.Header
	if r.Body != "" {
		request.Body, request.ContentLength = struct {
			*strings.Reader
			nopCloser
		}{Reader: strings.NewReader(r.Body)}, int64(len(r.Body))
		if len(r.Body)%3 == 0 {
			request.ContentLength = -1 // chunked
		}
	}
	answer := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(answer, request)
	f.elapsed.Add(fuzzStep.Milliseconds())
	f.answered[answer.Code].Add(1)
	if f.sent.Add(1)%1000 == 0 {
		_, _ = f.Propose(request.Context(), fsm.CollectExpired{Limit: fsm.MaxCollect})
	}
	return answer, true
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// check holds what is true of every answer.
func (f *routeFuzz) check(t *testing.T, r *apitest.Request, answer *httptest.ResponseRecorder) {
	t.Helper()
	if err := r.Check(answer.Code, answer.Header(), answer.Body.Bytes()); err != nil {
		t.Errorf("%v\nseed %d: %s\nis answered %d %v %.1000s", err, f.seed, r, answer.Code, answer.Header(), answer.Body)
	}
}
