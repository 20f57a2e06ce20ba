package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/node/token/tokentest"
	"jeton/scripts/lab/load"
)

var update = flag.Bool("update", false, "write the golden files")

var began = time.Date(2030, time.January, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }

func seconds(values ...float64) (list []time.Duration) {
	for _, v := range values {
		list = append(list, time.Duration(v*float64(time.Second)))
	}
	return list
}

// small is a run of ten seconds in which a bit of everything happens.
func small() Run {
	cell := load.Cell{OK: 200, Refused: 40, Unavailable: 3, Failed: 2, GivenUp: 1, P50: 2 * time.Millisecond, P99: 40 * time.Millisecond, Max: time.Second}
	r := Run{
		Command: "go run ./scripts/lab run --seed 7 --faults 'a,b'", Seed: 7, Began: began, Ended: at(10), Nodes: []string{"n1", "n2"},
		Violations: []Violation{{At: at(6.5), What: "authenticate 1.0: called valid <after>\n  client 1 & 2", During: []string{"kill of n1"}}},
		Recoveries: map[string][]time.Duration{"kill": seconds(1.2, 0.4, 0.8), "cut": seconds(2)},
		Checked:    []string{"3 elections, each of a term of its own"},
		Events: []Event{
			{At: at(2), Until: at(4), Node: "n1", Fault: "kill", Text: "with -9"},
			{At: at(0.5), Node: "n1", State: StateLeads, Text: "leads in term 2"},
			{At: at(2), Node: "n1", State: StateDown},
			{At: at(3), Node: "n2", State: StateLeads},
			{At: at(4), Node: "n1", State: StateUp},
			{At: at(4.5), Node: "n1", State: StateReady},
			{At: at(6), Fault: "cut", Text: "n1 | n2"},
		},
		Load: load.Stats{
			Began: began, All: cell, Nodes: map[string]load.Cell{"n1": cell, "n2": {}}, Kinds: map[string]load.Cell{"issue": cell},
			Tally: tokentest.Tally{Operations: 240, Families: 12, Checked: 12},
		},
	}
	for i := range 10 {
		s := load.Second{All: load.Cell{OK: 20 + i, P99: time.Duration(1+i*i) * time.Millisecond}}
		if i == 5 {
			s.All = load.Cell{Unavailable: 7, Failed: 3}
		}
		r.Load.Seconds = append(r.Load.Seconds, s)
	}
	return r
}

// golden compares with a file, which -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (to accept: go test ./scripts/lab/report -update): %s", name, diff)
	}
}

func TestReportForMachines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := Write(dir, small()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", string(got))
}

func TestSummaryForTerminals(t *testing.T) {
	var text strings.Builder
	if err := Summary(&text, small()); err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.txt", text.String())
}

// A report of nothing is a report, too: lists are lists.
func TestEmptyRun(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, Run{Began: began, Ended: began}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var summary strings.Builder
	if err := Summary(&summary, Run{Began: began, Ended: began}); err != nil || strings.Contains(summary.String(), "0 faults") {
		t.Errorf("%v: %s", err, summary.String())
	}
	var got map[string]any
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"violations", "checked", "skipped", "events", "faults"} {
		if _, ok := got[list].([]any); !ok {
			t.Errorf("%s is %v", list, got[list])
		}
	}
	wellFormed(t, filepath.Join(dir, "report.html"))
}

// wellFormed parses the page strictly and returns how many elements of each name there
// are, and all text and attributes.
func wellFormed(t *testing.T, path string) (elements map[string]int, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	elements = make(map[string]int)
	var all strings.Builder
	decoder := xml.NewDecoder(strings.NewReader(string(content)))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return elements, all.String()
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch part := token.(type) {
		case xml.StartElement:
			elements[part.Name.Local]++
			for _, a := range part.Attr {
				fmt.Fprintf(&all, "%s=%s\n", a.Name.Local, a.Value)
				if (a.Name.Local == "src" || a.Name.Local == "href") && !strings.HasPrefix(a.Value, "#") {
					t.Errorf("something outside the file: %s", a.Value)
				}
			}
		case xml.CharData:
			all.Write(part)
		}
	}
}

func TestPage(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, small()); err != nil {
		t.Fatal(err)
	}
	elements, text := wellFormed(t, filepath.Join(dir, "report.html"))
	for _, want := range []string{
		"bad: 1 violation", "called valid <after>\n  client 1 & 2", "kill of n1", "go run ./scripts/lab run --seed 7 --faults 'a,b'",
		"0:02.0, 2.00 s kill n1 with -9", "0:06.0 cut", "0:00.5 leader, 1.50 s", "0:02.0 down, 2.00 s", "0:04.0 not ready, 500 ms", "0:03.0 leader, 7.00 s",
		"3 elections, each of a term of its own", "several",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "ZgotmplZ") || elements["script"] > 0 || elements["link"] > 0 {
		t.Errorf("something that does not belong there: %v", elements)
	}
	if elements["main"] != 1 || elements["caption"] != 1 || elements["th"] < 20 {
		t.Errorf("got %v", elements)
	}
}

// A long run has its picture twice: at a glance, and in detail.
func TestLongRun(t *testing.T) {
	dir := t.TempDir()
	if where := os.Getenv("JETON_REPORT_OUT"); where != "" { // to look at
		dir = where
	}
	if err := Write(dir, long()); err != nil {
		t.Fatal(err)
	}
	elements, text := wellFormed(t, filepath.Join(dir, "report.html"))
	if !strings.Contains(text, "id=detail\n") || elements["rect"] < 400 {
		t.Errorf("got %v", elements)
	}
}

// long is ten minutes of faults of a cluster of three.
func long() Run {
	random := rand.New(rand.NewPCG(1, 2))
	r := small()
	r.Began, r.Ended, r.Violations, r.Events, r.Load.Seconds = began, at(600), nil, nil, nil
	r.Nodes, r.Recoveries = []string{"n1", "n2", "n3"}, map[string][]time.Duration{}
	names := []string{"kill-leader", "pause-follower", "cut-both-ways", "slow-disk", "hang-sync", "power-cut", "clock-jump", "flapping", "starve"}
	r.Events = append(r.Events, Event{At: at(1), Node: "n1", State: StateLeads})
	hit := make(map[int]bool)
	for now := 4.0; now < 580; now += 3 + random.Float64()*4 {
		fault, node, length := names[random.IntN(len(names))], r.Nodes[random.IntN(3)], 0.3+random.Float64()*3
		if fault == "cut-both-ways" || fault == "flapping" {
			r.Events = append(r.Events, Event{At: at(now), Until: at(now + length), Fault: fault, Text: "n1 | n2, n3"})
		} else {
			r.Events = append(r.Events, Event{At: at(now), Until: at(now + length), Node: node, Fault: fault})
		}
		if fault == "kill-leader" || fault == "power-cut" {
			r.Events = append(r.Events,
				Event{At: at(now), Node: node, State: StateDown}, Event{At: at(now + length), Node: node, State: StateUp},
				Event{At: at(now + length + 0.7), Node: node, State: StateReady}, Event{At: at(now + 0.9), Node: r.Nodes[random.IntN(3)], State: StateLeads})
			hit[int(now)] = true
		}
		if random.IntN(3) == 0 {
			r.Events = append(r.Events, Event{At: at(now + 0.4), Until: at(now + length), Node: node, Fault: names[random.IntN(len(names))]})
		}
		r.Recoveries[fault] = append(r.Recoveries[fault], time.Duration(random.ExpFloat64()*float64(700*time.Millisecond)))
	}
	for i := range 600 {
		c := load.Cell{OK: 260 + random.IntN(40), Refused: 60 + random.IntN(20), P99: time.Duration(10+random.ExpFloat64()*20) * time.Millisecond}
		if hit[i] || hit[i-1] {
			c.OK, c.Unavailable, c.Failed, c.P99 = c.OK/3, random.IntN(60), random.IntN(50), time.Duration(600+random.IntN(2000))*time.Millisecond
		}
		r.Load.Seconds = append(r.Load.Seconds, load.Second{All: c})
	}
	if os.Getenv("JETON_REPORT_OUT") != "" {
		r.Violations = []Violation{{At: at(123), What: "authenticate 12.0: called valid by client 3, asked after the acknowledgement of invalidate access 12.0\n  client 3 [0s, 2ms] issue 12.0 -> done", During: []string{"kill-leader of n1", "slow-disk of n2"}}}
	}
	return r
}
