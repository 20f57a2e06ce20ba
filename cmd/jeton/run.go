package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes. A script can tell "it failed" from "I called it wrongly".
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as a shell reports it
)

// exitError is an error that asks for an exit code of its own. With a nil
// cause nothing is printed: whoever made it has said what there was to say.
type exitError struct {
	code  int
	cause error
	whole bool // the cause says what to do: the way to help would add nothing
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// usageErrorf says that the command line is wrong, not the world.
func usageErrorf(format string, args ...any) error {
	return &exitError{code: exitUsage, cause: fmt.Errorf(format, args...)}
}

// run is the whole program but for the exit: it parses args, runs the command,
// prints its error once and returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand(environ) //nolint:contextcheck // commands get it from cobra
	root.SetArgs(args[1:])
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code, whole := exitFailed, false
	if exit, ok := errors.AsType[*exitError](err); ok {
		code, whole = exit.code, exit.whole
		if exit.cause == nil {
			return code
		}
	}
	fmt.Fprintf(stderr, "jeton: %v\n", err)
	if command.Name() == helpCommand {
		command = command.Root()
	}
	if code == exitUsage && !whole {
		fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", command.CommandPath())
	}
	return code
}

func newRootCommand(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "jeton",
		Short: "A clustered token service that speaks Elasticsearch's token API",
		Long: strings.TrimSpace(`
Jeton is a clustered token service. It issues access tokens and single-use
refresh tokens, says on every node whether a token is valid and whose it is,
and invalidates tokens everywhere at once. Its HTTP API is Elasticsearch's
token API; its state is replicated with Raft; nothing else has to run.

The first five minutes:

  jeton dev                     three nodes on this machine, over TLS; prints
                                the password and commands to paste
  (paste what it prints)        issue, authenticate, refresh, invalidate;
                                kill a node and bring it back
  ctrl-C                        ends the cluster and discards its data

A cluster of your own, on machines a, b and c:

  jeton certs --out certs --node a=a.example.org --node b=b.example.org --node c=c.example.org
  jeton validate --config jeton.yml       all problems of the settings at once
  jeton server --config jeton.yml         on each machine, with its own files
  jeton operator raft list-peers --config jeton.yml     who belongs to it, and how they are
  jeton snapshot save backup.jeton --config jeton.yml   its state in a file; restore brings it back`),
		Example: strings.Trim(`
  jeton dev --nodes 3 --data ./cluster
  jeton server --config /etc/jeton/jeton.yml
  jeton help dev`, "\n"),
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// run prints errors, and says once how to get help.
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(wrongFlag)
	root.SetUsageTemplate(topicsByHelp(root.UsageTemplate()))
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddCommand(
		newServerCommand(environ),
		newDevCommand(environ),
		newCertsCommand(),
		newOperatorCommand(environ),
		newSnapshotCommand(environ),
		newValidateCommand(environ),
		newVersionCommand(),
		newSettingsTopic(),
	)
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == helpCommand {
			cmd.Args = helpIsThere
		}
	}
	return root
}

const helpCommand = "help"

// helpIsThere refuses to help with what does not exist.
func helpIsThere(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil {
		return err //nolint:wrapcheck // says what is unknown
	}
	return unknownCommand(found, rest)
}

// wrongFlag says what is wrong with the flags, or that the command before them does
// not exist: then its flags are unknown, too.
func wrongFlag(cmd *cobra.Command, err error) error {
	if before := cmd.Flags().Args(); cmd.HasSubCommands() && len(before) > 0 {
		return unknownCommand(cmd, before)
	}
	return &exitError{code: exitUsage, cause: err}
}

// unknownCommand refuses arguments of the root command: they can only be a
// misspelled subcommand.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(" (did you mean %s?)", strings.Join(near, " or "))
	}
	return usageErrorf("unknown command %q%s", args[0], hint)
}

// noArguments refuses positional arguments as a usage error.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf("unexpected argument %q", args[0])
	}
	return nil
}

// outputFormat refuses everything but the formats that a command can print.
func outputFormat(value string) error {
	if value != formatText && value != formatJSON {
		return usageErrorf("unknown --format %q: want %s or %s", value, formatText, formatJSON)
	}
	return nil
}

const (
	formatText = "text"
	formatJSON = "json"
)
