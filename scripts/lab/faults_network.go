package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"jeton/scripts/lab/network"
)

// networkFaults are those of the network.
func networkFaults() (rows []fault) {
	cut := network.Link{Cut: true}
	rows = append(rows, forEach(fault{name: "cut", what: "cut off from all other nodes, both ways"}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		return t.weatherUntil(between(n.name, t.peersOf(n), cut, cut))
	})...)
	rows = append(rows, forEach(fault{name: "mute", what: "the other nodes hear nothing from it"}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		return t.weatherUntil(between(n.name, t.peersOf(n), cut, network.Link{}))
	})...)
	rows = append(rows, forEach(fault{name: "deafen", what: "it hears nothing from the other nodes"}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		return t.weatherUntil(between(n.name, t.peersOf(n), network.Link{}, cut))
	})...)
	rows = append(rows, forEach(fault{name: "flap", what: "cut off and joined again, several times a second"}, flap)...)
	rows = append(rows, forEach(fault{name: "lose-answers", what: "requests reach it, its answers reach no client"}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		return t.weatherUntil(between(n.name, []string{network.Clients}, cut, network.Link{}))
	})...)
	rows = append(rows, forEach(fault{name: "lag", what: "packets to and from it take 60 to 160 ms more"}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		late := network.Link{Delay: 60 * time.Millisecond, Jitter: 100 * time.Millisecond}
		return t.weatherUntil(between(n.name, t.peersOf(n), late, late))
	})...)
	return append(rows,
		fault{name: "cut-minority", what: "the leader and as many as make no majority, from the rest", inject: cutMinority},
		fault{name: "cut-all", what: "no node reaches another", inject: func(_ context.Context, t *trial) func(context.Context) {
			return t.weatherUntil(amongst(t.hostNames(), cut))
		}},
		fault{name: "cut-bridge", what: "two nodes do not reach each other; both reach the rest", inject: cutBridge},
		fault{name: "lose-raft-answers", what: "the leader hears nothing from one follower, which hears the leader", inject: loseRaftAnswers},
		fault{name: "half-open", what: "the connections of a node hang for ever, new ones work", inject: halfOpen},
		fault{name: "lose", what: "one packet in five is lost", inject: everywhere(network.Link{Loss: 0.2})},
		fault{name: "reorder", what: "one packet in three comes late", inject: everywhere(network.Link{Reorder: 0.33})},
		fault{name: "duplicate", what: "one packet in three comes twice", inject: everywhere(network.Link{Duplicate: 0.33})},
		fault{name: "delay", what: "every packet takes 20 to 80 ms more", inject: everywhere(network.Link{Delay: 20 * time.Millisecond, Jitter: 60 * time.Millisecond})},
		fault{name: "storm", what: "all of these, a little of each", inject: everywhere(network.Link{
			Loss: 0.05, Reorder: 0.1, Duplicate: 0.1, Delay: 5 * time.Millisecond, Jitter: 30 * time.Millisecond,
		})},
	)
}

// hostNames are the names of all machines, without the clients'.
func (c *cluster) hostNames() (names []string) {
	for _, n := range c.machines() {
		names = append(names, n.name)
	}
	return names
}

func (c *cluster) peersOf(n *node) []string {
	return slices.DeleteFunc(c.hostNames(), func(name string) bool { return name == n.name })
}

// weatherUntil adds to the weather until the fault is undone.
func (t *trial) weatherUntil(p part) func(context.Context) { return simply(t.weather.add(p)) }

// between is out from one host to the others, and in from them.
func between(one string, others []string, out, in network.Link) part {
	return func(from, to string) network.Link {
		switch {
		case from == one && slices.Contains(others, to):
			return out
		case to == one && slices.Contains(others, from):
			return in
		}
		return network.Link{}
	}
}

// amongst is the same in every direction between hosts.
func amongst(hosts []string, link network.Link) part {
	return func(from, to string) network.Link {
		if slices.Contains(hosts, from) && slices.Contains(hosts, to) {
			return link
		}
		return network.Link{}
	}
}

// everywhere makes links between all hosts, the clients' too.
func everywhere(link network.Link) func(context.Context, *trial) func(context.Context) {
	return func(_ context.Context, t *trial) func(context.Context) {
		return t.weatherUntil(func(string, string) network.Link { return link })
	}
}

func flap(ctx context.Context, t *trial, n *node) func(context.Context) {
	var isCut atomic.Bool
	peers, every := t.peersOf(n), t.between(50*time.Millisecond, 500*time.Millisecond)
	t.text = fmt.Sprintf("every %v", every.Round(time.Millisecond))
	calm := t.weather.add(func(from, to string) network.Link {
		link := network.Link{Cut: isCut.Load()}
		return between(n.name, peers, link, link)(from, to)
	})
	stop := meanwhile(ctx, func(ctx context.Context) {
		for pause(ctx, every) {
			isCut.Store(!isCut.Load())
			t.weather.again()
		}
	})
	return func(ctx context.Context) {
		stop(ctx)
		calm()
	}
}

// cutMinority leaves the leader with as many others as make no majority: none of three, one of five.
func cutMinority(_ context.Context, t *trial) func(context.Context) {
	leader := t.theLeader()
	side := []string{leader.name}
	others := t.others(leader)
	t.rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, n := range others[:max(0, (len(t.nodes)-1)/2-1)] {
		side = append(side, n.name)
	}
	t.text = fmt.Sprintf("%v on one side", side)
	return t.weatherUntil(apart(side, t.hostNames()))
}

// apart cuts the hosts of a side from the other hosts, both ways.
func apart(side, hosts []string) part {
	return func(from, to string) network.Link {
		inside := slices.Contains(side, from) != slices.Contains(side, to)
		return network.Link{Cut: inside && slices.Contains(hosts, from) && slices.Contains(hosts, to)}
	}
}

func cutBridge(_ context.Context, t *trial) func(context.Context) {
	order := t.rand.Perm(len(t.nodes))
	one, other := t.nodes[order[0]], t.nodes[order[1]]
	t.text = fmt.Sprintf("%s and %s", one.name, other.name)
	return t.weatherUntil(amongst([]string{one.name, other.name}, network.Link{Cut: true}))
}

func loseRaftAnswers(_ context.Context, t *trial) func(context.Context) {
	follower := t.aFollower()
	leader := t.leader()
	if leader == nil {
		leader = t.others(follower)[0]
	}
	t.text = fmt.Sprintf("%s hears nothing from %s", leader.name, follower.name)
	return t.weatherUntil(between(follower.name, []string{leader.name}, network.Link{Cut: true}, network.Link{}))
}

// halfOpen has the connections that exist forgotten by the network. There is nothing to undo.
func halfOpen(_ context.Context, t *trial) func(context.Context) {
	n := t.anyone()
	for _, other := range append(t.peersOf(n), network.Clients) {
		t.trouble(t.network.Orphan(n.name, other))
	}
	return simply(func() {})
}
