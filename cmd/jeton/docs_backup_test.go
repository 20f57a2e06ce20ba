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

// The lines of docs/backup.md are run as they stand, and print what the page says they
// do, but for names, numbers and times.
func TestE2EBackupAsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "backup.md"))
	must(t, err)
	c := startDev(t, cheapHashes)
	const end = "--- end of a block ---\n"
	var script strings.Builder
	var want []string
	script.WriteString("set -eu\n")
	for _, block := range regexp.MustCompile("(?ms)^```(sh|)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if block[1] == "sh" {
			script.WriteString(block[2] + "printf '%s' '" + end + "'\n")
			want = append(want, "")
		} else {
			want[len(want)-1] = block[2]
		}
	}
	shell := exec.Command("sh", "-c", script.String())
	shell.Dir = t.TempDir()
	shell.Env = append(shell.Environ(), "CONFIG="+filepath.Join(c.dir, c.nodes[0].Name, "jeton.yml"))
	shell.Stderr = t.Output()
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.Split(strings.TrimSuffix(string(out), end), end)
	if len(got) != len(want) || len(want) < 5 {
		t.Fatalf("%d blocks were run, of %d", len(got), len(want))
	}
	for i := range want {
		if diff := cmp.Diff(kindsOnly(want[i]), kindsOnly(got[i])); diff != "" {
			t.Errorf("block %d (-documented +printed):\n%s", i, diff)
		}
	}
}

// kindsOnly has what differs each time by its kind only.
func kindsOnly(text string) string {
	for _, v := range [...]struct{ pattern, kind string }{
		{`(?m)^(State +|Operations +|File +\S+ \()\S.*$`, "${1}N"},
		{`(?m)node-\d, jeton \S+$`, "NODE"},
		{`\b[0-9a-f]{64}\b`, "DIGEST"},
		{`\b[0-9a-f]{32}\b`, "ID"},
		{`\b20\d\d-[0-9:T-]+Z`, "TIME"},
		{`\b(index|Index +) *\d+`, "${1}N"},
	} {
		text = regexp.MustCompile(v.pattern).ReplaceAllString(text, v.kind)
	}
	return text
}
