// Package report writes what a run of the laboratory came to: for machines
// (report.json), as a picture for people (report.html, one file without anything
// outside of it), and as a table for a terminal.
package report

import (
	"cmp"
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"jeton/scripts/lab/load"
)

// State is what an event says of its node from then on.
type State string

// The states. The zero State says nothing.
const (
	StateUp      State = "up"
	StateDown    State = "down"
	StateReady   State = "ready" // it says that it can serve
	StateUnready State = "unready"
	StateLeads   State = "leads" // until it is down or another one does
)

// Event is something that happened.
type Event struct {
	At    time.Time `json:"at"`
	Until time.Time `json:"until,omitzero"` // zero: it was a moment, or a fault that lasted to the end
	Node  string    `json:"node,omitempty"` // empty: more than one
	Fault string    `json:"fault,omitempty"`
	State State     `json:"state,omitempty"`
	Text  string    `json:"text,omitempty"`
}

// Violation is a broken promise.
type Violation struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`
	During []string  `json:"during"` // faults
}

// Run is what is reported.
type Run struct {
	Command    string                     `json:"command"` // that does it again
	Seed       uint64                     `json:"seed"`
	Began      time.Time                  `json:"began"`
	Ended      time.Time                  `json:"ended"`
	Nodes      []string                   `json:"nodes"`
	Violations []Violation                `json:"violations"`
	Recoveries map[string][]time.Duration `json:"-"`       // by fault, one for each time
	Checked    []string                   `json:"checked"` // what else was looked at, and found good or is a violation
	Skipped    []string                   `json:"skipped"` // what this machine did not allow
	Events     []Event                    `json:"events"`
	Load       load.Stats                 `json:"load"`
}

// Fault is how often a fault was made, and how long recovery took.
type Fault struct {
	Name  string        `json:"name"`
	Times int           `json:"times"`
	P50   time.Duration `json:"recovery_p50_ns"`
	P99   time.Duration `json:"recovery_p99_ns"`
	Max   time.Duration `json:"recovery_max_ns"`
}

// Faults counts the faults of a run and sums up their recoveries.
func (r *Run) Faults() []Fault {
	made := make(map[string]int)
	for _, e := range r.Events {
		if e.Fault != "" {
			made[e.Fault]++
		}
	}
	for name := range r.Recoveries {
		made[name] = max(made[name], len(r.Recoveries[name]))
	}
	faults := make([]Fault, 0, len(made))
	for _, name := range slices.Sorted(maps.Keys(made)) {
		took := slices.Sorted(slices.Values(r.Recoveries[name]))
		faults = append(faults, Fault{
			Name: name, Times: made[name], P50: quantile(took, 0.5), P99: quantile(took, 0.99), Max: quantile(took, 1),
		})
	}
	return faults
}

// quantile is the nearest rank of sorted values; zero of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

//go:embed page.html.tmpl
var page string

// Write writes report.json and report.html into a folder, which it makes if need be.
func Write(dir string, r Run) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	r.normalise()
	encoded, err := json.MarshalIndent(struct {
		Run
		Faults []Fault `json:"faults"`
	}{r, r.Faults()}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(encoded, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	var html strings.Builder
	if err := writePage(&html, &r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.html"), []byte(html.String()), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// normalise makes lists of what is nil, for who reads the JSON, and puts events in order.
func (r *Run) normalise() {
	r.Violations = append([]Violation{}, r.Violations...)
	for i := range r.Violations {
		r.Violations[i].During = append([]string{}, r.Violations[i].During...)
	}
	r.Checked, r.Skipped = append([]string{}, r.Checked...), append([]string{}, r.Skipped...)
	r.Events = append([]Event{}, r.Events...)
	slices.SortStableFunc(r.Events, func(a, b Event) int { return a.At.Compare(b.At) })
}

func writePage(w io.Writer, r *Run) error {
	t, err := template.New("page").Funcs(template.FuncMap{"px": px, "span": span, "since": r.since, "count": count}).Parse(page)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	if err := t.Execute(w, newView(r)); err != nil {
		return fmt.Errorf("fill the page: %w", err)
	}
	return nil
}

// since is a moment as the time into the run.
func (r *Run) since(at time.Time) string {
	d := at.Sub(r.Began).Round(100 * time.Millisecond)
	return fmt.Sprintf("%d:%04.1f", int(d.Minutes()), (d % time.Minute).Seconds())
}

// span is a duration for people, short.
func span(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// count groups digits.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Summary writes the outcome for a terminal.
func Summary(w io.Writer, r Run) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, "\t")+"\t") }
	if faults := r.Faults(); len(faults) > 0 {
		line("times", "recovery p50", "p99", "max", "  fault")
		for _, f := range faults {
			line(count(f.Times), span(f.P50), span(f.P99), span(f.Max), "  "+f.Name)
		}
		if err := table.Flush(); err != nil { // columns begin anew
			return fmt.Errorf("write the summary: %w", err)
		}
		fmt.Fprintln(table)
	}
	line("answered", "refused", "503", "failed", "p50", "p99", "max", "  requests")
	row := func(name string, c load.Cell) {
		line(count(c.OK), count(c.Refused), count(c.Unavailable), count(c.Failed), span(c.P50), span(c.P99), span(c.Max), "  "+name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Load.Kinds)) {
		row(name, r.Load.Kinds[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Load.Nodes)) {
		row("at "+name, r.Load.Nodes[name])
	}
	row("all", r.Load.All)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return r.verdict(w)
}

func (r *Run) verdict(w io.Writer) error {
	var text strings.Builder
	for _, checked := range r.Checked {
		fmt.Fprintf(&text, "\n%s", checked)
	}
	for _, skipped := range r.Skipped {
		fmt.Fprintf(&text, "\nleft out: %s", skipped)
	}
	if len(r.Checked)+len(r.Skipped) > 0 {
		text.WriteString("\n")
	}
	faults := 0
	for _, f := range r.Faults() {
		faults += f.Times
	}
	made := "" // rounds of a scenario count what they do themselves
	if faults > 0 {
		made = count(faults) + " faults, "
	}
	fmt.Fprintf(&text, "\n%s, %s%s requests, %s families of tokens judged; seed %d\n", r.Ended.Sub(r.Began).Round(time.Second),
		made, count(r.Load.All.Sum()), count(r.Load.Tally.Checked), r.Seed)
	for _, v := range r.Violations {
		fmt.Fprintf(&text, "\nVIOLATION at %s: %s\n", r.since(v.At), v.What)
		if len(v.During) > 0 {
			fmt.Fprintf(&text, "  during %s\n", strings.Join(v.During, ", "))
		}
	}
	fmt.Fprintf(&text, "\n%s; again with:\n  %s\n", r.Verdict(), r.Command)
	_, err := io.WriteString(w, text.String())
	if err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// Verdict is the outcome in a few words.
func (r *Run) Verdict() string {
	switch len(r.Violations) {
	case 0:
		return "good: no violation"
	case 1:
		return "bad: 1 violation"
	}
	return fmt.Sprintf("bad: %d violations", len(r.Violations))
}

// kinds lists cells by name, the largest first.
func cells(named map[string]load.Cell) []namedCell {
	list := make([]namedCell, 0, len(named))
	for name, cell := range named {
		list = append(list, namedCell{name, cell})
	}
	slices.SortFunc(list, func(a, b namedCell) int {
		return cmp.Or(cmp.Compare(b.Sum(), a.Sum()), strings.Compare(a.Name, b.Name))
	})
	return list
}

type namedCell struct {
	Name string
	load.Cell
}
