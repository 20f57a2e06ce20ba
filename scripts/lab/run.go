package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/scripts/lab/load"
)

// runOptions are the flags of `lab run`.
type runOptions struct {
	options
	length time.Duration
	rate   float64
	faults []string
}

const (
	defaultRate = 300
	// leastServed is the share of the requests asked for that must be answered with certainty, faults or not. Below, the
	// machine was too slow, or the cluster too often down, for the run to mean anything.
	leastServed = 0.4
	// leastServedRounds is the same where the scenario itself has the cluster down most of the time.
	leastServedRounds = 0.1
	// clientPatience is how long a client waits; it is longer than the nodes' request.timeout.
	clientPatience = 8 * time.Second
	// clockTolerance is how far the cluster's time may run from ours while a refresh window is open: clocks are skewed by
	// two percent, and elections take time.
	clockTolerance = 3 * time.Second
)

func newRunCommand() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Make random faults, alone and in pairs, under load",
		Long: strings.TrimSpace(`
Makes one or two random faults at a time, lets the cluster recover, and goes on so. In the
end it checks everything and writes a report with a timeline to the folder --out.`),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			table, unknown := faultsNamed(o.faults)
			if len(unknown) > 0 {
				return fmt.Errorf("--faults: there is no %s (lab faults lists them)", strings.Join(unknown, ", "))
			}
			if err := o.enter(cmd.Context()); err != nil {
				return err
			}
			return o.run(cmd.Context(), table, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd)
	flags := cmd.Flags()
	flags.DurationVar(&o.length, "for", 10*time.Minute, "how long")
	flags.Float64Var(&o.rate, "rate", defaultRate, "requests a second, in all")
	flags.StringSliceVar(&o.faults, "faults", nil, "only these faults, by name (default: all)")
	return cmd
}

func (o *runOptions) again() string {
	more := []string{"--for " + o.length.String(), fmt.Sprintf("--rate %g", o.rate)}
	if len(o.faults) > 0 {
		more = append(more, "--faults "+strings.Join(o.faults, ","))
	}
	return o.options.again("run", more...)
}

func (o *runOptions) run(ctx context.Context, table []fault, stdout, stderr io.Writer) error {
	lab, err := o.open(ctx, stdout, stderr, o.again())
	if err != nil {
		return err
	}
	defer lab.close()
	usable, skipped := lab.cluster.usable(table)
	for _, why := range skipped {
		fmt.Fprintf(lab.progress, "left out: %s\n", why)
	}
	if len(usable) == 0 {
		return errors.New("this machine allows none of these faults")
	}
	if err := lab.startLoad(ctx, o.rate); err != nil {
		return err
	}
	m := newNemesis(lab.cluster, usable, o.seed)
	stopped := m.run(ctx, time.Now().Add(o.length))
	lab.finish(ctx, stopped == nil)
	if ctx.Err() != nil {
		fmt.Fprintln(lab.progress, "interrupted: what was seen so far counts")
	}
	lab.leastLoad(o.rate, leastServed)
	return lab.conclude(m, skipped)
}

// usable are the faults that this machine allows; skipped says why the others are left out.
func (c *cluster) usable(table []fault) (usable []fault, skipped []string) {
	for _, f := range table {
		if c.available(f) {
			usable = append(usable, f)
		} else {
			skipped = append(skipped, fmt.Sprintf("%s needs %s", f.name, f.need))
		}
	}
	return usable, skipped
}

// leastLoad is a violation if the load was not what was asked for: a run without load finds nothing.
func (l *laboratory) leastLoad(rate, share float64) {
	stats := l.load.Stats()
	wanted := rate * l.loaded.Seconds()
	served := float64(stats.All.OK + stats.All.Refused)
	if served < share*wanted {
		l.journal.violate("the load was not reached: %.0f of %.0f requests were answered with certainty, less than %.0f %%", served, wanted, 100*share)
	}
}

// startLoad begins to send requests.
func (l *laboratory) startLoad(ctx context.Context, rate float64) error {
	roots, err := l.cluster.roots()
	if err != nil {
		return err
	}
	l.load, err = load.New(load.Config{
		Targets: l.cluster.targets(), Roots: roots, Username: username, Password: l.cluster.password,
		Workers: max(64, int(rate)), Rate: rate, Seed: l.options.seed, Now: time.Now, Timeout: clientPatience,
		RefreshWindow: refreshWindow, Tolerance: clockTolerance,
	})
	if err != nil {
		return err
	}
	l.cluster.trusting = l.load.SetRoots
	l.cluster.moved = func() { l.load.SetTargets(l.cluster.targets()) }
	ctx, l.stopLoad = context.WithCancel(ctx)
	l.loadBegan = time.Now()
	l.background.Go(func() {
		l.load.Run(ctx)
		l.loaded = time.Since(l.loadBegan)
	})
	return nil
}

// targets are the nodes as the load knows them.
func (c *cluster) targets() (targets []load.Target) {
	for _, n := range c.nodes {
		targets = append(targets, load.Target{Name: n.name, URL: n.url()})
	}
	return targets
}
