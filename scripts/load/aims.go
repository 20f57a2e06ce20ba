package main

import (
	"fmt"
	"strings"
	"time"
)

// aim is one of the goals, as a ratio of two figures of the same run.
type aim struct {
	Name  string  `json:"name"`
	Ratio float64 `json:"ratio"`
	Goal  float64 `json:"goal"`
	// AtMost says that the ratio must not exceed the goal; otherwise it must reach it.
	AtMost bool `json:"at_most"`
	Met    bool `json:"met"`
}

func newAim(name string, ratio, goal float64, atMost bool) aim {
	met := ratio >= goal
	if atMost {
		met = ratio > 0 && ratio <= goal
	}
	return aim{Name: name, Ratio: ratio, Goal: goal, AtMost: atMost, Met: met}
}

// judge compares medians. Raw raft runs with Jeton's settings and one command an
// entry: the harder measure, for the library's defaults are slower.
func judge(cells []measured) []aim {
	at := map[cell]measured{}
	for _, m := range cells {
		at[m.cell] = m
	}
	rate := func(target, operation string) float64 { return at[cell{target, operation, 64}].PerSecond }
	lone := func(target, operation string) time.Duration { return at[cell{target, operation, 1}].P50 }
	aims := []aim{
		newAim("authenticate / bare handler, 64 connections, leader", share(rate("leader", "authenticate"), rate("bare", "bare")), 0.8, false),
		newAim("authenticate / bare handler, 64 connections, follower", share(rate("follower", "authenticate"), rate("bare", "bare")), 0.8, false),
		newAim("issue / raw raft, 64 callers", share(rate("leader", "issue"), rate("raft-tuned", "commit")), 0.4, false),
	}
	for _, operation := range operations {
		ratio := share(rate("follower", operation), rate("leader", operation))
		aims = append(aims, newAim(operation+": follower / leader, 64 connections", ratio, 0.9, false))
	}
	aims = append(aims, newAim("authenticate: by lease / by quorum, 64 connections, follower",
		share(rate("follower", "authenticate"), rate("follower by quorum", "authenticate")), 1, false))
	ratio := share(float64(lone("leader", "issue")), float64(lone("raft-tuned", "commit")))
	return append(aims, newAim("one lone issue / one raw commit, p50", ratio, 1.3, true))
}

func share(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}

// markdown is the table as the README shows it, then the aims.
func (r report) markdown(connections []int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Operations a second (p50 / p99 in ms), medians of %d rounds of %s; %d cores shared by load and all nodes, %s.\n\n",
		r.Rounds, r.Length, r.Machine.Cores, r.Machine.Go)
	b.WriteString("| |")
	for _, n := range connections {
		fmt.Fprintf(&b, " %s |", plural(n))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(connections)) + "\n")
	for i, m := range r.Cells {
		if m.Connections != connections[0] || first(r.Cells, m.cell) != i {
			continue
		}
		fmt.Fprintf(&b, "| %s |", label(m.cell))
		for _, n := range connections {
			b.WriteString(r.entry(cell{m.Target, m.Operation, n}))
		}
		b.WriteString("\n")
	}
	r.writeAims(&b)
	return b.String()
}

func (r report) entry(c cell) string {
	for _, m := range r.Cells {
		if m.cell == c {
			return fmt.Sprintf(" %s (%s / %s) |", thousands(m.PerSecond), millis(m.P50), millis(m.P99))
		}
	}
	return " |"
}

func (r report) writeAims(b *strings.Builder) {
	if len(r.Aims) == 0 {
		return
	}
	b.WriteString("\n| aim | ratio | goal | |\n|---|---|---|---|\n")
	for _, a := range r.Aims {
		verdict, sign := "MISS", "≥"
		if a.Met {
			verdict = "PASS"
		}
		if a.AtMost {
			sign = "≤"
		}
		fmt.Fprintf(b, "| %s | %.2f | %s %.1f | %s |\n", a.Name, a.Ratio, sign, a.Goal, verdict)
	}
}

func first(cells []measured, c cell) int {
	for i, m := range cells {
		if m.cell == c {
			return i
		}
	}
	return -1
}

func label(c cell) string {
	switch c.Target {
	case "bare":
		return "bare net/http handler"
	case "raft-defaults":
		return "raw raft, library defaults"
	case "raft-tuned":
		return "raw raft, Jeton's settings"
	default:
		return c.Operation + ", " + c.Target
	}
}

func plural(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// thousands writes 12345 as 12,345.
func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
