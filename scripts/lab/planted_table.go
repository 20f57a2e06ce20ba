package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"jeton/scripts/lab/build"
)

const (
	tableHead = `# Negative controls

A check that finds nothing proves something only if it can find something. So the laboratory plants defects, each a shortcut
that somebody might take, and must notice every one within 20 runs; it lays the same traps for the program as it is, and
must notice nothing. This table is written by

    go run ./scripts/lab planted

and the defects are the patches in ` + "`scripts/lab/build/planted`" + `. The traps are in ` + "`scripts/lab/traps_*.go`" + `: they aim a fault, and judge
by the promises alone. What the simulation within one process catches is in ` + "`TestNegativeControlsAreCaught`" + ` of ` + "`node`" + `.

`
	tableTitle = "| Defect | The shortcut, and what it breaks | The trap | What was found wrong | Runs | Last caught |"
	tableRule  = "|---|---|---|---|---|---|"
	notCaught  = "**not caught**"
)

// writeCaptures brings the table up to date: the rows of those that were tried are new, others stay while there is such a
// defect.
func writeCaptures(path string, caught []capture) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // names the file
	}
	rows, commit := readRows(string(old)), commitNow()
	maps.DeleteFunc(rows, func(name, _ string) bool {
		return !slices.ContainsFunc(build.Planted(), func(d build.Defect) bool { return d.Name == name })
	})
	for _, c := range caught {
		rows[c.defect.Name] = c.row(commit)
	}
	return os.WriteFile(path, []byte(table(rows)), 0o644) //nolint:gosec,wrapcheck // a document; names the file
}

// table is the document with those rows, by name.
func table(rows map[string]string) string {
	var text strings.Builder
	text.WriteString(tableHead + tableTitle + "\n" + tableRule + "\n")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		text.WriteString(rows[name] + "\n")
	}
	return text.String()
}

var firstCell = regexp.MustCompile("^\\| `([a-z0-9-]+)` \\|")

// readRows returns the rows of a table, by name.
func readRows(text string) map[string]string {
	rows := map[string]string{}
	for line := range strings.Lines(text) {
		if match := firstCell.FindStringSubmatch(line); match != nil {
			rows[match[1]] = strings.TrimSpace(line)
		}
	}
	return rows
}

// row is what the table says of a defect.
func (c capture) row(commit string) string {
	found, _, _ := strings.Cut(c.check, ": {")    // what follows is an answer, or the end of a log,
	found, _, _ = strings.Cut(found, ": jeton: ") // or what the program said when it ended
	last := c.at.UTC().Format(time.DateOnly) + ", " + commit
	if found == "" {
		found, last = notCaught, "never in these runs ("+last+")"
	}
	cell := func(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
	return fmt.Sprintf("| `%s` | %s | `%s`: %s | %s | %d | %s |",
		c.defect.Name, cell(c.defect.What), c.trap.name, cell(c.trap.what), cell(found), c.runs, last)
}

// commitNow names what was built.
func commitNow() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output() //nolint:noctx // it asks nobody
	if err != nil {
		return "unknown commit"
	}
	return strings.TrimSpace(string(out))
}
