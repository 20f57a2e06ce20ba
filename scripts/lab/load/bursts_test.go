package load

import (
	"slices"
	"strings"
	"testing"
)

// few makes a load of few workers, which Run is not called of.
func few(c *Config) { c.Workers = 4 }

func TestBursts(t *testing.T) {
	for _, flaky := range []bool{false, true} {
		l := newLoad(t, newFake("", flaky).start(t, 3), few)
		if err := l.Bursts(t.Context(), 300, 2); err != nil {
			t.Fatal(err)
		}
		for _, problem := range l.Check() {
			t.Error(problem)
		}
		s := l.Stats()
		if s.Bursts < 300 || (flaky == (s.Bursts == 300)) || s.Kinds["refresh"].OK < 1800 || s.Tally.Checked != s.Tally.Families || s.Tally.Families < 4 {
			t.Errorf("flaky: %t: %d bursts, %+v, %+v", flaky, s.Bursts, s.Kinds["refresh"], s.Tally)
		}
	}
}

func TestBurstsFindTwoSuccessors(t *testing.T) {
	l := newLoad(t, newFake("two successors", false).start(t, 3), few)
	if err := l.Bursts(t.Context(), 100, 2); err != nil {
		t.Fatal(err)
	}
	if problems := l.Check(); !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "two different successors") }) {
		t.Errorf("found %v", problems)
	}
}

func TestRepeats(t *testing.T) {
	for _, flaky := range []bool{false, true} {
		l := newLoad(t, newFake("", flaky).start(t, 3), few)
		got, err := l.Repeats(t.Context(), 300)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range l.Check() {
			t.Error(problem)
		}
		if got.Swallowed+got.HungUp < 300 || got.Swallowed < 100 || got.HungUp < 100 || got.Compared < 300+got.Swallowed/2 {
			t.Errorf("flaky: %t: %+v", flaky, got)
		}
	}
}

func TestRepeatsFindAnotherAnswer(t *testing.T) {
	l := newLoad(t, newFake("another answer to a repeat", false).start(t, 3), few)
	if _, err := l.Repeats(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	if problems := l.Check(); !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "the answers differ") }) {
		t.Errorf("found %v", problems)
	}
}
