package network

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestEnterRefusesTheNetworkOfTheMachine(t *testing.T) {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(marker, here)
	if err := Enter(); err == nil {
		t.Error("the marker alone makes Enter believe that it is inside")
	}
}

// Whatever ends the outer process ends every process of every host.
func TestNothingOutlivesTheProgram(t *testing.T) {
	tests := map[string]struct {
		signal syscall.Signal
		code   int
	}{
		"told to end": {syscall.SIGTERM, 7}, // once, and its exit code is the program's
		"killed":      {syscall.SIGKILL, -1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			lab, out := startLaboratory(t)
			if err := lab.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(out) // ends when nobody is left who could write
			if err != nil || len(rest) > 0 {
				t.Errorf("the rest of the output: %q, %v", rest, err)
			}
			_ = lab.Wait()
			if got := lab.ProcessState.ExitCode(); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
		})
	}
}

// startLaboratory starts a program that calls Enter as if it were outside, and returns it when a process sleeps in its host.
func startLaboratory(t *testing.T) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	lab := program("laboratory", nil)
	lab.Env = slices.DeleteFunc(lab.Env, func(v string) bool { return strings.HasPrefix(v, marker) })
	pipe, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lab.Process.Kill() })
	out := bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	if strings.HasPrefix(line, ErrForbidden.Error()) {
		t.Skip(line)
	}
	if line != "sleeping\n" {
		t.Fatalf("the laboratory says %q, %v", line, err)
	}
	return lab, out
}
