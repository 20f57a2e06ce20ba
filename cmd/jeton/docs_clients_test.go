package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The code that docs/oauth-clients.md shows is code that scripts/clients runs: each
// block stands there as it is, but for its indentation.
func TestDocumentedCallsAreThoseOfTheClients(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "oauth-clients.md"))
	must(t, err)
	blocks := regexp.MustCompile("(?ms)^```(go|js|sh)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	sources := map[string]string{
		"go": "scripts/clients/go/*.go", "js": "scripts/clients/js/*.mjs", "sh": "scripts/clients/*.sh",
	}
	for _, block := range blocks {
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(sources[block[1]])))
		must(t, err)
		if !slices.ContainsFunc(files, func(file string) bool { return holds(t, file, block[2]) }) {
			t.Errorf("no file of %s has:\n%s", sources[block[1]], block[2])
		}
	}
	if len(blocks) < 7 {
		t.Errorf("%d blocks of code were found, too few", len(blocks))
	}
}

func holds(t *testing.T, file, block string) bool {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	return strings.Contains(dedented(string(content)), dedented(block))
}

// dedented is a text without the indentation of its lines.
func dedented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}
