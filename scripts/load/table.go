package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultBodyBytes is about the size of _authenticate's answer, for a bare run without a cluster.
const defaultBodyBytes = 300

// cell is one figure of the table: who was asked what by how many callers.
type cell struct {
	Target      string `json:"target"` // leader, follower, both also "by quorum"; bare, raft-defaults, raft-tuned
	Operation   string `json:"operation"`
	Connections int    `json:"connections"`
}

// measured is a cell with the median over all rounds of each of its figures.
type measured struct {
	cell
	PerSecond float64       `json:"per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	ServerCPU time.Duration `json:"server_cpu_ns"`
	LoadCPU   time.Duration `json:"load_cpu_ns"`
	Rounds    []figures     `json:"rounds"`
}

// report is the outcome of a whole run.
type report struct {
	Machine machine    `json:"machine"`
	Rounds  int        `json:"rounds"`
	Length  string     `json:"length"`
	Cells   []measured `json:"cells"`
	Aims    []aim      `json:"aims,omitempty"`
}

type machine struct {
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	OS    string `json:"os"`
}

// bench is a run of the whole table.
type bench struct {
	rounds      int
	warmup      time.Duration
	length      time.Duration
	connections []int
	jsonFile    string
	dir         string
	verdict     bool

	nodes    cluster // reads by lease
	byQuorum cluster // confirms each read
	bare     *bareServer
	raw      map[string]*rawCluster
	progress io.Writer
	samples  map[cell][]figures
	order    []cell
}

func runTable(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b, err := parseTable(args, stderr)
	if err != nil {
		return err
	}
	if b.nodes, err = clusterFromEnvironment(theCluster); err != nil {
		return err
	}
	if b.byQuorum, err = clusterFromEnvironment(quorumCluster); err != nil {
		return err
	}
	closeBaselines, err := b.startBaselines(ctx, stderr)
	if err != nil {
		return err
	}
	defer closeBaselines()
	for round := range b.rounds {
		fmt.Fprintf(b.progress, "round %d of %d\n", round+1, b.rounds)
		if err := b.round(ctx); err != nil {
			return err
		}
	}
	return b.write(stdout)
}

func parseTable(args []string, stderr io.Writer) (*bench, error) {
	b := &bench{samples: map[cell][]figures{}, raw: map[string]*rawCluster{}, progress: stderr}
	flags := flag.NewFlagSet("table", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&b.rounds, "rounds", 3, "how often everything is measured; the medians are reported")
	flags.DurationVar(&b.length, "duration", 4*time.Second, "how long each cell is measured in a round")
	flags.DurationVar(&b.warmup, "warmup", time.Second, "how long each runs uncounted before")
	connections := flags.String("connections", "1,64,256", "callers at a time")
	flags.StringVar(&b.jsonFile, "json", "", "file for the whole report as JSON")
	flags.StringVar(&b.dir, "dir", "", "folder for the logs of raw raft; must be on the disk the cluster uses")
	flags.BoolVar(&b.verdict, "verdict", true, "judge the aims")
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	for text := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("connections %q", *connections)
		}
		b.connections = append(b.connections, n)
	}
	if b.rounds < 1 || b.length <= 0 {
		return nil, errors.New("rounds and duration must be positive")
	}
	return b, nil
}

// startBaselines starts what Jeton is compared with. They idle while others are measured.
func (b *bench) startBaselines(ctx context.Context, stderr io.Writer) (func(), error) {
	size, err := b.nodes[0].answerBytes(ctx)
	if err != nil {
		return nil, err
	}
	if b.bare, err = startBare(ctx, stderr, size); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "raw-raft-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	stop := func() {
		b.bare.close()
		for _, raw := range b.raw {
			raw.close()
		}
		_ = os.RemoveAll(dir)
	}
	for name, tuned := range map[string]bool{"raft-defaults": false, "raft-tuned": true} {
		if b.raw[name], err = startRaw(ctx, stderr, filepath.Join(dir, name), tuned); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

// round measures every cell once. The leader must stay the same meanwhile:
// otherwise leader and follower would be mixed up.
func (b *bench) round(ctx context.Context) error {
	leader, follower, err := b.nodes.roles()
	if err != nil {
		return err
	}
	confirming, asking, err := b.byQuorum.roles()
	if err != nil {
		return err
	}
	for _, n := range b.connections {
		if err := b.baselines(ctx, n); err != nil {
			return err
		}
		for _, operation := range operations {
			if err := b.at(ctx, operation, n, place{"leader", leader}, place{"follower", follower}); err != nil {
				return err
			}
			if operation != "authenticate" {
				continue
			}
			if err := b.at(ctx, operation, n, place{"leader by quorum", confirming}, place{"follower by quorum", asking}); err != nil {
				return err
			}
		}
	}
	for _, c := range []struct {
		nodes  cluster
		leader target
	}{{b.nodes, leader}, {b.byQuorum, confirming}} {
		if after, _, err := c.nodes.roles(); err != nil || after.url != c.leader.url {
			return errors.Join(err, errors.New("the leader changed in the middle of a round"))
		}
	}
	return nil
}

func (b *bench) baselines(ctx context.Context, n int) error {
	l := b.load("bare", n)
	result, err := b.bare.measure(ctx, l)
	if err != nil {
		return err
	}
	b.note(cell{"bare", "bare", n}, result)
	for _, name := range []string{"raft-defaults", "raft-tuned"} {
		result, err := b.raw[name].measure(l)
		if err != nil {
			return err
		}
		b.note(cell{name, "commit", n}, result)
	}
	return nil
}

// place is a node and what the table calls it.
type place struct {
	name string
	node target
}

// at measures one operation at a leader and at a follower, one right after the other.
func (b *bench) at(ctx context.Context, operation string, n int, places ...place) error {
	l := b.load(operation, n)
	for _, at := range places {
		if operation == "invalidate" {
			l.tokens = b.tokensFor(at.name, n)
		}
		result, err := at.node.measure(ctx, l)
		if err != nil {
			return fmt.Errorf("%s at the %s, %d connections: %w", operation, at.name, n, err)
		}
		b.note(cell{at.name, operation, n}, result)
	}
	return nil
}

// tokensFor is how many tokens an invalidate run may need: half as many again as
// were just issued in the same time.
func (b *bench) tokensFor(target string, n int) int {
	issued := b.samples[cell{target, "issue", n}]
	rate := issued[len(issued)-1].PerSecond
	return int(1.5*rate*(b.warmup+b.length).Seconds()) + n
}

func (b *bench) load(operation string, n int) load {
	return load{operation: operation, connections: n, warmup: b.warmup, length: b.length}
}

func (b *bench) note(c cell, f figures) {
	if _, known := b.samples[c]; !known {
		b.order = append(b.order, c)
	}
	b.samples[c] = append(b.samples[c], f)
	fmt.Fprintf(b.progress, "  %-13s %-12s %4d  %9.0f/s  p50 %s ms  p99 %s ms  CPU %d us, load %d us\n",
		c.Target, c.Operation, c.Connections, f.PerSecond, millis(f.P50), millis(f.P99), f.ServerCPU.Microseconds(), f.LoadCPU.Microseconds())
}

func (b *bench) write(stdout io.Writer) error {
	r := report{
		Machine: machine{Cores: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH},
		Rounds:  b.rounds, Length: b.length.String(),
	}
	for _, c := range b.order {
		r.Cells = append(r.Cells, medians(c, b.samples[c]))
	}
	if b.verdict {
		r.Aims = judge(r.Cells)
	}
	if b.jsonFile != "" {
		if err := writeJSON(b.jsonFile, r); err != nil {
			return err
		}
	}
	_, err := io.WriteString(stdout, r.markdown(b.connections))
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func writeJSON(path string, r report) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return errors.Join(encode(file, r), file.Close())
}

// medians takes the median of each figure by itself.
func medians(c cell, rounds []figures) measured {
	return measured{
		cell:      c,
		PerSecond: median(rounds, func(f figures) float64 { return f.PerSecond }),
		P50:       median(rounds, func(f figures) time.Duration { return f.P50 }),
		P99:       median(rounds, func(f figures) time.Duration { return f.P99 }),
		ServerCPU: median(rounds, func(f figures) time.Duration { return f.ServerCPU }),
		LoadCPU:   median(rounds, func(f figures) time.Duration { return f.LoadCPU }),
		Rounds:    rounds,
	}
}

func median[N int | float64 | time.Duration](rounds []figures, of func(figures) N) N {
	values := make([]N, len(rounds))
	for i, f := range rounds {
		values[i] = of(f)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
