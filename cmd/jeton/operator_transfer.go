package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/cluster"
)

// transferPatience is how long a leader may take to hand over.
const transferPatience = 15 * time.Second

func newTransferLeaderCommand(environ []string) *cobra.Command {
	var whom whomToAsk
	cmd := &cobra.Command{
		Use:   "transfer-leader [MEMBER] --config FILE",
		Short: "Hand the leadership to another member",
		Long: strings.TrimSpace(`
Asks the leader to hand over to a member, given by its ID, its name or its address as
list-peers shows them, or to the voter whose log is longest if none is given. It waits
until the new leader is known and says who it is. Clients notice latency at most.

A node that is stopped with SIGTERM hands over by itself: this is for moving the
leadership without stopping anything, say off a slow machine.

Exit code 0: the member leads, or led already; 1: it does not, or that is not known.`),
		Example: strings.Trim(`
  jeton operator raft transfer-leader --config /etc/jeton/jeton.yml
  jeton operator raft transfer-leader b --config /etc/jeton/jeton.yml`, "\n"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("want the ID, the name or the address of one member, as list-peers shows it, or nothing")
			}
			return namesOne(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := whom.open(environ)
			if err != nil {
				return err
			}
			defer func() { _ = client.close() }() // nothing is under way
			return client.handOver(cmd.Context(), strings.Join(args, ""), cmd.OutOrStdout())
		},
	}
	whom.addFlags(cmd)
	return cmd
}

// handOver makes the member that target means the leader; any voter if it is empty.
func (c *peerClient) handOver(ctx context.Context, target string, out io.Writer) error {
	seen, err := c.look(ctx)
	if err != nil {
		return err
	}
	var successor peerView
	if target != "" {
		if successor, err = seen.find(target); err != nil {
			return err
		}
	}
	switch {
	case seen.Leader == "":
		return seen.noLeader("hand over")
	case successor.ID == seen.Leader:
		fmt.Fprintf(out, "%s leads already.\n", successor.name())
		return nil
	case target != "" && !successor.Voter:
		return fmt.Errorf("%s has no vote, so it cannot lead", successor)
	case target != "" && !successor.Reachable:
		return fmt.Errorf("%s does not answer, so it cannot take over", successor.name())
	}
	if voters, _ := seen.voters(seen.Leader); voters == 0 {
		return errors.New("not handed over: there is no other voter")
	}
	leader, err := c.transferThrough(ctx, seen, successor.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s leads now, after %s.\n", seen.nameOf(leader), seen.nameOf(seen.Leader))
	return nil
}

// transferThrough asks the leader to hand over to a member, and returns who leads.
func (c *peerClient) transferThrough(ctx context.Context, seen *clusterView, id string) (leader string, err error) {
	asked, cancel := context.WithTimeout(ctx, transferPatience)
	defer cancel()
	err = throughLeader(seen.leaderAddress(), "hand over", func(address string) (err error) {
		leader, err = c.transfer(asked, address, id)
		return err
	})
	if err == nil {
		return leader, nil
	}
	if errors.Is(err, cluster.ErrNotProposed) || errors.Is(err, errNobodyLeads) {
		return "", fmt.Errorf("not handed over: %w", err)
	}
	// The answer may have been lost with the leadership.
	now, lookErr := c.look(ctx)
	if lookErr == nil && now.Leader != "" && now.Leader != seen.Leader && (id == "" || now.Leader == id) {
		return now.Leader, nil
	}
	return "", fmt.Errorf("whether it was handed over is not known; list-peers tells: %w", err)
}

// nameOf is what a person calls the node with that ID.
func (v *clusterView) nameOf(id string) string {
	for _, peer := range v.Peers {
		if peer.ID == id {
			return peer.name()
		}
	}
	return id
}
