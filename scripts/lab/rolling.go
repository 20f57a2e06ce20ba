package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"jeton/scripts/lab/load"
)

const (
	// rollingPatience is how long a node may take to end, or to be ready again and seen to be.
	rollingPatience = 30 * time.Second
	// rollingWarmUp is how long it may take at most until users are made, connections opened and passwords hashed once.
	rollingWarmUp = 30 * time.Second
	// rollingWarm is the highest 99th percentile of a second in which all that is over.
	rollingWarm = 250 * time.Millisecond
	// rollingQuiet is how long it goes on before the first restart.
	rollingQuiet = 2 * time.Second
	// rollingWorkers is how many requests may wait for their answers at once. More are not sent, and missing from the rate.
	rollingWorkers = 1024
	// rollingClients is how many clients there are, each with connections of its own.
	rollingClients = 128
)

// rolling restarts node after node, behind a load balancer and under load.
type rolling struct {
	options
	cycles int
	rate   float64
}

func newRollingCommand() *cobra.Command {
	r := &rolling{}
	// The product's defaults, where the laboratory's usual settings would make a difference here; and ordinary files, for the
	// laboratory's disks lose what is cached of them when a process ends, and then take long to read.
	r.settings = map[string]string{
		"raft.snapshot_threshold": "64mb", "raft.snapshot_interval": "30s", "raft.trailing_logs": "32768",
		"request.timeout": "10s", "shutdown.delay": "5s", "path.data": "data",
	}
	command := &cobra.Command{
		Use:   "rolling",
		Short: "Restart node after node behind HAProxy, under load that may notice latency and nothing else",
		Long: strings.TrimSpace(`
HAProxy asks each node for /readyz, as scripts/clients/haproxy.cfg has it, and repeats nothing
that a node was given. Clients ask for all that there is at a constant rate, through the
balancer alone, while each node in turn gets SIGTERM and is started again when it has ended.

Exit code 0: every request got the right answer, and 99 of a hundred within a second;
1: not so; 2: the rate was not reached, so nothing is known.`),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.enter(cmd.Context()); err != nil {
				return err
			}
			return r.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	r.addFlags(command)
	command.Flags().IntVar(&r.cycles, "cycles", 10, "how often every node is restarted")
	command.Flags().Float64Var(&r.rate, "rate", 2000, "requests a second, all in all")
	return command
}

func (r *rolling) run(ctx context.Context, stdout, stderr io.Writer) error {
	lab, err := r.open(ctx, stdout, stderr, r.again("rolling", fmt.Sprintf("--cycles %d --rate %g", r.cycles, r.rate)))
	if err != nil {
		return err
	}
	defer lab.close()
	b, err := startBalancer(ctx, lab.cluster)
	if err != nil {
		return err
	}
	defer b.close()
	figures, err := r.measure(ctx, lab, b)
	if err != nil {
		return err
	}
	lab.unwatch()
	lab.judge(ctx, true)
	lab.compare(ctx)
	lab.cluster.halt(ctx)
	figures.print(lab.progress)
	figures.judge(lab.journal)
	if err := lab.conclude(nil, nil); err != nil {
		return err
	}
	return figures.loaded()
}

// measure does all that is measured.
func (r *rolling) measure(ctx context.Context, lab *laboratory, b *balancer) (*rollingFigures, error) {
	if err := r.clients(lab, b); err != nil {
		return nil, err
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var asked sync.WaitGroup
	asked.Go(func() { lab.load.Run(asking) })
	r.warmUp(ctx, lab.load)
	restarted := r.restartAll(ctx, lab, b)
	stop()
	asked.Wait()
	if restarted != nil {
		return nil, restarted
	}
	figures := newRollingFigures(lab.load.Stats(), r)
	var err error
	figures.connections, err = b.connections(ctx)
	return figures, err
}

// warmUp waits until a whole second of the load was as it is to be, or for too long, and begins the figures.
func (r *rolling) warmUp(ctx context.Context, clients *load.Load) {
	ctx, cancel := context.WithTimeout(ctx, rollingWarmUp)
	defer cancel()
	for pause(ctx, time.Second) {
		if last := clients.LastSecond().All; float64(last.Sum()) >= r.rate && last.P99 < rollingWarm {
			break
		}
	}
	clients.Forget()
}

// clients makes those of the balancer.
func (r *rolling) clients(lab *laboratory, b *balancer) error {
	roots, err := lab.cluster.roots()
	if err != nil {
		return err
	}
	lab.load, err = load.New(load.Config{
		Targets: []load.Target{{Name: "balancer", URL: b.url, Balancer: true}},
		Roots:   roots, Username: username, Password: lab.cluster.password,
		Workers: rollingWorkers, Clients: rollingClients,
		Rate: rollingSurplus * r.rate, Seed: r.seed, Now: time.Now, Timeout: rollingPatience,
		RefreshWindow: refreshWindow, Calm: true,
	})
	return err
}

// restartAll restarts every node, cycle after cycle.
func (r *rolling) restartAll(ctx context.Context, lab *laboratory, b *balancer) error {
	pause(ctx, rollingQuiet)
	for range r.cycles {
		for _, n := range lab.cluster.nodes {
			if err := restartBehind(ctx, b, n); err != nil && ctx.Err() == nil {
				lab.journal.violate("%v", err)
				return nil
			}
		}
	}
	return ctx.Err() //nolint:wrapcheck // interrupted
}

// restartBehind has the node end, and returns when the balancer sends requests to its successor.
func restartBehind(ctx context.Context, b *balancer, n *node) error {
	before := n.running()
	if before == nil {
		return fmt.Errorf("%s does not run", n.name)
	}
	if !n.end(ctx, syscall.SIGTERM, rollingPatience) {
		return fmt.Errorf("%s has not ended %v after SIGTERM", n.name, rollingPatience)
	}
	if before.code != 0 {
		n.cluster.journal.violate("%s ended with exit code %d after SIGTERM: %s", n.name, before.code, n.lastWords())
	}
	ctx, cancel := context.WithTimeout(ctx, rollingPatience)
	defer cancel()
	for pause(ctx, lookInterval) {
		if after := n.running(); after == nil || after == before || !n.ready.Load() {
			continue
		}
		up, err := b.uses(ctx, n)
		if err != nil {
			return err
		}
		if up {
			return nil
		}
	}
	return fmt.Errorf("%s is not back %v after its restart", n.name, rollingPatience)
}
