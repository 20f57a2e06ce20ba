package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPlanNodes(t *testing.T) {
	for _, test := range []struct {
		name                           string
		count, httpPort, transportPort int
		want                           []devNode
		problem                        string
	}{
		{
			"three in a row", 3, 9200, 9300,
			[]devNode{{"node-1", 9200, 9300}, {"node-2", 9201, 9301}, {"node-3", 9202, 9302}},
			"",
		},
		{"free ports stay open", 2, 0, 9300, []devNode{{"node-1", 0, 9300}, {"node-2", 0, 9301}}, ""},
		{"neighbours", 1, 9299, 9300, []devNode{{"node-1", 9299, 9300}}, ""},
		{"none", 0, 9200, 9300, nil, "--nodes 0"},
		{"too many", 10, 9200, 9300, nil, "--nodes 10"},
		{"http below transport", 3, 9298, 9300, nil, "overlap"},
		{"transport below http", 3, 9302, 9300, nil, "overlap"},
		{"past the last port", 3, 65534, 9300, nil, "--http-port 65534"},
		{"negative", 3, 9200, -1, nil, "--transport-port -1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := planNodes(test.count, test.httpPort, test.transportPort)
			checkProblem(t, err, test.problem)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// checkProblem wants an error that holds the text, or none if it is empty.
func checkProblem(t *testing.T, err error, problem string) {
	t.Helper()
	switch {
	case problem == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case problem != "" && (err == nil || !strings.Contains(err.Error(), problem)):
		t.Errorf("got error %v, want one that says %q", err, problem)
	}
}

func TestFreePortsAreAllDifferent(t *testing.T) {
	nodes, err := planNodes(maxDevNodes, 0, 0)
	checkProblem(t, err, "")
	checkProblem(t, chooseFreePorts(t.Context(), nodes), "")
	seen := map[int]bool{0: true}
	for _, node := range nodes {
		for _, port := range []int{node.HTTPPort, node.TransportPort} {
			if seen[port] {
				t.Errorf("port %d of %s is not a port, or taken", port, node.Name)
			}
			seen[port] = true
		}
	}
	checkProblem(t, chooseFreePorts(t.Context(), nodes), "") // and free again
}

func TestBusyPortIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", hostPort(0))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().(*net.TCPAddr).Port
	err = chooseFreePorts(t.Context(), []devNode{{"node-1", 0, busy}})
	checkProblem(t, err, "port "+strconv.Itoa(busy)+" (transport of node-1) is not free: choose others with --transport-port")
}

func TestShellReadsBackWhatWasQuoted(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	read := func(word string) string {
		out, err := exec.Command(shell, "-c", "printf %s "+shellQuote(word)).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, word := range []string{"", "plain/path-1.2", "two words", "it's", `a"b$c\d` + "`e`", "line\nbreak", "~", "a=b", "*", "#", "ümlaut"} {
		if got := read(word); got != word {
			t.Errorf("%q was read as %q", word, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~\n]{0,12}`).Draw(t, "word")
		if got := read(word); got != word {
			t.Errorf("%q was read as %q", word, got)
		}
	})
}

func TestShellQuoteLeavesPlainWordsAlone(t *testing.T) {
	got := shellCommand("/usr/bin/jeton", "dev", "restart", "node-2", "--data", "/tmp/it's here")
	if want := `/usr/bin/jeton dev restart node-2 --data '/tmp/it'\''s here'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDevEnv(t *testing.T) {
	entries := []nodeEntry{
		{Name: "node-1", URL: "https://127.0.0.1:9200", PID: 11},
		{Name: "node-2", URL: "https://127.0.0.1:9201", PID: 22},
	}
	got := devEnv("/a b", "/a b/ca.crt", "it's", entries)
	want := `JETON_URLS=https://127.0.0.1:9200,https://127.0.0.1:9201
JETON_CACERT='/a b/ca.crt'
JETON_USER=elastic
JETON_PASSWORD='it'\''s'
JETON_PIDS=11,22
JETON_NODES='/a b/nodes.json'
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestControlSocketOfALongPathIsElsewhere(t *testing.T) {
	short := t.TempDir()
	for _, test := range []struct {
		name string
		dir  devDir
		want string
	}{
		{"short", devDir(t.TempDir()), ""},
		{"long", devDir(filepath.Join(short, strings.Repeat("x", maxSocketPath))), short},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, remove, err := listenControl(t.Context(), test.dir, short)
			checkProblem(t, err, "")
			path := l.Addr().String()
			if len(path) > maxSocketPath || !strings.HasPrefix(path, test.want) {
				t.Errorf("the socket is %s", path)
			}
			checkProblem(t, l.Close(), "")
			checkProblem(t, remove(), "")
		})
	}
}
