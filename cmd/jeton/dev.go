package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultDevNodes      = 3
	defaultHTTPPort      = 9200
	defaultTransportPort = 9300
	// startPatience is how long the nodes of a dev cluster may take to be ready.
	startPatience = 60 * time.Second
)

// devOptions are the flags of `jeton dev`.
type devOptions struct {
	nodes, httpPort, transportPort int
	data, settings, password       string
	keep, discard, quiet           bool
	format                         string
	changed                        func(flag string) bool // given on the command line
}

func newDevCommand(environ []string) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster of real processes on this machine",
		Long: strings.TrimSpace(`
Runs a cluster on loopback for development and tests: makes certificates and
a password, starts every node as a process of its own, waits until all are
ready and prints how to use them. Every printed command works as printed.

A node that dies stays dead, so that one can see what the others do; dev prints
the command that brings it back. ctrl-C (or SIGTERM) ends all nodes in order.
When dev itself is killed, its nodes end too.

Without --data everything lies in a temporary folder and is discarded at the
end. With --data DIR it is kept, and the same command starts the same cluster
again. When the cluster is ready, and not before, dev writes for scripts:

  DIR/dev.env      JETON_URLS JETON_CACERT JETON_USER JETON_PASSWORD JETON_PIDS
                   JETON_NODES; shell assignments, lists with commas
  DIR/nodes.json   name, url, pid, data, log and restart command of each node

Both are kept current when a node is restarted, and removed at the end. Programs
that a script starts see the variables when they are exported:

  set -a; . DIR/dev.env; set +a

With --format json every event is one line on standard output: starting, ready
(with nodes, password and commands), warning, node_ended, node_ready, node_alive,
stopping, stopped. With --quiet only what goes wrong is printed: text on standard
error, or with --format json the events warning and node_ended.
Variables named JETON_... do not reach the nodes; --settings does.`),
		Example: strings.Trim(`
  jeton dev
  jeton dev --nodes 5 --http-port 9400 --transport-port 9500
  jeton dev --data ./cluster                    kept; run it again to come back
  jeton dev --settings settings.yml             any server setting, on every node
  jeton dev --http-port 0 --transport-port 0    any free ports, for tests
  jeton dev restart node-2 --data ./cluster     from another terminal`, "\n"),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.changed = cmd.Flags().Changed
			if err := o.check(); err != nil {
				return err
			}
			screen := newDevScreen(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.format, o.quiet, environ)
			return o.run(cmd.Context(), environ, screen)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&o.nodes, "nodes", defaultDevNodes, fmt.Sprintf("number of nodes, 1 to %d", maxDevNodes))
	flags.IntVar(&o.httpPort, "http-port", defaultHTTPPort, "HTTPS port of the first node, the others follow; 0: any free ports")
	flags.IntVar(&o.transportPort, "transport-port", defaultTransportPort, "port between the nodes of the first node, the others follow; 0: any free ports")
	flags.StringVar(&o.data, "data", "", "folder of the cluster, kept at the end (default: a temporary folder)")
	flags.BoolVar(&o.keep, "keep", false, "keep the temporary folder at the end")
	flags.BoolVar(&o.discard, "discard", false, "discard the folder given by --data at the end")
	flags.StringVar(&o.settings, "settings", "", "YAML file of server settings for every node")
	flags.StringVar(&o.password, "password", "", "password of elastic (default: generated for each cluster)")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "print only what goes wrong; with --format json only those events")
	flags.StringVar(&o.format, "format", formatText, "output: text, or json (one event a line)")
	cmd.AddCommand(newDevRestartCommand())
	return cmd
}

func newDevRestartCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "restart NODE --data DIR",
		Short: "Start a node of a running dev cluster again",
		Long: strings.TrimSpace(`
Asks the jeton dev that runs on DIR to start a node again, and returns when the
node is ready. A node that still runs is ended first, as by SIGTERM. While half
of the nodes or more are dead none can be ready; then it returns when the
process serves, so that the next can be restarted.`),
		Example: "  jeton dev restart node-2 --data ./cluster",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf("want the name of one node, such as %s", nodeName(0))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if data == "" {
				return usageErrorf("--data is required: the folder of the running cluster")
			}
			path, err := filepath.Abs(data)
			if err != nil {
				return fmt.Errorf("--data: %w", err)
			}
			reply, err := askControl(cmd.Context(), devDir(path), controlRequest{Restart: args[0]})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), startedText(args[0], reply.PID, reply.Ready))
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder of the running cluster (required)")
	return cmd
}

// check refuses what no folder or file can make right.
func (o *devOptions) check() error {
	if err := outputFormat(o.format); err != nil {
		return err
	}
	switch {
	case o.keep && o.discard:
		return usageErrorf("--keep and --discard contradict each other")
	case o.discard && o.data == "":
		return usageErrorf("--discard is for --data; a temporary folder is discarded anyway")
	case o.changed("password") && o.password == "":
		return usageErrorf("--password is empty")
	}
	_, err := planNodes(o.nodes, o.httpPort, o.transportPort)
	return err
}

// run runs a dev cluster until it is told to end.
func (o *devOptions) run(ctx context.Context, environ []string, screen *devScreen) (err error) {
	var further []os.Signal
	if !signal.Ignored(syscall.SIGHUP) { // not under nohup: the terminal may go
		further = append(further, syscall.SIGHUP)
	}
	ctx, hurry, release := interruptible(ctx, further...)
	defer release()
	dir, err := o.openDir()
	if err != nil {
		return err
	}
	discard := o.data == "" && !o.keep
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() {
		if discard {
			err = errors.Join(err, dir.discard())
		}
		err = errors.Join(err, lock.Close())
	}()
	cluster, err := o.prepare(ctx, dir, environ, screen)
	if err != nil {
		return err
	}
	formed, err := cluster.serve(ctx, !discard && !o.discard, hurry)
	// A cluster that was kept is not thrown away because it did not start today.
	discard = discard || o.discard && formed
	if err == nil && !formed {
		err = &exitError{code: exitInterrupted}
	}
	return err
}

// openDir returns the absolute path of the cluster's folder and makes it.
func (o *devOptions) openDir() (devDir, error) {
	if o.data == "" {
		path, err := os.MkdirTemp("", "jeton-dev-")
		return devDir(path), err
	}
	path, err := filepath.Abs(o.data)
	if err != nil {
		return "", fmt.Errorf("--data: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("--data: %w", err)
	}
	return devDir(path), nil
}
