// Command lab is the fault laboratory: it starts real nodes in namespaces of their own, drives load
// through every one of them, makes faults, and checks that no answer was ever wrong.
//
// See docs/laboratory.md, and `go run ./scripts/lab --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes: a script must be able to tell a wrong answer from a laboratory that could not be built.
const (
	exitGood      = 0
	exitViolation = 1
	exitUnable    = 2
)

// errViolation says that the laboratory found something, and has said what.
var errViolation = errors.New("violation found")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program but for the exit.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand() //nolint:contextcheck // commands get it from cobra
	root.SetArgs(args[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitGood
	case errors.Is(err, errViolation):
		return exitViolation
	default:
		fmt.Fprintf(stderr, "lab: %v\n", err)
		return exitUnable
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lab",
		Short: "Makes every fault we can make, and checks every answer",
		Long: strings.TrimSpace(`
Starts a cluster of real processes in network namespaces and on file systems of its
own, sends it requests through every node, makes faults, and checks the history of all
requests, the nodes' logs and their files. Nothing outside is touched, and everything
ends with the program.

Exit code 0: nothing was wrong; 1: a promise was broken; 2: it could not be tried.`),
		Example: strings.Trim(`
  go run ./scripts/lab run --for 10m
  go run ./scripts/lab run --for 2m --seed 7 --faults kill-leader,cut-both-ways
  go run ./scripts/lab faults
  go run ./scripts/lab rounds paused-leader -n 1000
  go run ./scripts/lab planted`, "\n"),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newRunCommand(), newFaultsCommand(), newRoundsCommand(), newPlantedCommand())
	root.AddCommand(newBurstsCommand(), newRepeatsCommand(), newRollingCommand())
	return root
}
