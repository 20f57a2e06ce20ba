package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newFaultsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "List the faults that can be made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				rows := []map[string]string{}
				for _, f := range allFaults() {
					rows = append(rows, map[string]string{"name": f.name, "what": f.what, "needs": string(f.need)})
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, f := range allFaults() {
				what := f.what
				if f.need != needsNothing {
					what += "; needs " + string(f.need)
				}
				fmt.Fprintf(table, "%s\t%s\n", f.name, what)
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}
