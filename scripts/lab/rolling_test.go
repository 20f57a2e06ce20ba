package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"jeton/scripts/lab/load"
)

func TestRollingRestartsAreJudged(t *testing.T) {
	tests := map[string]struct {
		change  func(*rollingFigures)
		broken  string // part of the violation; empty: none
		without bool   // the load
	}{
		"good":                   {func(*rollingFigures) {}, "", false},
		"one request is refused": {func(f *rollingFigures) { f.All.Unavailable = 1 }, "clients saw 1 errors", false},
		"one gets no answer":     {func(f *rollingFigures) { f.All.Failed = 1 }, "clients saw 1 errors", false},
		"one is given up":        {func(f *rollingFigures) { f.All.GivenUp = 1 }, "clients saw 1 errors", false},
		"a long tail":            {func(f *rollingFigures) { f.All.P99 = time.Second }, "99th percentile is 1s", false},
		"too little load":        {func(f *rollingFigures) { f.got = 1999 }, "", true},
		"both":                   {func(f *rollingFigures) { f.got, f.All.Failed = 1900, 3 }, "clients saw 3 errors", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			figures := rollingFigures{wanted: 2000, got: 2001}
			figures.All = load.Cell{OK: 200000, Refused: 9000, P99: 999 * time.Millisecond, Max: 5 * time.Second}
			test.change(&figures)
			j := newJournal(io.Discard, false)
			figures.judge(j)
			var broken []string
			for _, v := range j.broken() {
				broken = append(broken, v.What)
			}
			if got := strings.Join(broken, "\n"); (got == "") != (test.broken == "") || !strings.Contains(got, test.broken) {
				t.Errorf("violations %q, want %q", got, test.broken)
			}
			if err := figures.loaded(); (err != nil) != test.without {
				t.Errorf("about the load: %v", err)
			}
		})
	}
}

func TestFiguresOfRollingRestarts(t *testing.T) {
	second := func(n int, p99 time.Duration) load.Second { return load.Second{All: load.Cell{OK: n, P99: p99}} }
	r := &rolling{cycles: 2, rate: 100}
	r.nodes = 3
	got := newRollingFigures(load.Stats{Seconds: []load.Second{second(90, 1), second(110, 3), second(100, 2)}}, r)
	if got.got != 100 || got.slowest != 3 || got.restarts != 6 {
		t.Errorf("%.0f requests a second, highest tail %d, %d restarts; want 100, 3, 6", got.got, got.slowest, got.restarts)
	}
	var out strings.Builder
	if got.print(&out); !strings.Contains(out.String(), "6 restarts behind HAProxy in 3 s: 100 requests a second") {
		t.Errorf("printed:\n%s", out.String())
	}
}
