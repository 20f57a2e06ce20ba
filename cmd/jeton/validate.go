package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newValidateCommand(environ []string) *cobra.Command {
	var source settingsSource
	cmd := &cobra.Command{
		Use:   "validate --config FILE",
		Short: "Check the settings of a node without starting it",
		Long: strings.TrimSpace(`
Reads settings as jeton server does, environment variables included, and
prints all problems at once. Exit code 0: the node would accept them (warnings
may be printed); 1: it would not.`),
		Example: "  jeton validate --config /etc/jeton/jeton.yml\n  jeton validate --config jeton.yml -E node.name=a",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if source.file == "" {
				return usageErrorf("--config is required")
			}
			loaded, err := source.load(environ)
			if err != nil {
				return err
			}
			for _, warning := range loaded.Warnings() {
				fmt.Fprintf(cmd.ErrOrStderr(), "jeton: warning: %s\n", warning)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is valid\n", source.file)
			return nil
		},
	}
	source.addFlags(cmd)
	return cmd
}
