package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/scripts/lab/load"
)

// series is something done many times to refresh tokens in a cluster that is well.
type series struct {
	options
	count   int
	each    int // presentations at each node
	workers int
}

func newBurstsCommand() *cobra.Command {
	s := &series{}
	cmd := &cobra.Command{
		Use:   "bursts",
		Short: "Present refresh tokens at all nodes at once, many times over",
		Long: strings.TrimSpace(`
Presents one refresh token at every node at the same moment, several times at each. All must
be answered with the same pair of tokens, byte for byte; that is one burst. The successor is the
token of the next burst.`),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, fmt.Sprintf("--each %d", s.each), func(ctx context.Context, l *load.Load) (string, error) {
				err := l.Bursts(ctx, s.count, s.each)
				stats := l.Stats()
				return fmt.Sprintf("%d bursts (%d wanted) of %d presentations each: one successor each; %d presentations were answered",
					stats.Bursts, s.count, s.each*s.nodes, stats.Kinds["refresh"].OK), err
			})
		},
	}
	s.addFlags(cmd, 100_000)
	cmd.Flags().IntVar(&s.each, "each", 2, "how often a burst presents its token at each node")
	return cmd
}

func newRepeatsCommand() *cobra.Command {
	s := &series{each: 1}
	cmd := &cobra.Command{
		Use:   "repeats",
		Short: "Lose the answers to refreshes, and repeat them at other nodes, many times over",
		Long: strings.TrimSpace(`
Refreshes a token and loses the answer: half of them are swallowed when they have arrived, by a
connection that keeps them from the client; for the others the client hangs up when the request was
sent, or within four milliseconds. Then the same request is sent to the other nodes. All answers must
be the same, byte for byte, also the one that was swallowed.`),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, "", func(ctx context.Context, l *load.Load) (string, error) {
				sum, err := l.Repeats(ctx, s.count)
				return fmt.Sprintf("%d answers lost (%d swallowed, %d clients hung up), each repeated at other nodes: %d answers compared with another, byte for byte",
					sum.Swallowed+sum.HungUp, sum.Swallowed, sum.HungUp, sum.Compared), err
			})
		},
	}
	s.addFlags(cmd, 10_000)
	return cmd
}

func (s *series) addFlags(cmd *cobra.Command, count int) {
	s.options.addFlags(cmd)
	cmd.Flags().IntVarP(&s.count, "number", "n", count, "how many")
	cmd.Flags().IntVar(&s.workers, "workers", 16, "how many at the same time")
}

// run does it in a cluster of its own.
func (s *series) run(cmd *cobra.Command, more string, do func(context.Context, *load.Load) (string, error)) error {
	if s.count < 1 || s.workers < 1 || s.each < 1 {
		return errors.New("--number, --workers and --each must be positive")
	}
	ctx := cmd.Context()
	if err := s.enter(ctx); err != nil {
		return err
	}
	again := strings.TrimSpace(fmt.Sprintf("-n %d --workers %d %s", s.count, s.workers, more))
	lab, err := s.open(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), s.again(cmd.Name(), again))
	if err != nil {
		return err
	}
	defer lab.close()
	if err := lab.prepareLoad(s.workers); err != nil {
		return err
	}
	began := time.Now()
	result, err := do(ctx, lab.load)
	lab.loaded = time.Since(began)
	if err != nil {
		return err
	}
	lab.checked = append(lab.checked, fmt.Sprintf("%s; in %s", result, rounded(lab.loaded)))
	lab.finish(ctx, true)
	return lab.conclude(nil, nil)
}

// prepareLoad makes clients that ask for nothing by themselves.
func (l *laboratory) prepareLoad(workers int) error {
	roots, err := l.cluster.roots()
	if err != nil {
		return err
	}
	l.stopLoad = func() {}
	l.load, err = load.New(load.Config{
		Targets: l.cluster.targets(), Roots: roots, Username: username, Password: l.cluster.password,
		Workers: workers, Rate: 1, Seed: l.options.seed, Now: time.Now, Timeout: clientPatience,
		RefreshWindow: refreshWindow, Tolerance: clockTolerance,
	})
	return err
}
