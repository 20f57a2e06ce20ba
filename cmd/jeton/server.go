package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"jeton/node"
	"jeton/node/config"
)

// flagLife is how jeton dev ties the life of its nodes to its own.
const flagLife = "life-fd"

func newServerCommand(environ []string) *cobra.Command {
	var source settingsSource
	var life int
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one node",
		Long: strings.TrimSpace(`
Runs one node of a cluster until it is told to end. Settings come from one YAML
file, then from environment variables (cluster.name is JETON_CLUSTER_NAME),
then from -E; the later wins. They keep Elasticsearch's names; all of them:
jeton help settings.

Signals: SIGTERM and SIGINT end the node without losing a request: it stops
being ready, serves on for shutdown.delay, hands leadership over, finishes what
it serves and exits with code 0. It stays a member of the cluster. A second one
ends it at once. SIGHUP reads changed certificates (they are also noticed).

The first start of a cluster without bootstrap.password makes a password for
elastic: it is printed if standard output is a terminal, and else written to
path.data/elastic.password, which is to be deleted once it is known.

Logs go to standard error, or to a file in path.logs. When something is wrong
the process ends with a message and exit code 1. To start it again does no harm,
and helps unless the message asks for something else.`),
		Example: strings.Trim(`
  jeton server --config /etc/jeton/jeton.yml
  jeton server --config jeton.yml -E node.name=a -E http.port=9201
  JETON_LOG_LEVEL=debug jeton server --config jeton.yml`, "\n"),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if life > 0 {
				exitWithParent(life)
			}
			return runServer(cmd.Context(), source, environ, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	source.addFlags(cmd)
	cmd.Flags().IntVar(&life, flagLife, 0, "end at once when this descriptor is closed at its other end")
	_ = cmd.Flags().MarkHidden(flagLife) // it exists: the line above
	return cmd
}

// settingsSource is where a command's settings come from.
type settingsSource struct {
	file      string
	overrides []string // setting=value
}

func (s *settingsSource) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.file, "config", "c", "", "settings file (YAML)")
	cmd.Flags().StringArrayVarP(&s.overrides, "set", "E", nil, "one setting, as `SETTING=VALUE`; may be repeated")
	_ = cmd.MarkFlagFilename("config", "yml", "yaml") // it exists: see above
	_ = cmd.RegisterFlagCompletionFunc("set", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, setting := range config.Settings() {
			names = append(names, setting.Name+"=\t"+setting.Doc)
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// load returns a valid configuration, or all of its problems.
func (s *settingsSource) load(environ []string) (*config.Config, error) {
	overrides, err := s.given()
	if err != nil {
		return nil, err
	}
	loaded, err := config.Load(s.file, environ, overrides)
	switch {
	case err == nil:
		return loaded, nil
	case loaded == nil:
		return nil, unreadable(s.file, err)
	default:
		return nil, invalid(s.file, err)
	}
}

// given returns what the command line sets, by setting.
func (s *settingsSource) given() (map[string]string, error) {
	overrides := map[string]string{}
	for _, override := range s.overrides {
		name, value, ok := strings.Cut(override, "=")
		if !ok || name == "" {
			return nil, usageErrorf("-E %s: want SETTING=VALUE", override)
		}
		overrides[name] = value
	}
	return overrides, nil
}

// heapFloor is the size of an allocation that is never touched, and so takes no
// memory, but counts for the pace of the collector: with a small state and many
// requests it would otherwise run a hundred times a second. Measured at 64
// connections: a tenth less processor time for a request, a quarter off the p99.
const heapFloor = 64 << 20

func runServer(ctx context.Context, source settingsSource, environ []string, stdout, stderr io.Writer) (err error) {
	ctx, hurry, release := interruptible(ctx)
	defer release()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	loaded, err := source.load(environ)
	if err != nil {
		return err
	}
	logger, closeLog, err := newLogger(ctx, loaded, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	version := readBuildInfo().Version
	logger.Info("starting", "version", version, "cluster", loaded.ClusterName, "node", loaded.NodeName)
	for _, warning := range loaded.Warnings() {
		logger.Warn(warning)
	}
	if !isTerminal(stdout) {
		stdout = nil // a generated password is for the eyes of who starts the first node, not for a log
	}
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	member, err := unlessHurried(hurry, func() (*node.Node, error) {
		return node.Open(ctx, node.Options{Config: loaded, Logger: logger, Stdout: stdout, Version: version})
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		logger.Info("ended while it was starting")
		return nil
	}
	if err != nil {
		return fmt.Errorf("start node %s: %w", loaded.NodeName, err)
	}
	systemd := notifier(environ, logger)
	systemd(ctx, "READY=1")
	defer systemd(context.WithoutCancel(ctx), "STOPPING=1")
	if err := serveMember(ctx, member, hangups, hurry, logger); err != nil {
		// The log and standard error may be files on the disk that hangs, or a pipe that
		// nobody reads.
		time.AfterFunc(lastWords, func() { os.Exit(exitFailed) })
		return err
	}
	logger.Info("ended")
	return nil
}

// unlessHurried opens what takes long: a state is read, others are asked. It does not wait for
// that once hurry is closed; the process ends then, at any moment without harm.
func unlessHurried[M any](hurry <-chan struct{}, open func() (M, error)) (member M, err error) {
	opened := make(chan struct{})
	var made M
	var problem error
	go func() {
		defer close(opened)
		made, problem = open()
	}()
	select {
	case <-opened:
		return made, problem
	case <-hurry:
		return member, &exitError{code: exitInterrupted}
	}
}

// lastWords is how long a process that ends for a reason may take to tell it.
const lastWords = 2 * time.Second

// member is what the server command does with a running node.
type member interface {
	Wait() error
	Shutdown(ctx context.Context) error
	Abandon()
	ReloadCertificates() error
}

// serveMember returns when the member has ended: by itself, which is an error;
// gracefully, after ctx ended; or at once, when hurry was closed.
func serveMember(ctx context.Context, m member, hangups <-chan os.Signal, hurry <-chan struct{}, logger hclog.Logger) error {
	ended := make(chan error, 1)
	go func() { ended <- m.Wait() }()
	for {
		select {
		case err := <-ended:
			// Crash-only: no store is closed, since that would wait for what has failed, while
			// a leader with a hanging disk goes on leading. But the kernel keeps a process,
			// with its ports open, as long as one of its writes hangs.
			m.Abandon()
			return fmt.Errorf("the node ended: %w", err)
		case <-hangups:
			if err := m.ReloadCertificates(); err != nil {
				logger.Error("certificates not reloaded; the old ones stay in use", "error", err)
			}
		case <-ctx.Done():
			logger.Info("ending; a second signal ends the node at once")
			done := make(chan error, 1)
			go func() { done <- m.Shutdown(context.WithoutCancel(ctx)) }()
			select {
			case err := <-done:
				return err
			case <-hurry:
				return &exitError{code: exitInterrupted}
			}
		}
	}
}

// notifier tells systemd how the service is (sd_notify(3)), if systemd asked.
func notifier(environ []string, logger hclog.Logger) func(ctx context.Context, state string) {
	address := variableOf(environ, "NOTIFY_SOCKET")
	return func(ctx context.Context, state string) {
		if address == "" {
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unixgram", address)
		if err == nil {
			_, err = io.WriteString(conn, state)
			err = errors.Join(err, conn.Close())
		}
		if err != nil {
			logger.Warn("systemd not notified", "error", err)
		}
	}
}
