package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The lines of docs/sessions.md are run as they stand, one after another in one shell,
// and print what the page says they do, but for names and times.
func TestE2ESessionsAsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "sessions.md"))
	must(t, err)
	c := startDev(t, cheapHashes)
	blocks := regexp.MustCompile("(?ms)^```(sh|json|)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	const end = "--- end of a block ---\n"
	var script strings.Builder
	var want []string
	script.WriteString("set -eu\n")
	for _, block := range blocks {
		if block[1] == "sh" {
			script.WriteString(block[2] + "printf '\\n%s' '" + end + "'\n")
			want = append(want, "")
		} else {
			want[len(want)-1] = block[2]
		}
	}
	shell := exec.Command("sh", "-c", script.String())
	shell.Env = append(shell.Environ(), "CURL_CA_BUNDLE="+c.cacert, "JETON="+c.nodes[0].URL, "ELASTIC=elastic:"+c.password)
	shell.Stderr = t.Output()
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.Split(strings.TrimSuffix(string(out), end), end)
	if len(got) != len(want) || len(got) < 7 {
		t.Fatalf("%d blocks printed something, of %d", len(got), len(want))
	}
	for i := range want {
		if i == 0 {
			continue // it prepares what follows
		}
		if diff := cmp.Diff(timeless(want[i]), timeless(got[i])); diff != "" {
			t.Errorf("block %d (-documented +printed):\n%s", i, diff)
		}
	}
}

// timeless has what differs each time by its kind only.
func timeless(text string) string {
	text = regexp.MustCompile(`\b1[0-9]{12}\b`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`"[A-Za-z0-9_-]{32}"`).ReplaceAllString(text, `"ID"`)
	text = regexp.MustCompile(`"[A-Za-z0-9_-]{48}"`).ReplaceAllString(text, `"PLACE"`)
	text = strings.ReplaceAll(text, "}{", "}\n{") // curl ends no line
	return strings.TrimSpace(regexp.MustCompile(`\n+`).ReplaceAllString(text, "\n"))
}
