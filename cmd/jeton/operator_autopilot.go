package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"jeton/cluster"
)

const (
	// judgementPatience is how long a new leader may take to know how its members are.
	judgementPatience = 5 * time.Second
	judgementInterval = 250 * time.Millisecond
)

// autopilotState is what `jeton operator autopilot state` shows.
type autopilotState struct {
	Healthy          bool              `json:"healthy"`           // all members are
	FailureTolerance int               `json:"failure_tolerance"` // how many voters may fail
	Level            uint64            `json:"level"`             // of the command set
	Leader           string            `json:"leader"`            // ID
	Voters           []string          `json:"voters"`            // IDs
	Servers          []autopilotServer `json:"servers"`
}

type autopilotServer struct {
	Name          string    `json:"name"` // empty: the leader has never heard it
	ID            string    `json:"id"`
	Address       string    `json:"address"`
	Status        string    `json:"status"` // leader, voter or non-voter
	Healthy       bool      `json:"healthy"`
	Dead          bool      `json:"dead"`
	StableSince   time.Time `json:"stable_since"`
	LastContactMS int64     `json:"last_contact_ms"` // below zero: never
	LastTerm      uint64    `json:"last_term"`
	LastIndex     uint64    `json:"last_index"`
}

func newAutopilotStateCommand(environ []string) *cobra.Command {
	var whom whomToAsk
	var format string
	cmd := &cobra.Command{
		Use:   "state --config FILE",
		Short: "Show how the members are, as the leader sees them",
		Long: strings.TrimSpace(`
Asks the leader how it sees the members: who is healthy (in contact and caught up) and
since when, who is dead, and how many voters may fail before the cluster stands still.
A new member gets its vote when it has been healthy for
autopilot.server_stabilization_time; a dead one is removed only if
autopilot.cleanup_dead_servers is set, and never below autopilot.min_quorum voters.

The command-set level is what of later releases the cluster uses already. It rises by
itself when every member runs a release that knows more, and it never falls: from then on
no earlier release can join or start.

Exit code 0: the leader has answered; 2: no leader is known; 1: no node answers.`),
		Example: strings.Trim(`
  jeton operator autopilot state --config /etc/jeton/jeton.yml
  jeton operator autopilot state --config jeton.yml --format json`, "\n"),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := outputFormat(format); err != nil {
				return err
			}
			client, _, err := whom.open(environ)
			if err != nil {
				return err
			}
			defer func() { _ = client.close() }() // nothing is under way
			state, err := client.autopilotState(cmd.Context())
			if errors.Is(err, errNobodyLeads) {
				fmt.Fprintf(cmd.ErrOrStderr(), "jeton: %v\n", err)
				return &exitError{code: exitNoLeader}
			}
			if err != nil {
				return err
			}
			return state.print(cmd.OutOrStdout(), format)
		},
	}
	whom.addFlags(cmd)
	cmd.Flags().StringVar(&format, "format", formatText, "output: text or json")
	return cmd
}

// autopilotState waits until a leader says how its members are.
func (c *peerClient) autopilotState(ctx context.Context) (*autopilotState, error) {
	ctx, cancel := context.WithTimeout(ctx, judgementPatience)
	defer cancel()
	for {
		seen, err := c.look(ctx)
		if err != nil {
			return nil, err
		}
		if seen.Leader == "" {
			return nil, seen.noLeader("")
		}
		if leader, answers := seen.answers[seen.Leader]; answers && leader.Judged {
			return judgementOf(leader), nil
		}
		select {
		case <-time.After(judgementInterval):
		case <-ctx.Done():
			return nil, errors.New("the leader has not looked at its members yet; try again in a moment")
		}
	}
}

func judgementOf(leader cluster.Status) *autopilotState {
	state := &autopilotState{Healthy: true, FailureTolerance: leader.FailureTolerance, Level: leader.ClusterLevel, Leader: string(leader.ServerID)}
	for _, m := range leader.Members {
		server := autopilotServer{
			Name: m.Name, ID: string(m.ID), Address: string(m.Address), Status: "non-voter", Healthy: m.Healthy, Dead: m.Dead,
			StableSince: m.StableSince, LastContactMS: m.LastContact, LastTerm: m.LastTerm, LastIndex: m.LastIndex,
		}
		if m.Voter {
			server.Status = "voter"
			state.Voters = append(state.Voters, server.ID)
		}
		if m.ID == leader.ServerID {
			server.Status = "leader"
		}
		state.Healthy = state.Healthy && m.Healthy
		state.Servers = append(state.Servers, server)
	}
	slices.Sort(state.Voters)
	slices.SortFunc(state.Servers, func(a, b autopilotServer) int {
		return cmp.Or(cmp.Compare(cmp.Or(a.Name, a.ID), cmp.Or(b.Name, b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return state
}

// print prints the state as text, or as one JSON object.
func (s *autopilotState) print(out io.Writer, format string) error {
	if format == formatJSON {
		return json.NewEncoder(out).Encode(s) //nolint:wrapcheck // says what could not be written
	}
	fmt.Fprintf(out, "Healthy: %t\nFailure tolerance: %d\nCommand-set level: %d\n\n", s.Healthy, s.FailureTolerance, s.Level)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Node\tID\tAddress\tStatus\tHealth\tSince\tLast contact\tLast term\tLast index")
	for _, server := range s.Servers {
		health, contact := "unhealthy", "never"
		switch {
		case server.Dead:
			health = "dead"
		case server.Healthy:
			health = "healthy"
		}
		if server.LastContactMS >= 0 {
			contact = (time.Duration(server.LastContactMS) * time.Millisecond).String()
		}
		fmt.Fprintln(table, strings.Join([]string{
			orDash(server.Name), server.ID, server.Address, server.Status, health, server.StableSince.UTC().Format(time.RFC3339), contact,
			strconv.FormatUint(server.LastTerm, 10), strconv.FormatUint(server.LastIndex, 10),
		}, "\t"))
	}
	return table.Flush() //nolint:wrapcheck // says what could not be written
}
