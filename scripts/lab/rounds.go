package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// scenario is something that is done many times over, and measured.
type scenario struct {
	name     string
	what     string
	nodes    int               // at least
	settings map[string]string // beside the usual ones
	rate     float64           // of the load that goes on meanwhile; zero: none
	aims     []aim
	round    func(ctx context.Context, r *rounds) error
}

// aim is what a figure must not exceed.
type aim struct {
	figure   string
	quantile float64
	most     time.Duration
}

// rounds is a scenario that is under way.
type rounds struct {
	*laboratory
	rand  *rand.Rand
	done  int
	known facts // of an earlier round

	mu      sync.Mutex
	figures map[string][]time.Duration
	counts  map[string]int
}

// quickTimers make elections and leases short, where it is their order that counts and not how long they take: more
// rounds in less time.
func quickTimers() map[string]string {
	return map[string]string{"raft.heartbeat_timeout": "300ms", "raft.election_timeout": "300ms", "read.lease": "300ms"}
}

func newRoundsCommand() *cobra.Command {
	var o options
	var times int
	cmd := &cobra.Command{
		Use:   "rounds NAME",
		Short: "Do one thing many times over, and measure it",
		Long:  "Does one thing many times over, as fast as the machine allows, and measures it. NAME is a fault (lab faults), made\nunder load, or one of these:\n\n" + listScenarios(),
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := scenarioNamed(args[0])
			if err != nil {
				return err
			}
			if times < 1 {
				return fmt.Errorf("-n %d: want one or more", times)
			}
			o.nodes = max(o.nodes, s.nodes)
			if err := o.enter(cmd.Context()); err != nil {
				return err
			}
			return o.rounds(cmd.Context(), s, times, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().IntVarP(&times, "times", "n", 20, "how many rounds")
	return cmd
}

func listScenarios() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, s := range scenarios() {
		fmt.Fprintf(table, "  %s\t%s\n", s.name, s.what)
	}
	_ = table.Flush() // to memory
	return text.String()
}

// scenarioNamed finds a scenario, or makes one of a fault.
func scenarioNamed(name string) (s scenario, err error) {
	all := scenarios()
	if at := slices.IndexFunc(all, func(s scenario) bool { return s.name == name }); at >= 0 {
		return all[at], nil
	}
	faults, unknown := faultsNamed([]string{name})
	if len(unknown) > 0 {
		return s, fmt.Errorf("there is neither a scenario nor a fault %s (lab rounds --help, lab faults)", name)
	}
	return ofFaults(name, faults[0].what, faults), nil
}

// rounds does a scenario so many times, and tells what it came to.
func (o *options) rounds(ctx context.Context, s scenario, times int, stdout, stderr io.Writer) error {
	o.settings = s.settings
	lab, err := o.open(ctx, stdout, stderr, o.again("rounds", s.name, fmt.Sprintf("-n %d", times)))
	if err != nil {
		return err
	}
	defer lab.close()
	if s.rate > 0 {
		if err := lab.startLoad(ctx, s.rate); err != nil {
			return err
		}
	}
	r := &rounds{
		laboratory: lab, rand: rand.New(rand.NewPCG(o.seed, 0x726f756e64)), //nolint:gosec // a seed repeats a run
		figures: map[string][]time.Duration{}, counts: map[string]int{},
	}
	rests := true
	for ; r.done < times && ctx.Err() == nil && rests; r.done++ {
		if err := s.round(ctx, r); err != nil && ctx.Err() == nil {
			lab.journal.violate("round %d: %v", r.done+1, err)
			rests = false
		}
		r.show(times)
	}
	lab.finish(ctx, rests)
	if s.rate > 0 {
		lab.leastLoad(s.rate, leastServedRounds)
	}
	lab.checked = append(lab.checked, r.summary(s)...)
	return lab.conclude(nil, nil)
}

// show tells how far it is, now and then.
func (r *rounds) show(times int) {
	if done := r.done + 1; done%max(1, times/20) == 0 {
		fmt.Fprintf(r.progress, "%8.1fs  %d of %d rounds, %d violations\n", time.Since(r.journal.began).Seconds(), done, times, len(r.journal.broken()))
	}
}

// figure takes note of how long something took.
func (r *rounds) figure(name string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures[name] = append(r.figures[name], took)
}

// count takes note of something that happened.
func (r *rounds) count(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[name]++
}

// summary writes the figures down; one that exceeds its aim is a violation.
func (r *rounds) summary(s scenario) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines = append(lines, fmt.Sprintf("%d rounds of %s", r.done, s.name))
	for _, name := range slices.Sorted(maps.Keys(r.counts)) {
		lines = append(lines, fmt.Sprintf("%s: %d", name, r.counts[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.figures)) {
		values := r.figures[name]
		slices.Sort(values)
		lines = append(lines, fmt.Sprintf("%s: %d times, p50 %s, p99 %s, max %s", name, len(values),
			rounded(quantile(values, 0.5)), rounded(quantile(values, 0.99)), rounded(quantile(values, 1))))
	}
	for _, a := range s.aims {
		if got := quantile(r.figures[a.figure], a.quantile); got > a.most {
			r.journal.violate("%s, %g of all: %s, more than %s", a.figure, a.quantile, rounded(got), rounded(a.most))
		}
	}
	return lines
}

// quantile is the nearest rank of sorted values; zero of none.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// ofFaults is a scenario that makes these faults in turn, under load.
func ofFaults(name, what string, faults []fault) scenario {
	return scenario{name: name, what: what, rate: defaultRate, round: func(ctx context.Context, r *rounds) error {
		f := faults[r.done%len(faults)]
		if !r.cluster.available(f) {
			return fmt.Errorf("%s needs %s", f.name, f.need)
		}
		m := newNemesis(r.cluster, faults, r.rand.Uint64())
		err := m.round(ctx, []fault{f})
		r.count("faults made: " + f.name)
		for _, took := range m.recoveries[f.name] {
			r.figure("recovery from "+f.name, took)
		}
		return err
	}}
}

// keepReading asks nodes for a token of their own again and again, so that they hold read leases.
func (r *rounds) keepReading(ctx context.Context, nodes []*node) (stop func(), err error) {
	held, err := r.cluster.admin.issue(ctx, nodes[0].url())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	for _, n := range nodes {
		reading.Go(func() {
			for pause(ctx, readInterval) {
				_, _ = r.cluster.admin.authenticate(ctx, n.url(), held.Access) // the answer does not matter
			}
		})
	}
	return func() {
		cancel()
		reading.Wait()
	}, nil
}

// readInterval is much less than the fourth of a lease.
const readInterval = 10 * time.Millisecond

// issueSome issues tokens at a node.
func (r *rounds) issueSome(ctx context.Context, n *node, count int) (tokens []string, err error) {
	for range count {
		p, err := r.cluster.admin.issue(ctx, n.url())
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, p.Access)
	}
	return tokens, nil
}

// questions are requests about tokens to one node that are under way.
type questions struct {
	asking sync.WaitGroup
	valid  atomic.Int64
	dead   atomic.Int64
	unsure atomic.Int64 // 503, or no answer
}

// ask asks about each token without waiting for the answers.
func (q *questions) ask(ctx context.Context, c *client, url string, tokens []string) {
	for _, token := range tokens {
		q.asking.Go(func() {
			switch status, _ := c.authenticate(ctx, url, token); status {
			case 200:
				q.valid.Add(1)
			case 401:
				q.dead.Add(1)
			default:
				q.unsure.Add(1)
			}
		})
	}
}

// mustBeDead waits for the answers, and says whether one was stale.
func (q *questions) mustBeDead(r *rounds, n *node) {
	q.asking.Wait()
	if valid := q.valid.Load(); valid > 0 {
		r.journal.violate("%s called %d tokens valid that it was asked about after their invalidation was acknowledged", n.name, valid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts["stale answers"] += int(q.valid.Load())
	r.counts["asked after the end: answered invalid"] += int(q.dead.Load())
	r.counts["asked after the end: not answered"] += int(q.unsure.Load())
}
