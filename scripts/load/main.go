package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

// childEnv marks a process that this program started itself.
const childEnv = "JETON_LOAD_CHILD"

const usage = `Measures Jeton and what the machine allows. scripts/bench.sh runs the whole table.

  load issue|password|authenticate|refresh|invalidate   one operation at one node
  load bare                                             a bare net/http handler over TLS
  load raw-raft                                         hashicorp/raft without HTTP
  load table                                            everything in one run, with verdicts

Run "load MODE -h" for the flags. A cluster is named by the environment, as "jeton dev"
writes it to dev.env: JETON_NODES, JETON_CACERT, JETON_USER, JETON_PASSWORD.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		_, err := io.WriteString(stderr, usage)
		return errors.Join(err, flag.ErrHelp)
	}
	mode, args := args[0], args[1:]
	switch {
	case mode == "bare-server" || mode == "raft-node":
		return runChild(ctx, mode, args, stdin, stdout, stderr)
	case mode == "table":
		return runTable(ctx, args, stdout, stderr)
	case mode == "bare" || mode == "raw-raft" || isOperation(mode):
		return runOne(ctx, mode, args, stdout, stderr)
	default:
		_, err := io.WriteString(stderr, usage)
		return errors.Join(err, fmt.Errorf("no mode %q", mode))
	}
}

func runChild(ctx context.Context, mode string, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if mode == "raft-node" {
		node, err := parseRawNode(args, stderr)
		if err != nil {
			return err
		}
		return node.run(stdin, stdout)
	}
	flags := flag.NewFlagSet(mode, flag.ContinueOnError)
	flags.SetOutput(stderr)
	body := flags.Int("body", 0, "bytes of the answer's body")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", mode, err)
	}
	return runBareServer(ctx, *body, stdin, stdout)
}

// one is a single measurement as the flags describe it.
type one struct {
	load
	body   int
	tuned  bool
	dir    string
	node   string
	format string
}

func parseOne(mode string, args []string, stderr io.Writer) (one, error) {
	o := one{load: load{operation: mode}}
	flags := flag.NewFlagSet(mode, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.connections, "connections", 64, "callers at a time, each over a connection of its own")
	flags.DurationVar(&o.length, "duration", 5*time.Second, "how long to measure")
	flags.DurationVar(&o.warmup, "warmup", time.Second, "how long to run uncounted before")
	flags.StringVar(&o.format, "format", "table", "table or json")
	switch mode {
	case "bare":
		flags.IntVar(&o.body, "body", defaultBodyBytes, "bytes of the answer's body")
	case "raw-raft":
		flags.BoolVar(&o.tuned, "tuned", false, "Jeton's raft settings instead of the library's defaults")
		flags.StringVar(&o.dir, "dir", "", "folder for the logs (default: a temporary one)")
	default:
		flags.StringVar(&o.node, "node", "leader", "leader, follower, or the URL of a node")
		flags.IntVar(&o.tokens, "tokens", 100_000, "invalidate: how many tokens to issue beforehand")
	}
	if err := flags.Parse(args); err != nil {
		return one{}, fmt.Errorf("%s: %w", mode, err)
	}
	if o.connections < 1 || o.length <= 0 || o.warmup < 0 || (o.format != "table" && o.format != "json") {
		return one{}, errors.New("connections and duration must be positive, format table or json")
	}
	return o, nil
}

func runOne(ctx context.Context, mode string, args []string, stdout, stderr io.Writer) error {
	o, err := parseOne(mode, args, stderr)
	if err != nil {
		return err
	}
	var result figures
	switch mode {
	case "bare":
		result, err = measureBare(ctx, o, stderr)
	case "raw-raft":
		result, err = measureRaw(ctx, o, stderr)
	default:
		result, err = measureNode(ctx, o)
	}
	if err != nil {
		return err
	}
	if o.format == "json" {
		return encode(stdout, result)
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "operation\tcallers\tper second\tp50 ms\tp99 ms\tmax ms\tcounted\tserver CPU us\tload CPU us\n")
	fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%s\t%d\t%d\t%d\n", mode, o.connections, result.PerSecond,
		millis(result.P50), millis(result.P99), millis(result.Max), result.Operations,
		result.ServerCPU.Microseconds(), result.LoadCPU.Microseconds())
	return flush(table)
}

func measureBare(ctx context.Context, o one, stderr io.Writer) (figures, error) {
	server, err := startBare(ctx, stderr, o.body)
	if err != nil {
		return figures{}, err
	}
	defer server.close()
	return server.measure(ctx, o.load)
}

func measureRaw(ctx context.Context, o one, stderr io.Writer) (figures, error) {
	dir, err := os.MkdirTemp(o.dir, "raw-raft-")
	if err != nil {
		return figures{}, fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := startRaw(ctx, stderr, dir, o.tuned)
	if err != nil {
		return figures{}, err
	}
	defer cluster.close()
	return cluster.measure(o.load)
}

func measureNode(ctx context.Context, o one) (figures, error) {
	nodes, err := clusterFromEnvironment(theCluster)
	if err != nil {
		return figures{}, err
	}
	t, err := nodes.pick(o.node)
	if err != nil {
		return figures{}, err
	}
	return t.measure(ctx, o.load)
}

func encode(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func flush(w *tabwriter.Writer) error {
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.3g", float64(d)/float64(time.Millisecond))
}
