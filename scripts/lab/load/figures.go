package load

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"jeton/node/token/tokentest"
	"jeton/scripts/histogram"
)

// Cell counts requests by how they ended. Percentiles are of those that were answered
// with certainty (OK and Refused), from the request's beginning.
type Cell struct {
	OK          int `json:"ok"`
	Refused     int `json:"refused"`     // a certain no
	Unavailable int `json:"unavailable"` // 503, 429 or 408: ask again
	Failed      int `json:"failed"`      // no answer, or one that cannot be
	GivenUp     int `json:"given_up"`    // by the client, on purpose

	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// Sum is all requests of a cell.
func (c Cell) Sum() int { return c.OK + c.Refused + c.Unavailable + c.Failed + c.GivenUp }

// Second is what ended in one second.
type Second struct {
	All   Cell            `json:"all"`
	Nodes map[string]Cell `json:"nodes"`
}

// Stats is what the load has seen so far.
type Stats struct {
	Began   time.Time       `json:"began"`
	Seconds []Second        `json:"seconds"` // whole ones since Began
	All     Cell            `json:"all"`
	Nodes   map[string]Cell `json:"nodes"`
	Kinds   map[string]Cell `json:"kinds"` // by what was asked for
	// Missed are requests that were due and not sent, for too many were in flight.
	Missed int `json:"missed"`
	// Repeats are requests that were sent again at another target, Bursts the times that
	// one refresh token was presented everywhere at once.
	Repeats int `json:"repeats"`
	Bursts  int `json:"bursts"`
	// Examples are the first requests that were unavailable or failed, in words.
	Examples []string `json:"examples,omitempty"`
	// Tally is how much was judged.
	Tally tokentest.Tally `json:"tally"`
}

// ending is how a request ended.
type ending uint8

const (
	endedOK ending = iota
	endedRefused
	endedUnavailable
	endedFailed
	endedGivenUp
)

// tally is a cell that is being filled.
type tally struct {
	cell      Cell
	latencies histogram.Histogram
}

func (t *tally) add(e ending, latency time.Duration) {
	switch e {
	case endedOK:
		t.cell.OK++
	case endedRefused:
		t.cell.Refused++
	case endedUnavailable:
		t.cell.Unavailable++
	case endedFailed:
		t.cell.Failed++
	case endedGivenUp:
		t.cell.GivenUp++
	}
	if e <= endedRefused {
		t.latencies.Record(latency)
	}
}

func (t *tally) read() Cell {
	c := t.cell
	c.P50, c.P99, c.Max = t.latencies.Percentile(50), t.latencies.Percentile(99), t.latencies.Max()
	return c
}

// tallies are cells by name, and one for all.
type tallies struct {
	all   tally
	named map[string]*tally
}

func (t *tallies) add(name string, e ending, latency time.Duration) {
	one := t.named[name]
	if one == nil {
		one = new(tally)
		t.named[name] = one
	}
	one.add(e, latency)
	t.all.add(e, latency)
}

func (t *tallies) read() (all Cell, named map[string]Cell) {
	named = make(map[string]Cell, len(t.named))
	for name, one := range t.named {
		named[name] = one.read()
	}
	return t.all.read(), named
}

// collector counts. Safe for concurrent use.
type collector struct {
	began time.Time
	now   func() time.Duration

	mu      sync.Mutex
	seconds []Second
	current tallies // of the second after seconds
	nodes   tallies
	kinds   tallies
	writes  []uint32 // when writes succeeded: milliseconds, ascending
	stats   Stats    // Missed, Repeats, Bursts, Examples
}

func newCollector(began time.Time, now func() time.Duration) *collector {
	fresh := func() tallies { return tallies{named: make(map[string]*tally)} }
	return &collector{began: began, now: now, current: fresh(), nodes: fresh(), kinds: fresh()}
}

// record counts a request that ends now.
func (c *collector) record(node, kind string, e ending, latency time.Duration, write bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.closeLocked()
	c.current.add(node, e, latency)
	c.nodes.add(node, e, latency)
	c.kinds.add(kind, e, latency)
	if write && e == endedOK {
		c.writes = append(c.writes, uint32(now.Milliseconds())) //nolint:gosec // 49 days
	}
}

// closeLocked closes the seconds that are over.
func (c *collector) closeLocked() time.Duration {
	now := c.now()
	for len(c.seconds) < int(now/time.Second) {
		all, nodes := c.current.read()
		c.seconds = append(c.seconds, Second{All: all, Nodes: nodes})
		c.current = tallies{named: make(map[string]*tally)}
	}
	return now
}

// example keeps what a request that a client could be unhappy about was told, if there are not enough yet.
func (c *collector) example(kind string, result outcome) {
	const enough = 20
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.stats.Examples) < enough {
		c.stats.Examples = append(c.stats.Examples, fmt.Sprintf("after %s, %s: %s", c.now().Round(time.Millisecond), kind, result.said()))
	}
}

func (c *collector) miss()   { c.count(&c.stats.Missed) }
func (c *collector) repeat() { c.count(&c.stats.Repeats) }
func (c *collector) burst()  { c.count(&c.stats.Bursts) }

func (c *collector) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// Stats returns the figures so far. It costs as much as the run is long.
func (l *Load) Stats() Stats {
	c := l.figures
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
	s := c.stats
	s.Examples = slices.Clone(s.Examples)
	s.Began, s.Seconds = c.began, slices.Clone(c.seconds)
	s.All, s.Nodes = c.nodes.read()
	_, s.Kinds = c.kinds.read()
	s.Tally = l.history.Tally()
	return s
}

// Forget begins the figures anew, as after a time to warm up; what is judged goes on.
func (l *Load) Forget() {
	began := l.config.Now()
	fresh := newCollector(began, func() time.Duration { return l.config.Now().Sub(began) })
	c := l.figures
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.now = fresh.began, fresh.now
	c.seconds, c.writes, c.stats = nil, nil, Stats{}
	c.current, c.nodes, c.kinds = fresh.current, fresh.nodes, fresh.kinds
}

// LastSecond returns the figures of the last whole second; zero in the first one.
func (l *Load) LastSecond() Second {
	c := l.figures
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
	if len(c.seconds) == 0 {
		return Second{}
	}
	return c.seconds[len(c.seconds)-1]
}

// RecoveryAfter returns the longest time without a successful write between two
// moments, as when a fault is made at the first: how long it was felt, to about the time
// between two writes. Moments in the future are now.
func (l *Load) RecoveryAfter(from, until time.Time) time.Duration {
	c := l.figures
	c.mu.Lock()
	defer c.mu.Unlock()
	at := func(t time.Time) time.Duration { return max(0, min(t.Sub(c.began), c.now())) }
	longest, last, end := time.Duration(0), at(from), at(until)
	first, _ := slices.BinarySearch(c.writes, uint32(last.Milliseconds())) //nolint:gosec // 49 days
	for _, ms := range c.writes[first:] {
		write := min(time.Duration(ms)*time.Millisecond, end)
		longest = max(longest, write-last)
		if last = write; last == end {
			return longest
		}
	}
	return max(longest, end-last)
}
