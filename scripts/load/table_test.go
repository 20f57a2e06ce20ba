package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// someCells are rounds of a run in which the follower is too slow at refreshing.
func someCells() map[cell][]figures {
	flat := func(rate float64, p50 time.Duration) []figures {
		return []figures{
			{PerSecond: rate * 2, P50: p50 * 2, P99: p50 * 9}, // a round that went astray
			{PerSecond: rate, P50: p50, P99: p50 * 3},
			{PerSecond: rate / 2, P50: p50 / 2, P99: p50 * 2},
		}
	}
	cells := map[cell][]figures{}
	for _, n := range []int{1, 64} {
		many := float64(n)
		cells[cell{"bare", "bare", n}] = flat(2000*many, 50*time.Microsecond)
		cells[cell{"raft-defaults", "commit", n}] = flat(150*many, 1500*time.Microsecond)
		cells[cell{"raft-tuned", "commit", n}] = flat(200*many, time.Millisecond)
		for _, operation := range operations {
			cells[cell{"leader", operation, n}] = flat(100*many, 1200*time.Microsecond)
			cells[cell{"follower", operation, n}] = flat(95*many, 1300*time.Microsecond)
		}
		cells[cell{"leader", "authenticate", n}] = flat(1700*many, 60*time.Microsecond)
		cells[cell{"follower", "authenticate", n}] = flat(1700*many, 60*time.Microsecond)
		cells[cell{"leader by quorum", "authenticate", n}] = flat(1000*many, 80*time.Microsecond)
		cells[cell{"follower by quorum", "authenticate", n}] = flat(850*many, 90*time.Microsecond)
		cells[cell{"follower", "refresh", n}] = flat(50*many, 1300*time.Microsecond)
	}
	return cells
}

func TestReport(t *testing.T) {
	r := report{Machine: machine{Cores: 4, Go: "go1.26.8"}, Rounds: 3, Length: "4s"}
	samples := someCells()
	for _, n := range []int{1, 64} {
		order := []cell{{"bare", "bare", n}, {"raft-defaults", "commit", n}, {"raft-tuned", "commit", n}}
		for _, operation := range operations {
			order = append(order, cell{"leader", operation, n}, cell{"follower", operation, n})
			if operation == "authenticate" {
				order = append(order, cell{"leader by quorum", operation, n}, cell{"follower by quorum", operation, n})
			}
		}
		for _, c := range order {
			r.Cells = append(r.Cells, medians(c, samples[c]))
		}
	}
	r.Aims = judge(r.Cells)
	want, err := os.ReadFile(filepath.Join("testdata", "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), r.markdown([]int{1, 64})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A figure that was not measured must not count as an aim that was met.
func TestAimsWithoutFiguresAreMissed(t *testing.T) {
	for _, a := range judge(nil) {
		if a.Met {
			t.Errorf("met without a measurement: %+v", a)
		}
	}
}

func TestMedianOfAnEvenNumber(t *testing.T) {
	rounds := []figures{{PerSecond: 4}, {PerSecond: 1}, {PerSecond: 2}, {PerSecond: 9}}
	if got := median(rounds, func(f figures) float64 { return f.PerSecond }); got != 3 {
		t.Errorf("got %v", got)
	}
}
