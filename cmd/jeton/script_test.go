package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets this test binary be `jeton`, for the scripts and for the nodes
// that they start.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"jeton": func() {
			os.Exit(run(context.Background(), os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs what needs no cluster.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: filepath.Join("testdata", "script"), RequireExplicitExec: true, Cmds: scriptCommands()})
}

// TestE2EScripts runs clusters of real processes.
func TestE2EScripts(t *testing.T) {
	if os.Getenv("JETON_E2E") == "" {
		t.Skip("starts clusters of real processes; to run it: JETON_E2E=1 (scripts/check.sh e2e)")
	}
	testscript.Run(t, testscript.Params{Dir: filepath.Join("testdata", "e2e"), RequireExplicitExec: true, Cmds: scriptCommands()})
}

func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"takeport": takePort,
		"waitfor":  waitFor,
		"mode":     checkMode,
	}
}

// takePort VAR listens on a port until the script ends, and puts its number in VAR.
func takePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// waitFor FILE [REGEXP] waits until the file exists and matches;
// ! waitfor FILE until it does not exist.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-ticker.C {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		switch {
		case neg && os.IsNotExist(err):
			return
		case !neg && err == nil && (len(args) == 1 || regexp.MustCompile(args[1]).Match(content)):
			return
		case time.Now().After(deadline):
			complaints, _ := os.ReadFile(ts.MkAbs("dev.err")) // where scripts send what dev says
			ts.Fatalf("waited in vain; %s holds: %s\n%s", args[0], content, complaints)
		}
	}
}

// mode OCTAL FILE... checks permissions.
func checkMode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := info.Mode().Perm(); got != os.FileMode(want) {
			ts.Fatalf("%s has mode %o, want %o", name, got, want)
		}
	}
}
