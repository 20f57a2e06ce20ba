package node

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/httpapi"
)

const (
	// readinessInterval is how often this node proves to itself that it can answer.
	readinessInterval = 500 * time.Millisecond
	// startInterval is the same while this node starts.
	startInterval = 50 * time.Millisecond
	// readinessTimeout is how long that proof may take before a node that starts says
	// again why it is not ready.
	readinessTimeout = time.Second
	// readinessElections is how many elections a node that is ready may wait for. When
	// the leader is lost no node can answer until there is another: requests wait at any
	// of them. Were all to say that they are not ready, a load balancer would answer in
	// their stead, with an error.
	readinessElections = 2
)

// readiness is whether this node should get requests: it has proved a moment ago
// that it can answer from its own state. It implements httpapi.Cluster together
// with Node. Safe for concurrent use.
type readiness struct {
	reasons atomic.Pointer[[]string]
}

func (r *readiness) set(reasons ...string) { r.reasons.Store(&reasons) }

func (r *readiness) get() []string {
	if reasons := r.reasons.Load(); reasons != nil {
		return *reasons
	}
	return []string{"starting"}
}

// watchReadiness keeps readiness current until ctx ends.
func (n *Node) watchReadiness(ctx context.Context) {
	interval := startInterval
	for ctx.Err() == nil {
		wasReady := len(n.readiness.get()) == 0
		patience := readinessTimeout
		if wasReady {
			patience = readinessElections * (n.config.Raft.HeartbeatTimeout + n.config.Raft.ElectionTimeout)
		}
		reasons := n.findNotReady(ctx, patience)
		n.readiness.set(reasons...)
		if isReady := len(reasons) == 0; isReady != wasReady && ctx.Err() == nil {
			n.log.Info("readiness changed", "ready", isReady, "reasons", reasons)
			interval = readinessInterval
		}
		pause(ctx, interval)
	}
}

func (n *Node) findNotReady(ctx context.Context, patience time.Duration) (reasons []string) {
	if !n.member.Load() {
		if waiting := n.waitsFor(); waiting != "" {
			return []string{"not a member of the cluster yet: " + waiting}
		}
		return []string{"not a member of the cluster yet"}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := n.confirmer.ConfirmRead(ctx); err != nil {
		return []string{"no quorum: this node cannot confirm that its state is current"}
	}
	if !n.initialized.Load() {
		return []string{"the cluster is not initialized yet"}
	}
	return nil
}

// waitsFor is what this node lacks to be a member, empty if that is not known, or nothing. What
// went wrong is not for everybody: the log has it.
func (n *Node) waitsFor() string {
	if waiting := n.waiting.Load(); waiting != nil {
		return *waiting
	}
	return ""
}

// NotReady implements httpapi.Cluster.
func (n *Node) NotReady() []string {
	if n.draining.Load() {
		return []string{"shutting down"}
	}
	return n.readiness.get()
}

// About implements httpapi.Cluster.
func (n *Node) About() httpapi.About {
	id, _, _ := n.replica.state.Cluster()
	return httpapi.About{NodeID: string(n.replica.id), NodeName: n.config.NodeName, ClusterName: n.config.ClusterName, ClusterID: id}
}

// Health implements httpapi.Cluster: it asks every member.
func (n *Node) Health(ctx context.Context) httpapi.Health {
	servers := n.replica.servers()
	var others []string
	for _, server := range servers {
		if server.ID != n.replica.id {
			others = append(others, string(n.replica.addressOf(server)))
		}
	}
	health := httpapi.Health{Members: len(servers)}
	_, leader := n.replica.raft.LeaderWithID()
	health.Leader = leader != ""
	answering, _ := n.askStatus(ctx, others)
	for _, status := range append([]cluster.Status{n.status()}, answering...) {
		i := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == status.ServerID })
		self := status.ServerID == n.replica.id
		if i < 0 && !self {
			continue // a stranger may live where a member lived
		}
		health.Nodes = append(health.Nodes, httpapi.Member{
			ID:               string(status.ServerID),
			Name:             status.Name,
			TransportAddress: string(status.TransportAddress),
			HTTPAddress:      status.HTTPAddress,
			Version:          status.Version,
			Voter:            i >= 0 && servers[i].Suffrage == raft.Voter,
			Leader:           status.ServerID == leader,
			Self:             self,
		})
	}
	health.Answering = len(health.Nodes)
	return health
}
