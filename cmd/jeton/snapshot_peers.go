package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"jeton/cluster"
	"jeton/fsm"
)

const (
	// partPatience is how long a node may take to hand out a part of its state, and to
	// confirm that it is up to date.
	partPatience = 30 * time.Second
	// proposePatience is how long a command of a restore is proposed again and again.
	// The last one takes as long as reading the state takes: seconds for a million pairs.
	proposePatience = 5 * time.Minute
	// attemptPatience is how long one attempt may take until the leader is looked for anew.
	attemptPatience = 15 * time.Second
	attemptPause    = 200 * time.Millisecond
)

// exchangeWith and proposeWith give the methods of [cluster.Client] plain text for the
// consensus library's types.
func exchangeWith[A ~string](ask func(context.Context, A, []byte) ([]byte, error)) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, address string, question []byte) ([]byte, error) {
		return ask(ctx, A(address), question)
	}
}

func proposeWith[A ~string, C any](propose func(context.Context, A, [][]byte) ([][]byte, C, error)) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, address string, command []byte) ([]byte, error) {
		outcomes, _, err := propose(ctx, A(address), [][]byte{command})
		if err != nil {
			return nil, err
		}
		return outcomes[0], nil
	}
}

// source returns the address of the node that is to be asked: the leader's if none is
// named.
func (c *peerClient) source(ctx context.Context, node string) (string, error) {
	if _, _, err := net.SplitHostPort(node); err == nil {
		return node, nil
	}
	seen, err := c.look(ctx)
	switch {
	case err != nil:
		return "", err
	case node == "" && seen.leaderAddress() == "":
		return "", fmt.Errorf("%w. What one node has can be saved with --node and --stale", seen.noLeader(""))
	case node == "":
		return seen.leaderAddress(), nil
	}
	known := make([]string, 0, len(seen.Peers))
	for _, peer := range seen.Peers {
		if peer.Reachable && (peer.Node == node || peer.ID == node) {
			return peer.Address, nil
		}
		known = append(known, peer.String())
	}
	return "", fmt.Errorf("no node that answers has the name or the ID %q; there are:\n  %s", node, strings.Join(known, "\n  "))
}

// questions returns a way to put questions to one node.
func (c *peerClient) questions(address string) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, question []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, partPatience)
		defer cancel()
		return c.exchange(ctx, address, question)
	}
}

// leaderStatus asks the leader how it is.
func (c *peerClient) leaderStatus(ctx context.Context) (string, cluster.Status, error) {
	seen, err := c.look(ctx)
	if err != nil {
		return "", cluster.Status{}, err
	}
	address := seen.leaderAddress()
	if address == "" {
		return "", cluster.Status{}, seen.noLeader("restore a snapshot")
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	status, err := c.status(ctx, address)
	return address, status, err
}

// proposals proposes commands to whoever leads.
type proposals struct {
	client *peerClient
	leader string // empty: to be found
}

// propose has a command applied. It tries again, with the same command, which is applied
// once, until it has an answer or it is certain that there will be none.
func (p *proposals) propose(ctx context.Context, command []byte) (outcome fsm.Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, proposePatience)
	defer cancel()
	for {
		var answer []byte
		if answer, err = p.attempt(ctx, command); err == nil {
			if err = outcome.Decode(answer); err != nil {
				return outcome, fmt.Errorf("read the leader's answer: %w", err)
			}
			return outcome, nil
		}
		if errors.Is(err, cluster.ErrRefused) {
			return outcome, err
		}
		p.leader = ""
		if hint, ok := errors.AsType[*cluster.NotLeaderError](err); ok {
			p.leader = string(hint.Leader)
		}
		timer := time.NewTimer(attemptPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return outcome, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

func (p *proposals) attempt(ctx context.Context, command []byte) ([]byte, error) {
	if p.leader == "" {
		address, _, err := p.client.leaderStatus(ctx)
		if err != nil {
			return nil, err
		}
		p.leader = address
	}
	ctx, cancel := context.WithTimeout(ctx, attemptPatience)
	defer cancel()
	return p.client.propose(ctx, p.leader, command)
}
