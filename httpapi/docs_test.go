package httpapi_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jeton/httpapi"
)

// What docs/coming-from-elasticsearch.md says of a route is so: what is the same or
// different is served, what is not there is not, of tokens everything is there, and
// every test that is named exists.
func TestComingFromElasticsearch(t *testing.T) {
	s, err := httpapi.New(config(&world{}))
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, route := range s.EveryRoute() {
		served[route.Method+" "+route.Path] = true
	}
	text, err := os.ReadFile("../docs/coming-from-elasticsearch.md")
	if err != nil {
		t.Fatal(err)
	}
	var section string
	rows, tests := 0, everyTest(t)
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(heading)
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "--") || strings.TrimSpace(cells[1]) == "Versions" {
			continue
		}
		rows++
		here := strings.TrimSpace(cells[2])
		absent := strings.HasPrefix(here, "Not there: ")
		if !absent && !strings.HasPrefix(here, "Same") && !strings.HasPrefix(here, "Different: ") {
			t.Errorf("neither the same, nor different with a reason, nor not there with one: %s", line)
		}
		if absent && section == "Tokens" {
			t.Errorf("not there, of tokens: %s", line)
		}
		for _, route := range regexp.MustCompile("`((?:GET|HEAD|POST|PUT|DELETE) /[^`]*)`").FindAllStringSubmatch(cells[0], -1) {
			if served[route[1]] == absent {
				t.Errorf("%s: served is %v, and the table says: %s", route[1], served[route[1]], here)
			}
		}
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(cells[3], -1)
		if len(named) == 0 && !absent {
			t.Errorf("nothing shows it: %s", line)
		}
		for _, test := range named {
			if !tests[test[1]] {
				t.Errorf("there is no %s", test[1])
			}
		}
	}
	if rows < 60 {
		t.Errorf("only %d rows were found", rows)
	}
}

// everyTest lists the tests of the whole module.
func everyTest(t *testing.T) map[string]bool {
	t.Helper()
	tests, declared := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range declared.FindAllStringSubmatch(string(source), -1) {
			tests[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
