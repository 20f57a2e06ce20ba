package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// FirstStart is what a node without raft state knows when it decides how to
// become a member.
type FirstStart struct {
	Self               Status
	InitialMasterNodes []string // cluster.initial_master_nodes: node names; order and repetitions do not matter
	Silent             []string // hosts of discovery.seed_hosts that did not answer
	Peers              []Status // who answered through discovery; may hold this node, and one node several times
}

// Decision is what to do now. Exactly one of Bootstrap, Join and neither (wait
// and look again) holds.
type Decision struct {
	// Bootstrap is the configuration to start a new cluster with.
	Bootstrap []raft.Server
	// Join holds addresses of members to send a [JoinRequest] to.
	Join []raft.ServerAddress
	// Reason says why, for an operator who wonders what the node is waiting for.
	Reason string
}

// Decide is a pure function of what is known. A cluster is started by exactly one
// node, the first by name of cluster.initial_master_nodes, and only after every
// node named there, and every seed host, has answered that it has no state: no two
// nodes can start two clusters, and a node that lost its data none beside the one
// it belonged to.
func (f FirstStart) Decide() Decision {
	peers, problem := f.peers()
	if problem != "" {
		return Decision{Reason: problem}
	}
	if join, via := joinable(peers); len(join) > 0 {
		return Decision{Join: join, Reason: "joining the cluster of " + via}
	}
	named := slices.Clone(f.InitialMasterNodes)
	slices.Sort(named)
	named = slices.Compact(named)
	if len(named) == 0 {
		return Decision{Reason: "no node found through discovery.seed_hosts belongs to a cluster yet, and " +
			"cluster.initial_master_nodes is not set, so this node will not start one"}
	}
	return f.bootstrap(named, peers)
}

// bootstrap decides for a node that found no cluster.
func (f FirstStart) bootstrap(named []string, peers map[string]Status) Decision {
	var missing []string
	servers := make([]raft.Server, 0, len(named))
	for _, name := range named {
		status, answered := peers[name]
		if !answered {
			missing = append(missing, name)
			continue
		}
		servers = append(servers, raft.Server{Suffrage: raft.Voter, ID: status.ServerID, Address: status.TransportAddress})
	}
	switch {
	case len(missing) > 0:
		return Decision{Reason: fmt.Sprintf("waiting for %s of cluster.initial_master_nodes to answer (found %s): start them",
			strings.Join(missing, ", "), strings.Join(names(peers), ", "))}
	case len(f.Silent) > 0:
		// One of them may belong to a cluster that this node would found again.
		return Decision{Reason: fmt.Sprintf("waiting for %s of discovery.seed_hosts to answer: a cluster is only started when all of them "+
			"say that there is none (remove hosts that do not exist yet)", strings.Join(f.Silent, ", "))}
	case named[0] != f.Self.Name:
		return Decision{Reason: fmt.Sprintf("waiting for node %s, the first of cluster.initial_master_nodes, to start the cluster", named[0])}
	default:
		return Decision{Bootstrap: servers, Reason: "starting a new cluster of " + strings.Join(named, ", ")}
	}
}

// peers returns everybody by name, this node included, or what is wrong with them.
func (f FirstStart) peers() (map[string]Status, string) {
	byName := map[string]Status{f.Self.Name: f.Self}
	byID := map[raft.ServerID]string{f.Self.ServerID: f.Self.Name}
	byAddress := map[raft.ServerAddress]string{f.Self.TransportAddress: f.Self.Name}
	for _, p := range f.Peers {
		if p.ClusterName != f.Self.ClusterName {
			return nil, fmt.Sprintf("node %s at %s belongs to cluster %q, not %q: check discovery.seed_hosts and cluster.name",
				p.Name, p.TransportAddress, p.ClusterName, f.Self.ClusterName)
		}
		if p.KeyCheck != f.Self.KeyCheck {
			return nil, fmt.Sprintf("node %s at %s has another cluster key: give every node the same key file", p.Name, p.TransportAddress)
		}
		if other, known := byName[p.Name]; known && other.ServerID != p.ServerID {
			return nil, fmt.Sprintf("two nodes are named %s, at %s and %s: node.name must be unique",
				p.Name, other.TransportAddress, p.TransportAddress)
		}
		if other, known := byID[p.ServerID]; known && other != p.Name {
			return nil, fmt.Sprintf("nodes %s and %s have the same server id %s: path.data was copied from one to the other; empty one of them",
				other, p.Name, p.ServerID)
		}
		if other, known := byAddress[p.TransportAddress]; known && other != p.Name {
			return nil, fmt.Sprintf("nodes %s and %s both say that their transport address is %s: set transport.publish_host and transport.publish_port",
				other, p.Name, p.TransportAddress)
		}
		if p.ServerID != f.Self.ServerID {
			byName[p.Name] = p
		}
		byID[p.ServerID], byAddress[p.TransportAddress] = p.Name, p.Name
	}
	return byName, ""
}

// joinable returns the addresses of those who belong to a cluster, the leader
// first, and their names.
func joinable(peers map[string]Status) (via []raft.ServerAddress, by string) {
	var members []string
	for _, name := range names(peers) {
		p := peers[name]
		if !p.Bootstrapped {
			continue
		}
		members = append(members, name)
		if p.LeaderID == p.ServerID {
			via = slices.Insert(via, 0, p.TransportAddress)
		} else {
			via = append(via, p.TransportAddress)
		}
	}
	return via, strings.Join(members, ", ")
}

func names(peers map[string]Status) []string {
	out := make([]string, 0, len(peers))
	for name := range peers {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
