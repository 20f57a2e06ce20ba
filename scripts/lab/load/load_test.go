package load

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func newLoad(t *testing.T, targets []Target, change func(*Config)) *Load {
	t.Helper()
	c := Config{
		Targets: targets, Username: "elastic", Password: "Canary-of-elastic", Workers: 32, Rate: 2000, Families: 60,
		Seed: 1, Now: time.Now, Timeout: 2 * time.Second, RefreshWindow: time.Minute,
	}
	if change != nil {
		change(&c)
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func runFor(t *testing.T, l *Load, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	l.Run(ctx)
}

// runUntil lets the load run until something is so, which is looked at many times a
// second, or half a minute is over.
func runUntil(t *testing.T, l *Load, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		for ctx.Err() == nil && !so() {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		cancel()
	}()
	l.Run(ctx)
}

// What a right cluster answers is found right, also if answers get lost.
func TestRightAnswersAreNoProblems(t *testing.T) {
	for name, flaky := range map[string]bool{"all is well": false, "answers get lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLoad(t, newFake("", flaky).start(t, 3), nil)
			runUntil(t, l, func() bool {
				s := l.Stats()
				return s.All.OK > 1000 && s.Tally.Checked > 50 && s.Bursts > 5 && s.Repeats > 2 && len(s.Kinds) == 9
			})
			if !flaky {
				l.Settle(t.Context())
			}
			for _, problem := range l.Check() {
				t.Error(problem)
			}
			s := l.Stats()
			if s.All.OK < 1000 || s.Tally.Checked < 50 || s.Tally.Checked != s.Tally.Families || s.Bursts == 0 || s.Repeats == 0 ||
				len(s.Nodes) != 3 || len(s.Kinds) != 9 || len(s.Seconds) == 0 {
				t.Errorf("too little happened: %+v", s)
			}
			if flaky == (len(s.Examples) == 0) {
				t.Errorf("what went wrong: %q", s.Examples)
			}
			if flaky == (s.All.Failed == 0) || flaky == (s.All.Unavailable == 0) {
				t.Errorf("counted wrongly: %+v", s.All)
			}
		})
	}
}

// Whatever a cluster may do wrong is found.
func TestWrongAnswersAreFound(t *testing.T) {
	tests := map[string]string{ // defect: part of what is reported
		"stale":                      "asked after the acknowledgement",
		"two successors":             "two different successors",
		"issue lost":                 "nobody invalidated it",
		"another answer to a repeat": "the answers differ",
		"outage as 401":              "impossible answer from node-",
		"outage without Retry-After": "no Retry-After answer from node-",
		"internal error":             "impossible answer from node-",
		"malformed":                  "malformed",
		"somebody else's":            "not the token of user-1-",
		"invalidation forgotten":     "asked after the acknowledgement",
		"wrong counts":               "linearizable",
		"user not ended":             "asked after the acknowledgement",
		"reuse within the window":    "linearizable",
	}
	for defect, want := range tests {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			l := newLoad(t, newFake(defect, false).start(t, 3), func(c *Config) { c.Rate = 300 })
			found := func(problem string) bool { return strings.Contains(problem, want) }
			runUntil(t, l, func() bool { return slices.ContainsFunc(l.Problems(), found) })
			if problems := l.Check(); !slices.ContainsFunc(problems, found) {
				t.Fatalf("not found by %+v; got %s", l.Stats().All, strings.Join(problems, "\n"))
			}
		})
	}
}

// A target that does not answer takes its share of the requests in flight, no more, and
// the recovery from its silence is measured.
func TestOneSilentTarget(t *testing.T) {
	targets := newFake("", false).start(t, 3)
	targets[0].URL = "http://" + silent(t)
	l := newLoad(t, targets, func(c *Config) { c.Timeout = 300 * time.Millisecond; c.Rate = 500 })
	runUntil(t, l, func() bool { return l.Stats().All.OK > 300 })
	for _, problem := range l.Check() {
		t.Error(problem)
	}
	s := l.Stats()
	if s.All.OK < 300 || s.Nodes["node-0"].Failed == 0 || s.Nodes["node-0"].OK != 0 || s.Nodes["node-1"].Failed != 0 {
		t.Errorf("%+v", s.Nodes)
	}
	l.Settle(t.Context())
	if problems := l.Check(); len(problems) == 0 || !strings.Contains(problems[0], "node-0 does not answer in a cluster that is well") {
		t.Errorf("settled with a silent node: %v", problems)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{})
	for _, word := range []string{"targets", "user", "workers", "rate", "clock", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q is missed by %v", word, err)
		}
	}
}

// Canaries are all that is secret; a long run's tokens are a sample.
func TestCanaries(t *testing.T) {
	l := newLoad(t, newFake("", false).start(t, 1), nil)
	runUntil(t, l, func() bool { return len(l.Canaries()) > 60 })
	all := l.Canaries()
	if !slices.Contains(all, "Canary-of-elastic") || !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, "Canary-of-user-1-") }) || len(all) < 40 {
		t.Errorf("%d canaries: %.10v", len(all), all)
	}
	c := newCanaries(1)
	for range 3 * maxTokens {
		c.sample("early")
	}
	for range maxTokens {
		c.sample("late")
	}
	late := 0
	for _, token := range c.all() {
		if token == "late" {
			late++
		}
	}
	if len(c.all()) != maxTokens || late < maxTokens/5 || late > maxTokens/3 {
		t.Errorf("%d of %d are of the last quarter", late, len(c.all()))
	}
}

// The longest time without a successful write is found, wherever it is.
func TestRecoveryAfter(t *testing.T) {
	began, now := time.Unix(1000, 0), time.Duration(0)
	c := newCollector(began, func() time.Duration { return now })
	l := &Load{config: Config{Now: func() time.Time { return began.Add(now) }}, began: began, figures: c}
	for _, ms := range []int{100, 200, 300, 1500, 1600, 1700, 4000} {
		now = time.Duration(ms) * time.Millisecond
		c.record("a", "issue", endedOK, time.Millisecond, true)
		c.record("a", "issue", endedUnavailable, time.Millisecond, true)
		c.record("a", "authenticate", endedOK, time.Millisecond, false)
	}
	now = 10 * time.Second
	tests := []struct{ from, until, want int }{
		{250, 1650, 1200}, {0, 290, 100}, {310, 1000, 690}, {1700, 3000, 1300}, {0, 5000, 2300}, {0, 60_000, 6000}, {9000, 60_000, 1000},
	}
	for _, test := range tests {
		at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
		if got := l.RecoveryAfter(at(test.from), at(test.until)); got != time.Duration(test.want)*time.Millisecond {
			t.Errorf("from %d to %d: %v, want %d ms", test.from, test.until, got, test.want)
		}
	}
}

// Memory does not grow with the run, but for a few bytes a second: JETON_LOAD_FOR=1h.
func TestLongRun(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("JETON_LOAD_FOR"))
	if err != nil {
		t.Skip("JETON_LOAD_FOR is not set")
	}
	l := newLoad(t, newFake("", true).start(t, 3), func(c *Config) { c.Rate, c.Families = 500, 0 })
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for range 5 {
		runFor(t, l, length/5)
		t.Logf("%d KiB in use, %+v", heap()>>10, l.Stats().Tally)
	}
	for _, problem := range l.Check() {
		t.Error(problem)
	}
}

// Each client has connections of its own, however few requests are in flight at once.
func TestClientsHaveConnectionsOfTheirOwn(t *testing.T) {
	f := newFake("", false)
	var connections, open atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(0, w, r) }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			connections.Add(1)
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		case http.StateActive, http.StateIdle, http.StateHijacked:
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	l := newLoad(t, []Target{{Name: "balancer", URL: server.URL}}, func(c *Config) { c.Clients = 40 })
	runUntil(t, l, func() bool { return connections.Load() >= 40 })
	for closing := time.Now(); open.Load() > 0 && time.Since(closing) < 10*time.Second; {
		runtime.Gosched()
	}
	if left := open.Load(); left > 0 {
		t.Errorf("%d connections are left open", left)
	}
	if got := connections.Load(); got < 40 {
		t.Errorf("%d connections of 40 clients", got)
	}
}

// After Forget the figures begin anew, and what was seen before is still judged.
func TestForget(t *testing.T) {
	l := newLoad(t, newFake("", false).start(t, 1), nil)
	enough := func() bool { return l.Stats().All.OK > 100 }
	runUntil(t, l, enough)
	checked := l.Stats().Tally.Operations
	l.Forget()
	if s := l.Stats(); s.All.Sum() != 0 || len(s.Seconds) != 0 || len(s.Kinds) != 0 || s.Tally.Operations != checked {
		t.Errorf("figures that were to be forgotten: %+v", s)
	}
	again := false // also while it runs
	runUntil(t, l, func() bool {
		if !again && enough() {
			l.Forget()
			again = true
		}
		return again && enough()
	})
	if s := l.Stats(); s.All.OK < 100 || s.Tally.Operations <= checked {
		t.Errorf("the figures do not go on: %+v", s)
	}
}

// Ordinary use is spread over all tokens; else the newest get half of it, so that much happens to them at once.
func TestCalmUseIsSpread(t *testing.T) {
	for calm, wanted := range map[bool][2]int{true: {0, 100}, false: {400, 600}} {
		l := newLoad(t, []Target{{Name: "nobody", URL: "http://127.0.0.1:1"}}, func(c *Config) { c.Calm, c.Families, c.Users = calm, 100, 1 })
		random := rand.New(rand.NewPCG(1, 1))
		p := &person{name: "somebody"}
		l.crowd.persons = append(l.crowd.persons, p)
		for number := range 100 {
			l.crowd.begun(number, p, time.Hour, random)
			l.crowd.families[number].quota = 1000
		}
		newest := 0
		for range 1000 {
			if o, _ := l.crowd.draw(random); o.in.Family >= 100-hot {
				newest++
			}
		}
		if newest < wanted[0] || newest > wanted[1] {
			t.Errorf("calm: %t: %d of 1000 requests are about the newest %d of 100 families, want %v", calm, newest, hot, wanted)
		}
	}
}
