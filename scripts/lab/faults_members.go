package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"jeton/scripts/lab/network"
)

// memberFaults change who belongs to the cluster, where its members are, and what they know.
func memberFaults() []fault {
	return []fault{
		{name: "wipe", what: "a node loses its disk, and is replaced as its log demands", kind: kindMembers, inject: wipe},
		{name: "remove-follower", what: "a member that runs is removed, emptied and joins anew", exits: true, kind: kindMembers, inject: func(ctx context.Context, t *trial) func(context.Context) {
			return removeRunning(ctx, t, t.aFollower())
		}},
		{name: "remove-leader", what: "the same of the leader", exits: true, kind: kindMembers, inject: func(ctx context.Context, t *trial) func(context.Context) {
			return removeRunning(ctx, t, t.theLeader())
		}},
		{name: "add-node", what: "one more node joins, and is removed in the end", exits: true, kind: kindMembers, inject: addNode},
		{name: "move", what: "a node comes back at another address", kind: kindMembers, inject: moveNode},
		{name: "copy-renamed", what: "a copy of a node's folder is started beside it under another name", exits: true, kind: kindMembers, inject: copyRenamed},
		{name: "copy-whole", what: "a copy of a whole machine is started beside it, at another address", exits: true, kind: kindMembers, inject: copyWhole},
		{name: "interrupt-snapshot", what: "a node that needs a snapshot is killed and cut off while it gets one", kind: kindMembers, inject: interruptSnapshot},
	}
}

func wipe(ctx context.Context, t *trial) func(context.Context) {
	n := t.anyone()
	release := n.kill(ctx)
	n.disk.Wipe()
	return func(ctx context.Context) {
		t.replace(ctx, n)
		release()
	}
}

func removeRunning(ctx context.Context, t *trial, n *node) func(context.Context) {
	if id, err := n.serverID(); err == nil {
		t.trouble(t.removePeer(ctx, n, id))
	}
	return func(ctx context.Context) { t.replace(ctx, n) }
}

// peer is a member as `jeton operator raft list-peers` shows it.
type peer struct {
	Node, ID, Address, State string
	Voter, Reachable         bool
	Applied                  uint64
}

// peers asks another node than one who belongs to the cluster.
func (c *cluster) peers(ctx context.Context, but *node) (peers []peer, err error) {
	var out strings.Builder
	if err := c.jeton(ctx, &out, "operator", "raft", "list-peers", "--format", "json", "--config", c.others(but)[0].config()); err != nil {
		return nil, err
	}
	var seen struct{ Peers []peer }
	if err := json.Unmarshal([]byte(out.String()), &seen); err != nil {
		return nil, fmt.Errorf("read list-peers: %w", err)
	}
	return seen.Peers, nil
}

func (c *cluster) removePeer(ctx context.Context, n *node, id string) error {
	return c.jeton(ctx, nil, "operator", "raft", "remove-peer", id, "--yes", "--config", c.others(n)[0].config())
}

// replaceDamaged replaces a node whose files were damaged, unless that was done meanwhile.
func (c *cluster) replaceDamaged(ctx context.Context, n *node) {
	n.replacing.Lock()
	defer n.replacing.Unlock()
	if n.isDamaged() {
		c.replace(ctx, n)
	}
}

// replace does what an operator does with a node that is beyond help: it empties it, removes the former member and has
// the new one join. It returns when that is done, or ctx has ended.
func (c *cluster) replace(ctx context.Context, n *node) {
	release := n.kill(ctx)
	defer release()
	for !n.end(ctx, syscall.SIGKILL, killPatience) && ctx.Err() == nil {
		pause(ctx, lookInterval)
	}
	n.disk.Wipe()
	n.mu.Lock()
	n.damaged, n.quick = false, 0
	n.mu.Unlock()
	c.journal.note(n.name, "is replaced")
	var err error
	for began := time.Now(); time.Since(began) < recoveryBound && pause(ctx, replacePoll); {
		if err = c.forget(ctx, n); err == nil {
			return
		}
	}
	if ctx.Err() == nil {
		c.journal.violate("%s could not be replaced within %v: %v", n.name, recoveryBound, err)
	}
}

const replacePoll = 100 * time.Millisecond

// forget removes whatever member has one of the node's addresses.
func (c *cluster) forget(ctx context.Context, n *node) error {
	peers, err := c.peers(ctx, n)
	if err != nil {
		return err
	}
	mine := []string{}
	for _, host := range n.ownHosts() {
		mine = append(mine, fmt.Sprintf("%s:%d", host, peerPort))
	}
	for _, p := range peers {
		if p.State == "not a member" || !slices.Contains(mine, p.Address) {
			continue
		}
		if err := c.removePeer(ctx, n, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func addNode(ctx context.Context, t *trial) func(context.Context) {
	t.node = t.spare
	t.spare.disk.Wipe()
	t.spare.count(-1)
	votes := t.rand.IntN(2) == 0
	t.text = fmt.Sprintf("until it has a vote: %t", votes)
	return func(ctx context.Context) {
		for began := time.Now(); votes && !t.votes(ctx, t.spare) && time.Since(began) < votePatience; {
			pause(ctx, replacePoll)
		}
		t.spare.count(+1)
		id, err := t.spare.serverID()
		t.spare.end(ctx, syscall.SIGKILL, killPatience)
		for err == nil && ctx.Err() == nil && t.forget(ctx, t.spare) != nil {
			pause(ctx, replacePoll)
		}
		if err == nil {
			t.text += " as " + id
		}
	}
}

// votePatience is how long a new member is waited for to get its vote; other faults may keep it from getting one.
const votePatience = 8 * time.Second

// votes tells whether a node has a vote.
func (c *cluster) votes(ctx context.Context, n *node) bool {
	peers, err := c.peers(ctx, n)
	return err == nil && slices.ContainsFunc(peers, func(p peer) bool { return p.Node == n.name && p.Voter })
}

func moveNode(ctx context.Context, t *trial) func(context.Context) {
	n := t.anyone()
	second := secondAddress(n.first)
	t.text = "to " + second.String()
	t.move(ctx, n, second)
	return func(ctx context.Context) { t.move(ctx, n, n.first) }
}

// move stops a node and starts it at another address.
func (c *cluster) move(ctx context.Context, n *node, address netip.Addr) {
	release := n.kill(ctx)
	defer release()
	if err := n.host.Move(address); err != nil {
		c.trouble(err)
		return
	}
	n.mu.Lock()
	n.address = address
	n.mu.Unlock()
	c.moved()
}

// copyRenamed starts the spare machine on the data of a node. It must refuse them.
func copyRenamed(ctx context.Context, t *trial) func(context.Context) {
	return t.copied(ctx, t.anyone(), "")
}

// copyWhole starts the spare machine as if it were the node.
func copyWhole(ctx context.Context, t *trial) func(context.Context) {
	n := t.anyone()
	return t.copied(ctx, n, n.name)
}

// copied copies the data of a node, which is stopped for that, to the spare machine and starts both.
func (t *trial) copied(ctx context.Context, n *node, as string) func(context.Context) {
	release := n.kill(ctx)
	n.disk.CopyTo(t.spare.disk)
	t.trouble(t.spare.pose(n, as))
	release()
	t.spare.count(-1)
	return func(ctx context.Context) {
		t.spare.count(+1)
		t.spare.end(ctx, syscall.SIGKILL, killPatience)
		t.spare.disk.Wipe()
		t.trouble(t.spare.pose(t.spare, ""))
	}
}

// pose has the machine call itself by another node's name, with its certificates; empty: by its own.
func (n *node) pose(other *node, name string) error {
	n.mu.Lock()
	n.posesAs = name
	n.mu.Unlock()
	if name == "" {
		other = n
	}
	return n.installAs(other.name, n.cluster.certificates())
}

// interruptSnapshot makes a follower need a snapshot, and kills it or cuts it off while it gets one, several times.
func interruptSnapshot(ctx context.Context, t *trial) func(context.Context) {
	n := t.aFollower()
	release := n.kill(ctx)
	t.fatten(ctx, n)
	attempts := 2 + t.rand.IntN(3)
	t.text = fmt.Sprintf("%d times", attempts)
	far := network.Link{Delay: 20 * time.Millisecond, Jitter: 40 * time.Millisecond}
	near := t.weather.add(between(n.name, t.peersOf(n), far, far))
	release()
	for range attempts {
		pause(ctx, t.between(100*time.Millisecond, 1200*time.Millisecond))
		if t.rand.IntN(2) == 0 {
			n.kill(ctx)()
			continue
		}
		join := t.weather.add(between(n.name, t.peersOf(n), network.Link{Cut: true}, network.Link{Cut: true}))
		pause(ctx, t.between(100*time.Millisecond, 500*time.Millisecond))
		join()
	}
	return simply(near)
}

// fatten writes to the log until the other nodes have taken a snapshot, and keep fewer entries from before it than a node
// misses that was away meanwhile.
func (c *cluster) fatten(ctx context.Context, but *node) {
	const entries = 100 // more than raft.trailing_logs
	ctx, cancel := context.WithTimeout(ctx, fattenPatience)
	defer cancel()
	through := c.others(but)
	for i := 0; i < entries && ctx.Err() == nil; i++ { // one after the other: those at the same time would share an entry
		_, _ = c.admin.issue(ctx, through[i%len(through)].url()) // there may be no leader just now
	}
	before := c.newestSnapshots()
	for ctx.Err() == nil && slices.ContainsFunc(through, func(n *node) bool { return c.newestSnapshots()[n.name] == before[n.name] }) {
		if c.pad(ctx, through) != nil {
			pause(ctx, replacePoll)
		}
	}
}

const fattenPatience = 20 * time.Second
