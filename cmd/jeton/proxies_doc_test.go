package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// What people read is what was tried: each configuration is in the document as it is in
// its file.
func TestTheDocumentShowsTheProxiesConfigurations(t *testing.T) {
	document, err := os.ReadFile("../../docs/behind-a-proxy.md")
	must(t, err)
	var shown []string
	for _, block := range regexp.MustCompile("(?ms)^```[a-z]+\n(.*?)^```$").FindAllSubmatch(document, -1) {
		shown = append(shown, string(block[1]))
	}
	files, err := filepath.Glob(filepath.Join(proxiesFolder, "*"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("there is none")
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		must(t, err)
		if !slices.Contains(shown, string(content)) {
			t.Errorf("docs/behind-a-proxy.md shows another %s", filepath.Base(file))
		}
	}
}
