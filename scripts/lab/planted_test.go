package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/scripts/lab/build"
)

// A defect without a trap is never caught, and a trap for a defect that is gone is never sprung.
func TestEveryDefectHasOneTrap(t *testing.T) {
	caught := map[string][]string{}
	for _, trap := range traps() {
		for _, name := range trap.catches {
			caught[name] = append(caught[name], trap.name)
		}
	}
	for _, defect := range build.Planted() {
		if len(caught[defect.Name]) != 1 {
			t.Errorf("traps for %s: %v", defect.Name, caught[defect.Name])
		}
		delete(caught, defect.Name)
	}
	if len(caught) > 0 {
		t.Errorf("traps for what is not planted: %v", caught)
	}
}

func TestNamesOfPlantedDefectsAreChecked(t *testing.T) {
	o := &plantedOptions{}
	all, err := o.choose(nil)
	if err != nil || len(all) != len(build.Planted()) {
		t.Errorf("without names: %d defects, %v", len(all), err)
	}
	one, err := o.choose([]string{"no-sync"})
	if err != nil || len(one) != 1 || one[0].defect.Name != "no-sync" || one[0].trap.name != "power-cut" {
		t.Errorf("no-sync: %+v, %v", one, err)
	}
	if _, err := o.choose([]string{"no-sync", "no-sink"}); err == nil || !strings.Contains(err.Error(), "no-sink") {
		t.Errorf("a name that there is not: %v", err)
	}
	o.quick = true
	if quick, err := o.choose(nil); err != nil || slices.ContainsFunc(quick, func(b bait) bool { return b.trap.slow }) || len(quick) == 0 {
		t.Errorf("the quick ones: %v, %v", quick, err)
	}
}

// Who tries one defect again leaves what is written of the others alone; what is not planted any more goes.
func TestTheTableIsBroughtUpToDate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.md")
	at := time.Date(2030, 1, 2, 23, 0, 0, 0, time.UTC)
	row := func(name string) capture {
		trap, err := trapFor(name)
		if err != nil {
			t.Fatal(err)
		}
		return capture{bait: bait{build.Defect{Name: name, What: "It breaks a|b."}, trap}, check: "a wrong answer", runs: 2, at: at}
	}
	if err := writeCaptures(path, []capture{row("no-sync"), row("cached-proof")}); err != nil {
		t.Fatal(err)
	}
	before := rowsOf(t, path)
	if got := before["no-sync"]; !strings.Contains(got, `It breaks a\|b.`) || !strings.Contains(got, "| a wrong answer | 2 | 2030-01-02, ") {
		t.Errorf("row: %s", got)
	}
	appendTo(t, path, "| `gone` | what nobody plants | | | | |\n")
	missed := row("cached-proof")
	missed.check, missed.runs = "", 20
	if err := writeCaptures(path, []capture{missed}); err != nil {
		t.Fatal(err)
	}
	after := rowsOf(t, path)
	if !strings.Contains(after["cached-proof"], notCaught) {
		t.Errorf("row: %s", after["cached-proof"])
	}
	before["cached-proof"] = after["cached-proof"]
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
}

func rowsOf(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(content), tableHead) {
		t.Errorf("it does not begin as it should:\n%s", content)
	}
	return readRows(string(content))
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(content, text...), 0o600); err != nil {
		t.Fatal(err)
	}
}
