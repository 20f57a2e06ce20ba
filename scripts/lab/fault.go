package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// need is what a fault asks of the machine.
type need string

const (
	needsNothing need = ""
	needsFreezer need = "a control group that can be frozen (root)"
	needsQuota   need = "a control group with a limit of processor time (root)"
	needsQuorum  need = "--read-mode quorum: read leases are not promised to bear it"
)

// kind is a way in which two faults together would be more than the promises allow for, or than can be made.
type kind string

const (
	kindAny kind = ""
	// kindMembers takes a node its data or its place, and is made only while everybody is well: acknowledged data may be
	// lost with the data of a majority, and nothing else may lose it.
	kindMembers kind = "members"
	// kindWallClock makes a wall clock wrong: those of a majority are the cluster's time.
	kindWallClock kind = "wall clock"
	// kindCertificates replaces certificates: whom nodes trust follows a plan that one person has.
	kindCertificates kind = "certificates"
	// kindProxy puts the proxy before a node, and there is one proxy.
	kindProxy kind = "proxy"
)

// fault is one row of the table.
type fault struct {
	name string
	what string // it does, for people
	need need
	// exits says that a node may end by itself because of it. Any other end of a process is a violation.
	exits bool
	// kind says what the fault must not meet: another of the same kind.
	kind kind
	// inject makes the fault; undo, which is never nil, ends it. What it chooses it chooses by t.rand.
	inject func(ctx context.Context, t *trial) (undo func(ctx context.Context))
}

// trial is one time that a fault is made.
type trial struct {
	*cluster
	rand *rand.Rand

	node *node  // whom it hits; nil: several
	text string // what exactly, for the journal
}

// allFaults is the table.
func allFaults() []fault {
	return slices.Concat(processFaults(), networkFaults(), diskFaults(), proxyFaults(), clockFaults(), memberFaults(), certificateFaults())
}

// faultsNamed returns the rows with the given names; all of them for none, or for "all".
func faultsNamed(names []string) (chosen []fault, unknown []string) {
	table := allFaults()
	if len(names) == 0 || slices.Equal(names, []string{"all"}) {
		return table, nil
	}
	for _, name := range names {
		at := slices.IndexFunc(table, func(f fault) bool { return f.name == name })
		if at < 0 {
			unknown = append(unknown, name)
			continue
		}
		chosen = append(chosen, table[at])
	}
	return chosen, unknown
}

// the returns the node that leads, or any if none does.
func (t *trial) theLeader() *node {
	t.node = t.leader()
	if t.node == nil {
		t.node = t.nodes[t.rand.IntN(len(t.nodes))]
	}
	return t.node
}

// aFollower returns one of those that do not lead.
func (t *trial) aFollower() *node {
	others := t.others(t.leader())
	t.node = others[t.rand.IntN(len(others))]
	return t.node
}

// anyone returns any node.
func (t *trial) anyone() *node {
	t.node = t.nodes[t.rand.IntN(len(t.nodes))]
	return t.node
}

// somebody is a way to choose whom a fault hits.
type somebody struct {
	suffix string
	choose func(*trial) *node
}

// leaderAndFollower are for faults that are tried at each.
func leaderAndFollower() []somebody {
	return []somebody{{"-leader", (*trial).theLeader}, {"-follower", (*trial).aFollower}}
}

// forEach makes one row for the leader and one for a follower.
func forEach(row fault, inject func(ctx context.Context, t *trial, n *node) func(context.Context)) (rows []fault) {
	for _, who := range leaderAndFollower() {
		f := row
		f.name += who.suffix
		f.what += " (" + strings.TrimPrefix(who.suffix, "-") + ")"
		f.inject = func(ctx context.Context, t *trial) func(context.Context) { return inject(ctx, t, who.choose(t)) }
		rows = append(rows, f)
	}
	return rows
}

// between draws a duration.
func (t *trial) between(least, most time.Duration) time.Duration {
	return least + time.Duration(t.rand.Int64N(int64(most-least)))
}

// meanwhile has something done until undo is called, which waits for its end.
func meanwhile(ctx context.Context, do func(ctx context.Context)) (undo func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(ctx)
	}()
	return func(context.Context) {
		cancel()
		<-done
	}
}

// simply is an undo that has no use for its context.
func simply(undo func()) func(context.Context) { return func(context.Context) { undo() } }

// available tells whether the machine has what the fault needs.
func (c *cluster) available(f fault) bool {
	switch f.need {
	case needsNothing:
		return true
	case needsFreezer:
		return c.nodes[0].groups.freezer != ""
	case needsQuota:
		return c.nodes[0].groups.cpu != ""
	case needsQuorum:
		return c.setup.settings[readModeSetting] == quorumReads
	}
	return false
}
