package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary be the child processes that the program starts.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func runJSON(t *testing.T, args ...string) figures {
	t.Helper()
	var stdout bytes.Buffer
	args = append(args, "-connections=4", "-warmup=50ms", "-duration=300ms", "-format=json")
	if err := run(t.Context(), args, strings.NewReader(""), &stdout, t.Output()); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	var result figures
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &stdout)
	}
	if result.Operations == 0 || result.PerSecond == 0 || result.P50 == 0 || result.P99 < result.P50 || result.Max < result.P99 {
		t.Errorf("%v: %+v", args, result)
	}
	return result
}

func TestBareServesInItsOwnProcess(t *testing.T) {
	runJSON(t, "bare", "-body=500")
}

func TestRawRaftElectsAndCommits(t *testing.T) {
	if testing.Short() {
		t.Skip("an election takes seconds")
	}
	runJSON(t, "raw-raft", "-tuned", "-dir", t.TempDir())
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"bare", "-format=xml"},
		{"bare", "-connections=0"},
		{"bare", "-duration=0s"},
		{"table", "-connections=1,many"},
		{"table", "-rounds=0"},
		{"issue", "-colour"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), args, strings.NewReader(""), &out, &out); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
