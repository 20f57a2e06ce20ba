package main

import (
	"strings"
	"time"

	"jeton/scripts/lab/report"
)

// violationFault is what the journal writes down a violation as.
const violationFault = "VIOLATION"

// picture is what the report shows of a run.
func (l *laboratory) picture(m *nemesis, skipped []string) report.Run {
	r := report.Run{
		Command: l.command, Seed: l.options.seed, Began: l.journal.began, Ended: time.Now(), Checked: l.checked, Skipped: skipped,
	}
	for _, n := range l.cluster.nodes {
		r.Nodes = append(r.Nodes, n.name)
	}
	for _, e := range l.journal.history() {
		if e.Fault == violationFault {
			continue
		}
		r.Events = append(r.Events, report.Event{At: e.At, Until: e.Until, Node: e.Node, Fault: e.Fault, Text: e.Text, State: stateSaid(e)})
	}
	for _, v := range l.journal.broken() {
		r.Violations = append(r.Violations, report.Violation{At: v.At, What: v.What, During: v.During})
	}
	if m != nil {
		r.Recoveries = m.recoveries
	}
	if l.load != nil {
		r.Load = l.load.Stats()
	}
	return r
}

// stateSaid is what an event says of its node, by the words that node.go begins it with.
func stateSaid(e event) report.State {
	if e.Fault != "" || e.Node == "" {
		return ""
	}
	for _, known := range []struct {
		begins string
		state  report.State
	}{
		{"up:", report.StateUp},
		{"down", report.StateDown},
		{"ready: true", report.StateReady},
		{"ready: false", report.StateUnready},
		{"leads in term", report.StateLeads},
	} {
		if strings.HasPrefix(e.Text, known.begins) {
			return known.state
		}
	}
	return ""
}
