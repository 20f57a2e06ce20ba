package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestShellCommandIsReadBackUnchanged(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	for _, word := range []string{"plain/a-b.c", "", "it's", `"$HOME" \ * ?`, "a b"} {
		cmd := exec.Command(shell, "-c", shellCommand("printf", "%s", word))
		out, err := cmd.Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q, %v", word, out, err)
		}
	}
}

func TestComebackNamesEverythingThatIsNotRemembered(t *testing.T) {
	got := comeback("/tmp/it's c", &devState{Settings: "/etc/s.yml"})
	if want := ` dev --data '/tmp/it'\''s c' --settings /etc/s.yml`; !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want it to end in%s", got, want)
	}
	if got := comeback("/c", &devState{}); strings.Contains(got, "--settings") {
		t.Error(got)
	}
	if !byGoRun("/tmp/go-build123/b001/exe/jeton") || byGoRun("/usr/bin/jeton") {
		t.Error("byGoRun")
	}
}
