package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func recoveryScenario() scenario {
	return scenario{
		name: "recovery", what: "all nodes are killed, one goes on alone by peers.json, the others come back with their old data, which they must refuse, and then without",
		round: recoverFromOne,
	}
}

const (
	// recoveryTokens are issued, and as many ended, before and after.
	recoveryTokens = 4
	// trafficPause is between two tries of one writer; most of the time there is nobody to write to.
	trafficPause = 5 * time.Millisecond
	// checkedTokens of those that were acknowledged after a recovery are asked about in the end, at every node.
	checkedTokens = 50
)

// recoveryRound is one round.
type recoveryRound struct {
	*rounds
	keep     bool // the sessions of the survivor's state
	survivor *node
	lost     []*node

	before facts // of before everybody was killed
	after  facts // of the recovered cluster
}

func recoverFromOne(ctx context.Context, r *rounds) error {
	c := &recoveryRound{rounds: r, keep: r.done%2 == 1}
	place := r.journal.begin(&fault{name: "recovery", exits: true})
	defer r.journal.end(place)
	defer r.journal.tellEnds()
	if err := c.prepare(ctx); err != nil {
		return err
	}
	releases, err := c.killAll(ctx)
	if err != nil {
		return err
	}
	rival := c.lost[0]
	r.journal.describe(place, c.survivor.name, fmt.Sprintf("goes on, sessions kept: %t", c.keep))
	began := time.Now()
	if r.done%3 == 2 {
		if err := c.bothAtOnce(ctx, rival); err != nil {
			return err
		}
	}
	if err := c.survive(c.survivor); err != nil {
		return err
	}
	c.survivor.forgive()
	releases[c.survivor]()
	if err := c.alone(ctx); err != nil {
		return err
	}
	r.figure("writes are back, alone", time.Since(began))
	writing, stop := context.WithCancel(ctx)
	defer stop()
	written := c.cluster.keepIssuing(writing, trafficPause)
	if err := c.comeBack(ctx); err != nil {
		return err
	}
	for _, n := range c.lost {
		n.disk.Wipe()
		n.forgive()
		releases[n]()
	}
	if err := c.whole(ctx); err != nil {
		return err
	}
	stop()
	acknowledged := written()
	c.after.live = append(c.after.live, acknowledged[max(0, len(acknowledged)-checkedTokens):]...)
	r.mu.Lock()
	r.counts["tokens acknowledged after the recovery"] += len(acknowledged)
	r.mu.Unlock()
	for _, n := range r.cluster.nodes {
		if err := c.judge(ctx, n, true); err != nil {
			return err
		}
	}
	return nil
}

// whole waits until all nodes are members with a vote.
func (c *recoveryRound) whole(ctx context.Context) error {
	took, err := c.cluster.recover(ctx)
	if err != nil {
		return err
	}
	c.figure("all are members again, emptied", took)
	return c.cluster.awaitVoters(ctx)
}

// prepare makes facts that every node knows.
func (c *recoveryRound) prepare(ctx context.Context) (err error) {
	nodes := c.cluster.nodes
	c.survivor = nodes[c.rand.IntN(len(nodes))]
	c.lost = c.cluster.others(c.survivor)
	if c.before, err = c.make(ctx, nodes[0]); err != nil {
		return err
	}
	for _, n := range nodes {
		for _, token := range c.before.live {
			if status, err := c.cluster.admin.authenticate(ctx, n.url(), token); status != http.StatusOK {
				return fmt.Errorf("%s does not know what was just issued: %d: %w", n.name, status, err)
			}
		}
		if err := c.ask(ctx, n, c.before); err != nil {
			return err
		}
	}
	if c.done%2 == 0 { // else it has to replay its log
		return c.cluster.snapshotEverywhere(ctx)
	}
	return nil
}

// make issues tokens, and ends as many.
func (c *recoveryRound) make(ctx context.Context, through *node) (made facts, err error) {
	if made.live, err = c.issueSome(ctx, through, recoveryTokens); err != nil {
		return made, err
	}
	if made.dead, err = c.issueSome(ctx, through, recoveryTokens); err != nil {
		return made, err
	}
	return made, c.endAll(ctx, through, made.dead)
}

// killAll kills every node under load.
func (c *recoveryRound) killAll(ctx context.Context) (releases map[*node]func(), err error) {
	writing, stop := context.WithCancel(ctx)
	written := c.cluster.keepIssuing(writing, trafficPause)
	pause(ctx, 100*time.Millisecond+time.Duration(c.rand.IntN(200))*time.Millisecond)
	releases = map[*node]func(){}
	for i, release := range c.cluster.killEach(ctx, c.cluster.nodes) {
		n := c.cluster.nodes[i]
		releases[n] = release
		if !n.end(ctx, syscall.SIGKILL, killPatience) {
			err = fmt.Errorf("%s cannot be killed", n.name)
		}
	}
	stop()
	written()
	return releases, err
}

// survive writes a node's peers.json as docs/recovery.md says.
func (c *recoveryRound) survive(n *node) error {
	id, err := n.serverID()
	if err != nil {
		return err
	}
	content, err := json.Marshal([]map[string]any{{"id": id, "address": fmt.Sprintf("%s:%d", n.first, peerPort), "keep_sessions": c.keep}})
	if err != nil {
		return fmt.Errorf("encode peers.json: %w", err)
	}
	path := c.peersFile(n)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	return os.WriteFile(path, content, 0o600) //nolint:wrapcheck // names the file
}

func (*recoveryRound) peersFile(n *node) string { return n.file("disk", "data", "raft", "peers.json") }

// bothAtOnce has two survivors start at the same moment, each to go on alone. At most one may; afterwards both are down, and
// the survivor is who did.
func (c *recoveryRound) bothAtOnce(ctx context.Context, rival *node) error {
	pair := []*node{c.survivor, rival}
	for _, n := range pair {
		if err := c.survive(n); err != nil {
			return err
		}
		n.forgive()
		n.count(-1)
	}
	on := func() (names []string) {
		for _, n := range pair {
			if n.ready.Load() {
				names = append(names, n.name)
			}
		}
		return names
	}
	for began := time.Now(); time.Since(began) < verdictPatience && len(on()) == 0 && (!pair[0].refused() || !pair[1].refused()); {
		pause(ctx, lookInterval)
	}
	pause(ctx, 2*time.Second) // for the other one, if there is one
	switch names := on(); len(names) {
	case 0:
		c.count("two files: both refused")
	case 1:
		c.count("two files: one went on")
		if rival.ready.Load() {
			c.survivor, c.lost = rival, c.cluster.others(rival)
		}
	default:
		c.journal.violate("%s both went on alone", strings.Join(names, " and "))
	}
	for _, n := range pair {
		n.count(+1)
		n.end(ctx, syscall.SIGKILL, killPatience)
	}
	for _, n := range pair {
		if err := os.Remove(c.peersFile(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err //nolint:wrapcheck // names the file
		}
	}
	return nil
}

// alone waits until the survivor serves, and asks it.
func (c *recoveryRound) alone(ctx context.Context) (err error) {
	if started, err := c.verdict(ctx, c.survivor); err != nil || !started {
		return errors.Join(err, fmt.Errorf("%s does not go on: %s", c.survivor.name, c.survivor.lastWords()))
	}
	if c.after, err = c.make(ctx, c.survivor); err != nil {
		return err
	}
	return c.judge(ctx, c.survivor, true)
}

// judge asks a node about all tokens. Who is well must know those of the recovered cluster.
func (c *recoveryRound) judge(ctx context.Context, n *node, well bool) error {
	known := facts{dead: append(append([]string{}, c.before.dead...), c.after.dead...)}
	if well {
		known.live = c.after.live
	}
	if !c.keep {
		known.dead = append(known.dead, c.before.live...)
	} else if well {
		known.live = append(append([]string{}, c.before.live...), known.live...)
	}
	c.mu.Lock()
	c.counts["tokens asked about, ended"] += len(known.dead)
	c.mu.Unlock()
	return c.ask(ctx, n, known)
}

// comeBack starts the lost members with the data they had. Each must end and say what to do, and none may answer
// meanwhile what is not so any more.
func (c *recoveryRound) comeBack(ctx context.Context) error {
	said := map[*node]int64{}
	for _, n := range c.lost {
		said[n] = logSize(n)
		n.forgive()
		n.count(-1)
	}
	for _, n := range c.lost {
		for began := time.Now(); !n.refused(); {
			if time.Since(began) > verdictPatience {
				return fmt.Errorf("%s came back with its old data and goes on: %s", n.name, n.lastWords())
			}
			for _, other := range c.lost {
				if err := c.judge(ctx, other, false); err != nil {
					return err
				}
			}
			pause(ctx, lookInterval)
		}
	}
	for _, n := range c.lost {
		n.count(+1)
		n.end(ctx, syscall.SIGKILL, killPatience)
		content, err := os.ReadFile(n.logFile())
		if err != nil {
			return err //nolint:wrapcheck // names the file
		}
		if !bytes.Contains(content[min(said[n], int64(len(content))):], []byte("the cluster was recovered without this node, whose data are from before; empty its path.data")) {
			c.journal.violate("%s came back with its old data, ended, and does not say what to do: %s", n.name, n.lastWords())
			continue
		}
		c.count("came back with their old data: ended and said what to do")
	}
	_, err := c.cluster.admin.issue(ctx, c.survivor.url())
	return err
}
