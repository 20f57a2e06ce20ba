package main

import (
	"fmt"
	"io"
	"time"

	"jeton/scripts/lab/load"
)

const (
	// rollingTail is what the slowest of a hundred requests may take.
	rollingTail = time.Second
	// rollingSurplus is how much more is asked for than wanted: some of what clients are about to ask has no use any more when
	// its time comes, as another one has used up the token.
	rollingSurplus = 1.05
)

// rollingFigures are what came of it.
type rollingFigures struct {
	load.Stats
	restarts    int
	wanted, got float64       // requests a second
	connections int           // to the balancer, at once, at most
	slowest     time.Duration // the highest 99th percentile of any second
}

func newRollingFigures(s load.Stats, r *rolling) *rollingFigures {
	f := &rollingFigures{Stats: s, restarts: r.cycles * r.nodes, wanted: r.rate}
	sum := 0
	for _, second := range s.Seconds {
		sum += second.All.Sum()
		f.slowest = max(f.slowest, second.All.P99)
	}
	f.got = float64(sum) / float64(max(1, len(s.Seconds)))
	return f
}

// errors is how many requests a client noticed something of beside latency.
func (f *rollingFigures) errors() int { return f.All.Unavailable + f.All.Failed + f.All.GivenUp }

// judge writes down which promises were broken.
func (f *rollingFigures) judge(j *journal) {
	if n := f.errors(); n > 0 {
		j.violate("clients saw %d errors, at first: %q", n, f.Examples)
	}
	if f.All.P99 >= rollingTail {
		j.violate("the 99th percentile is %s", rounded(f.All.P99))
	}
}

// loaded is an error if the load was not what was asked for: such a run says nothing.
func (f *rollingFigures) loaded() error {
	if f.got < f.wanted {
		return fmt.Errorf("the load was %.0f requests a second instead of %.0f: this run says nothing", f.got, f.wanted)
	}
	return nil
}

// print writes the figures for people.
func (f *rollingFigures) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d restarts behind HAProxy in %d s: %.0f requests a second over up to %d connections, %d errors\n",
		f.restarts, len(f.Seconds), f.got, f.connections, f.errors())
	fmt.Fprintf(w, "p50 %s, p99 %s, max %s; highest p99 of a second %s; requests that were due and could not be sent: %d\n",
		rounded(f.All.P50), rounded(f.All.P99), rounded(f.All.Max), rounded(f.slowest), f.Missed)
}
