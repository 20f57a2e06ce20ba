package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"jeton/cluster"
	"jeton/node/certs"
	"jeton/node/config"
)

// exitNoLeader is how list-peers says that the cluster stands still.
const exitNoLeader = 2

func newOperatorCommand(environ []string) *cobra.Command {
	group := func(use, short, long string, commands ...*cobra.Command) *cobra.Command {
		cmd := &cobra.Command{
			Use: use, Short: short, Long: long, Args: unknownCommand, SuggestionsMinimumDistance: 2,
			RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		}
		cmd.AddCommand(commands...)
		return cmd
	}
	raft := group("raft", "Look at and change the membership of a cluster",
		"Looks at and changes who belongs to the cluster, and who leads it.",
		newListPeersCommand(environ), newRemovePeerCommand(environ), newTransferLeaderCommand(environ))
	autopilot := group("autopilot", "See how the leader looks after the members",
		"Shows how the leader looks after the members.", newAutopilotStateCommand(environ))
	return group("operator", "Tools for the operator of a cluster", "Tools for the operator of a cluster.", raft, autopilot)
}

// whomToAsk is what the operator's commands need to talk to a cluster.
type whomToAsk struct {
	settingsSource
	addresses []string
}

func (w *whomToAsk) addFlags(cmd *cobra.Command) {
	w.settingsSource.addFlags(cmd)
	cmd.Flags().StringArrayVar(&w.addresses, "address", nil,
		"ask the node at `HOST:PORT` (its transport port), not those that the settings name; may be repeated")
}

// open returns a connection to the cluster and the addresses to begin with: those
// given, or the node's own and its seed hosts.
func (w *whomToAsk) open(environ []string) (*peerClient, *config.Config, error) {
	if w.file == "" {
		return nil, nil, usageErrorf("--config is required: the settings of a node on this machine, whose certificate opens the port between the nodes")
	}
	loaded, err := w.load(environ)
	if err != nil {
		return nil, nil, err
	}
	first := append([]string{loaded.Transport.PublishAddress()}, loaded.Discovery.SeedHosts...)
	if len(w.addresses) > 0 {
		first = nil
	}
	for _, address := range w.addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, nil, usageErrorf("--address %s: want HOST:PORT", address)
		}
		first = append(first, address)
	}
	client, err := newPeerClient(loaded)
	if err != nil {
		return nil, nil, err
	}
	client.first = first
	return client, loaded, nil
}

func newPeerClient(loaded *config.Config) (*peerClient, error) {
	self := certs.Identity{Cluster: loaded.ClusterName, Node: loaded.NodeName}
	tls, err := certs.NewTransport(loaded.Transport.TLS.Files, self, time.Now)
	if err != nil {
		return nil, fmt.Errorf("transport certificate: %w", err)
	}
	client, err := cluster.NewClient(cluster.ClientConfig{ClusterName: loaded.ClusterName, TLS: tls.TransportClient, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("prepare connections to the nodes: %w", err)
	}
	return &peerClient{
		exchange: exchangeWith(client.Exchange), propose: proposeWith(client.Propose),
		status: statusWith(client.Status), leave: leaveWith(client.Leave), transfer: transferWith(client.Transfer), close: client.Close,
	}, nil
}

func newListPeersCommand(environ []string) *cobra.Command {
	var whom whomToAsk
	var format string
	cmd := &cobra.Command{
		Use:   "list-peers --config FILE",
		Short: "List the members of the cluster and how they are",
		Long: strings.TrimSpace(`
Asks the nodes that the settings name, and every member these tell of, and prints
the members as the leader (or else who knows most) has them: name, ID, address,
state, whether it votes, term, index of the newest entry in its state, term and index
of the newest entry in its log, and whether it answers. A node that answers without
being a member is listed too. Applied may stay below Last index where nothing is missing:
entries of Raft's own (a new leader's first, changes of membership) never reach the state.

Where most of the voters are lost for good, the survivor to recover from is the one
with the highest last term, and among those the highest last index.

FILE is the configuration of any node on this machine: its transport certificate
opens the port between the nodes.

Exit code 0: a leader is known; 2: none is, so nothing can be written or confirmed;
1: no node answers at all.`),
		Example: strings.Trim(`
  jeton operator raft list-peers --config /etc/jeton/jeton.yml
  jeton operator raft list-peers --config jeton.yml --address 10.0.0.2:9300
  jeton operator raft list-peers --config jeton.yml --format json`, "\n"),
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
			seen, err := client.look(cmd.Context())
			if err != nil {
				return err
			}
			if err := seen.print(cmd.OutOrStdout(), format); err != nil {
				return err
			}
			if seen.Leader == "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "jeton: %v\n", seen.noLeader(""))
				return &exitError{code: exitNoLeader}
			}
			return nil
		},
	}
	whom.addFlags(cmd)
	cmd.Flags().StringVar(&format, "format", formatText, "output: text or json")
	return cmd
}

// print prints the members as a table, or as one JSON object.
func (v *clusterView) print(out io.Writer, format string) error {
	if format == formatJSON {
		return json.NewEncoder(out).Encode(v) //nolint:wrapcheck // says what could not be written
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Node\tID\tAddress\tState\tVoter\tTerm\tApplied\tLast term\tLast index\tReachable")
	for _, p := range v.Peers {
		row := []string{orDash(p.Node), p.ID, p.Address, orDash(p.State), strconv.FormatBool(p.Voter)}
		for _, number := range []uint64{p.Term, p.Applied, p.LastTerm, p.LastIndex} {
			if p.Reachable {
				row = append(row, strconv.FormatUint(number, 10))
			} else {
				row = append(row, "-")
			}
		}
		fmt.Fprintln(table, strings.Join(append(row, strconv.FormatBool(p.Reachable)), "\t"))
	}
	return table.Flush() //nolint:wrapcheck // says what could not be written
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func newRemovePeerCommand(environ []string) *cobra.Command {
	var whom whomToAsk
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove-peer MEMBER --config FILE",
		Short: "Remove a member that is gone for good",
		Long: strings.TrimSpace(`
Asks the leader to remove a member, given by its ID, its name or its address as
list-peers shows them; one that has not answered for long may have no name. It
asks before it acts, unless --yes is given.

A removed node takes no part any more; stop it if it still runs. To join again
it must be emptied: stop it, delete its path.data and start it; it is then another
member. A node that only moves, or restarts, must not be removed. Remove
a machine that was lost before its replacement is added: until then it counts as a
member that has failed. The last voter cannot be removed.

To repeat it is safe: an ID or an address that no member has is that of one who is no
member any more. A name that nobody has is an error.

Exit code 0: it is no member any more; 1: it was not removed, or that is not known;
2: the command line is wrong, or there is no terminal to ask at and no --yes, and nothing
was changed.`),
		Example: strings.Trim(`
  jeton operator raft remove-peer c --config /etc/jeton/jeton.yml
  jeton operator raft remove-peer 0f2ae3c4-3c0e-4a8b-9c3f-5b7e0d7f6a10 --config jeton.yml --yes`, "\n"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageErrorf("want the ID, the name or the address of one member, as list-peers shows it")
			}
			return namesOne(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, loaded, err := whom.open(environ)
			if err != nil {
				return err
			}
			defer func() { _ = client.close() }() // nothing is under way
			confirm := func(question string) error { return confirmed(cmd, yes, question) }
			return client.remove(cmd.Context(), loaded.ClusterName, args[0], cmd.OutOrStdout(), confirm)
		},
	}
	whom.addFlags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// namesOne refuses an empty name, which a variable has that is not set: members that do
// not answer have no name either.
func namesOne(args []string) error {
	if slices.Contains(args, "") {
		return usageErrorf("the member is empty: want its ID, name or address, as list-peers shows it (is a variable not set?)")
	}
	return nil
}

// confirmed asks a person at a terminal; nobody else can be asked.
func confirmed(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(cmd.InOrStdin()) {
		return &exitError{exitUsage, errors.New("nothing was changed: there is no terminal to answer the question at; add --yes"), true}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // its end is a no
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
		return errors.New("nothing was changed")
	}
	return nil
}

// remove removes the member that target means.
func (c *peerClient) remove(ctx context.Context, clusterName, target string, out io.Writer, confirm func(question string) error) error {
	seen, err := c.look(ctx)
	if err != nil {
		return err
	}
	victim, err := seen.find(target)
	if errors.Is(err, errNoMember) && seen.Leader != "" && notAName(target) {
		fmt.Fprintf(out, "%s is no member of the cluster %q (any more).\n", target, clusterName)
		return nil
	}
	if err != nil {
		return err
	}
	if seen.Leader == "" {
		return seen.noLeader("remove a member")
	}
	if voters, _ := seen.voters(victim.ID); voters == 0 {
		return errors.New("not removed: it is the only voter")
	}
	fmt.Fprintf(out, "%s is a member of the cluster %q.\n%s", victim, clusterName, seen.consequences(victim))
	if err := confirm("Remove " + victim.name() + "?"); err != nil {
		return err
	}
	if err := c.leaveThrough(ctx, seen.leaderAddress(), victim.ID); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is no member any more.\n", victim.name())
	return nil
}
