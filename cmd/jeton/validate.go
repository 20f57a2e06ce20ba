package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"jeton/node/config"
)

func newValidateCommand(environ []string) *cobra.Command {
	var source settingsSource
	cmd := &cobra.Command{
		Use:   "validate --config FILE",
		Short: "Check the settings and the files of a node without starting it",
		Long: strings.TrimSpace(`
Reads settings as jeton server does, environment variables included, then every
file that they name: certificates and keys (whose they are, who signed them, how
long they are valid, who may read them), the cluster key, the files of the file
realm, whether path.data and path.logs can be written, whether the hosts of this
node and of the others resolve, and whether it could listen at its own. It prints all problems at once, those of the file by line.
Nothing is changed, and a node that runs is not disturbed.

Run it as the user that jeton server runs as: permissions are checked for that user.

Exit code 0: the node would accept them (warnings may be printed); 1: it would not.`),
		Example: "  jeton validate --config /etc/jeton/jeton.yml\n  jeton validate --config jeton.yml -E node.name=a",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if source.file == "" {
				return usageErrorf("--config is required")
			}
			overrides, err := source.given()
			if err != nil {
				return err
			}
			loaded, err := config.Load(source.file, environ, overrides)
			if loaded == nil {
				return unreadable(source.file, err)
			}
			files := checkFiles(loaded)
			if err := errors.Join(append([]error{err}, files.problems...)...); err != nil {
				return invalid(source.file, err)
			}
			warnings := slices.Concat(loaded.Warnings(), files.warnings, unresolved(cmd.Context(), loaded, net.DefaultResolver.LookupHost),
				strange(cmd.Context(), loaded, listenBriefly))
			for _, warning := range warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "jeton: warning: %s\n", warning)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is valid\n", source.file)
			return nil
		},
	}
	source.addFlags(cmd)
	return cmd
}

// unreadable says why a configuration could not be read at all.
func unreadable(file string, err error) error {
	failed, ok := errors.AsType[*fs.PathError](err)
	switch {
	case !ok:
		return invalid(file, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--config %s: there is no such file. jeton certs prints one to paste; those of jeton dev are in its folder, NODE/jeton.yml", file)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("--config %s is a folder: name the file in it", file)
	default:
		return fmt.Errorf("--config: %w", failed)
	}
}

// invalid is the one error that lists what is wrong with a configuration.
func invalid(file string, problems error) error {
	return fmt.Errorf("%s is not valid:\n%w", cmp.Or(file, "the configuration"), problems)
}
