package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// exitGrace is how long after a fault was undone a node may still end because of it: a store that hangs
// is noticed after 5 s, and a process that was starved takes its time.
const exitGrace = 15 * time.Second

// journal is what happened, in order. Its methods may be called concurrently.
type journal struct {
	progress io.Writer
	verbose  bool // shows everything, not only what is of interest
	began    time.Time

	mu         sync.Mutex
	events     []event
	open       map[int]*fault // by their place in events: faults that were made and not undone yet
	lenient    time.Time      // until when a node may end by itself
	violations []violation
	ends       map[string]*repeated // of nodes by themselves, by name: for what cause last
}

// repeated is something that happens again and again for one cause.
type repeated struct {
	cause string
	more  int  // times since it was shown
	wrong bool // it was not allowed, and that was said
}

// downByItself begins the text about a process that nobody ended.
const downByItself = "down by itself"

// event is one thing that happened; one that lasted has an end.
type event struct {
	At, Until         time.Time
	Node, Fault, Text string
}

// violation is a broken promise, and what was going on.
type violation struct {
	At     time.Time
	What   string
	During []string // the faults that were active
}

func newJournal(progress io.Writer, verbose bool) *journal {
	return &journal{progress: progress, verbose: verbose, began: time.Now(), open: map[int]*fault{}, ends: map[string]*repeated{}}
}

// note writes down something that happened at one moment.
func (j *journal) note(node, format string, args ...any) {
	j.add(event{At: time.Now(), Node: node, Text: fmt.Sprintf(format, args...)})
}

// ended writes down that a node has ended by itself. A supervisor starts it again and again, so the same cause is shown
// once, and later how often it came again. wrong tells whether no fault allows it, once for each cause, too.
func (j *journal) ended(node, cause string) (wrong bool) {
	allowed := j.mayExit()
	j.mu.Lock()
	defer j.mu.Unlock()
	e := event{At: time.Now(), Node: node, Text: downByItself + ": " + cause}
	if allowed {
		e.Text += " (expected)" // of the fault
	}
	j.events = append(j.events, e)
	last := j.ends[node]
	if last != nil && last.cause == cause {
		last.more++
	} else {
		j.tellEndsLocked(node)
		last = &repeated{cause: cause}
		j.ends[node] = last
		j.showLocked(e)
	}
	wrong = !allowed && !last.wrong
	last.wrong = last.wrong || wrong
	return wrong
}

// tellEndsLocked shows how often nodes ended for the cause that was shown last, and forgets that.
func (j *journal) tellEndsLocked(nodes ...string) {
	for _, node := range nodes {
		if last := j.ends[node]; last != nil && last.more > 0 {
			j.showLocked(event{At: time.Now(), Node: node, Text: fmt.Sprintf("%s, %d more for one cause: %s", downByItself, last.more, last.cause)})
		}
		delete(j.ends, node)
	}
}

// tellEnds does so for all nodes: what comes next has another cause.
func (j *journal) tellEnds() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tellEndsLocked(slices.Sorted(maps.Keys(j.ends))...)
}

func (j *journal) add(e event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	j.showLocked(e)
}

func (j *journal) showLocked(e event) {
	if j.verbose || e.Fault != "" || strings.HasPrefix(e.Text, downByItself) {
		fmt.Fprintf(j.progress, "%8.1fs  %-4s %-22s %s\n", e.At.Sub(j.began).Seconds(), e.Node, e.Fault, e.Text)
	}
}

// begin writes down that a fault is being made: before it is, for what it causes may be noticed at once. place is
// what describe and end want.
func (j *journal) begin(f *fault) (place int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event{At: time.Now(), Fault: f.name})
	place = len(j.events) - 1
	j.open[place] = f
	return place
}

// describe adds what was chosen.
func (j *journal) describe(place int, node, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events[place].Node, j.events[place].Text = node, text
	j.showLocked(j.events[place])
}

// end writes down that the fault is over.
func (j *journal) end(place int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events[place].Until = time.Now()
	if j.open[place].exits {
		j.lenient = time.Now().Add(exitGrace)
	}
	delete(j.open, place)
}

// mayExit tells whether a fault, of now or a moment ago, allows a node to end by itself.
func (j *journal) mayExit() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if time.Now().Before(j.lenient) {
		return true
	}
	for _, f := range j.open {
		if f.exits {
			return true
		}
	}
	return false
}

// violate writes down a broken promise.
func (j *journal) violate(format string, args ...any) {
	j.violateAt(time.Now(), fmt.Sprintf(format, args...))
}

// violateAt writes down a promise that was broken at a moment that is over.
func (j *journal) violateAt(at time.Time, what string) {
	v := violation{At: at, What: what, During: j.activeAt(at)}
	j.add(event{At: at, Fault: violationFault, Text: what + " (during: " + strings.Join(v.During, ", ") + ")"})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.violations = append(j.violations, v)
}

// activeAt names the faults of a moment, and of the seconds before it: what is noticed now was often
// caused a moment ago.
func (j *journal) activeAt(at time.Time) []string {
	const memory = 5 * time.Second
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []string
	for _, e := range j.events {
		ended := !e.Until.IsZero() && e.Until.Add(memory).Before(at)
		if e.Fault == "" || e.Fault == violationFault || e.At.After(at) || ended {
			continue
		}
		name := e.Fault
		if e.Node != "" {
			name += " of " + e.Node
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// broken returns the violations so far.
func (j *journal) broken() []violation {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.violations)
}

// history returns the events so far.
func (j *journal) history() []event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events)
}
