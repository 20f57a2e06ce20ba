package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/scripts/lab/network"
)

func TestEveryFaultHasItsOwnNameAndSaysWhatItDoes(t *testing.T) {
	names := map[string]bool{}
	for _, f := range allFaults() {
		if names[f.name] || f.name != strings.ToLower(f.name) || strings.Contains(f.name, " ") {
			t.Errorf("the name %q is taken, or none for a command line", f.name)
		}
		names[f.name] = true
		if f.what == "" || f.inject == nil {
			t.Errorf("%s does nothing, or does not say what", f.name)
		}
	}
	if len(names) < 50 {
		t.Errorf("%d faults", len(names))
	}
}

func TestFaultsAreFoundByName(t *testing.T) {
	all, _ := faultsNamed(nil)
	if again, _ := faultsNamed([]string{"all"}); len(again) != len(all) {
		t.Errorf("all are %d, without a name %d", len(again), len(all))
	}
	chosen, unknown := faultsNamed([]string{"kill-all", "no-such", "wipe"})
	if len(chosen) != 2 || chosen[0].name != "kill-all" || chosen[1].name != "wipe" || !slices.Equal(unknown, []string{"no-such"}) {
		t.Errorf("found %d, did not find %v", len(chosen), unknown)
	}
}

// What two faults together must not do, no seed makes them do; and a seed chooses the same again.
func TestNemesisKeepsToThePromises(t *testing.T) {
	table := allFaults()
	for seed := range uint64(20) {
		one, again := newNemesis(nil, table, seed), newNemesis(nil, table, seed)
		for range 200 {
			faults := one.choose()
			var names, repeated []string
			for _, f := range faults {
				names = append(names, f.name)
			}
			for _, f := range again.choose() {
				repeated = append(repeated, f.name)
			}
			if diff := cmp.Diff(names, repeated); diff != "" {
				t.Fatal(diff)
			}
			if len(faults) < 2 {
				continue
			}
			if faults[0].kind != kindAny && faults[0].kind == faults[1].kind {
				t.Errorf("seed %d: %v together", seed, names)
			}
			if faults[1].kind == kindMembers {
				t.Errorf("seed %d: %s comes second, when not everybody is well", seed, names[1])
			}
		}
	}
}

// fakeLinks are a network that is only remembered.
type fakeLinks map[[2]string]network.Link

func (f fakeLinks) Get(from, to string) network.Link       { return f[[2]string{from, to}] }
func (f fakeLinks) Set(from, to string, link network.Link) { f[[2]string{from, to}] = link }

func TestFaultsOfTheNetworkAddUpAndGoOneByOne(t *testing.T) {
	links := fakeLinks{}
	w := newWeather(links, []string{"a", "b", "c"})
	rain := w.add(func(string, string) network.Link { return network.Link{Loss: 0.1, Delay: time.Millisecond} })
	cut := w.add(between("a", []string{"b"}, network.Link{Cut: true}, network.Link{Delay: time.Second}))
	if got, want := links.Get("a", "b"), (network.Link{Cut: true, Loss: 0.1, Delay: time.Millisecond}); got != want {
		t.Errorf("from a to b: %+v", got)
	}
	if got, want := links.Get("b", "a"), (network.Link{Loss: 0.1, Delay: time.Second + time.Millisecond}); got != want {
		t.Errorf("from b to a: %+v", got)
	}
	rain()
	if got := links.Get("a", "b"); got != (network.Link{Cut: true}) {
		t.Errorf("after the rain, from a to b: %+v", got)
	}
	if got := links.Get("a", "c"); got != (network.Link{}) {
		t.Errorf("after the rain, from a to c: %+v", got)
	}
	cut()
	if got := links.Get("a", "b"); got != (network.Link{}) {
		t.Errorf("in the end, from a to b: %+v", got)
	}
}

func TestSecretsAreFoundInEveryShape(t *testing.T) {
	const secret = "jat_c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtdG8tYmUtYS10b2tlbg"
	s := newSearcher()
	s.add(secret, "the token")
	for _, shape := range shapes(secret) {
		content := slices.Concat(bytes.Repeat([]byte("x"), 1000), shape, []byte("more"))
		if found := s.find(content); len(found) == 0 {
			t.Errorf("not found as %q", shape)
		}
	}
	if found := s.find([]byte("jat_c2VjcmV0LXRoYXQtaXMtYW5vdGhlci1vbmU" + hex.EncodeToString([]byte("other")))); len(found) > 0 {
		t.Errorf("found what is not there: %v", found)
	}
}

func TestJournalKnowsWhatWasGoingOn(t *testing.T) {
	j := newJournal(io.Discard, false)
	if j.mayExit() {
		t.Error("a node may end although nothing happens")
	}
	harsh, mild := fault{name: "full-disk", exits: true}, fault{name: "delay"}
	first, second := j.begin(&harsh), j.begin(&mild)
	j.describe(first, "n1", "")
	if !j.mayExit() {
		t.Error("a node may not end although its disk is full")
	}
	if diff := cmp.Diff([]string{"full-disk of n1", "delay"}, j.activeAt(time.Now())); diff != "" {
		t.Error(diff)
	}
	j.end(first)
	j.end(second)
	if !j.mayExit() {
		t.Error("a node may not end although its disk was full a moment ago")
	}
	if active := j.activeAt(time.Now().Add(time.Minute)); len(active) > 0 {
		t.Errorf("a minute later %v is still going on", active)
	}
	j.violate("%s is wrong", "something")
	if broken := j.broken(); len(broken) != 1 || broken[0].What != "something is wrong" || len(broken[0].During) != 2 {
		t.Errorf("broken: %+v", broken)
	}
}

// A node that cannot start is started again and again: that is one line, and later how many there were.
func TestEndsForOneCauseAreOneLine(t *testing.T) {
	var shown bytes.Buffer
	j := newJournal(&shown, false)
	harsh := j.begin(&fault{name: "full-disk", exits: true})
	wrong := []bool{j.ended("n1", "the disk is full")}
	delete(j.open, harsh) // without the grace that a fault has that is undone
	for _, cause := range []string{"the disk is full", "the disk is full", "a panic"} {
		wrong = append(wrong, j.ended("n1", cause))
	}
	wrong = append(wrong, j.ended("n2", "a panic"))
	j.tellEnds()
	wrong = append(wrong, j.ended("n1", "a panic")) // of another fault
	if diff := cmp.Diff([]bool{false, true, false, true, true, true}, wrong); diff != "" {
		t.Error(diff)
	}
	var told []string
	for line := range strings.Lines(shown.String()) {
		told = append(told, strings.Join(strings.Fields(line)[1:], " "))
	}
	want := []string{
		"n1 down by itself: the disk is full (expected)", "n1 down by itself, 2 more for one cause: the disk is full",
		"n1 down by itself: a panic", "n2 down by itself: a panic", "n1 down by itself: a panic",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if len(j.history()) != 7 {
		t.Errorf("%d events", len(j.history()))
	}
}

func TestATermIsWonOnce(t *testing.T) {
	j := newJournal(io.Discard, false)
	r := newRecord(j)
	r.won("n1", 2)
	r.won("n2", 3)
	if len(j.broken()) > 0 || r.elections() != 2 {
		t.Errorf("%d elections, %v", r.elections(), j.broken())
	}
	r.won("n3", 3)
	if len(j.broken()) != 1 {
		t.Error("two winners of one term are no violation")
	}
}

func TestACrashIsSeen(t *testing.T) {
	for line, want := range map[string]string{
		"panic: assertion failed\n":                           "panic: assertion failed",
		"fatal error: concurrent map writes\n":                "fatal error: concurrent map writes",
		"WARNING: DATA RACE\n":                                "WARNING: DATA RACE",
		`{"@level":"error","@message":"panic: in a message"}`: "",
		"panic: failed to save current term: EIO\n":           "panic: failed to save current term: EIO",
		"goroutine 1 [running]:\n":                            "",
	} {
		if got := crashOf([]byte(line)); got != want {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestQuantiles(t *testing.T) {
	values := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 6, 0.99: 10, 1: 10} {
		if got := quantile(values, share); got != want {
			t.Errorf("quantile %g is %d", share, got)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of nothing there is a quantile")
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"faults", exitGood, "kill-leader"},
		{"--help", exitGood, "go run ./scripts/lab run"},
		{"run --faults no-such", exitUnable, "there is no no-such"},
		{"rounds no-such", exitUnable, "neither a scenario nor a fault"},
		{"rounds paused-leader -n 0", exitUnable, "want one or more"},
		{"run --nodes 0", exitUnable, "--nodes 0"},
		{"run --read-mode never", exitUnable, "--read-mode never"},
		{"nothing", exitUnable, `unknown command "nothing"`},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out, complaints bytes.Buffer
			code := run(t.Context(), append([]string{"lab"}, strings.Fields(test.args)...), &out, &complaints)
			if said := out.String() + complaints.String(); code != test.code || !strings.Contains(said, test.says) {
				t.Errorf("exit code %d, and it says %q", code, said)
			}
		})
	}
}

func TestFaultsAsJSON(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"lab", "faults", "--json"}, &out, io.Discard); code != exitGood {
		t.Fatalf("exit code %d", code)
	}
	var rows []struct{ Name, What string }
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != len(allFaults()) {
		t.Errorf("%d rows: %v", len(rows), err)
	}
}
