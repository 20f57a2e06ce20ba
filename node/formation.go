package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
)

const (
	// formationInterval paces the attempts to become a member.
	formationInterval = 250 * time.Millisecond
	// watchInterval paces the look for moved peers once this node is a member.
	watchInterval = time.Second
	// statusTimeout bounds one question to one seed host.
	statusTimeout = 2 * time.Second
	// joinTimeout bounds one request to become a member.
	joinTimeout = 10 * time.Second
	// waitingLogInterval is how often an operator is told what a node waits for.
	waitingLogInterval = 10 * time.Second
	// complaintInterval is how often an operator is told what is to be mended.
	complaintInterval = time.Minute
)

// addressBook knows where members are, by what they said of themselves. It goes
// before raft's configuration, so that members find each other again even when
// the addresses of all have changed, until the configuration says something newer.
// Safe for concurrent use.
type addressBook struct {
	mu   sync.RWMutex
	byID map[raft.ServerID]sighting
}

// sighting is what a member said of itself, and what the configuration said then.
type sighting struct{ said, configured raft.ServerAddress }

func newAddressBook() *addressBook {
	return &addressBook{byID: map[raft.ServerID]sighting{}}
}

// note writes down what peers say, beside the present configuration.
func (b *addressBook) note(peers []cluster.Status, servers []raft.Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, peer := range peers {
		b.byID[peer.ServerID] = sighting{peer.TransportAddress, configuredAddress(servers, peer.ServerID)}
	}
}

// follow takes over the configuration, but for the members of whom something else
// was heard while it said the same: what it says anew is newer, for a member that
// moves tells the leader.
func (b *addressBook) follow(servers []raft.Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	followed := make(map[raft.ServerID]sighting, len(servers))
	for _, server := range servers {
		seen := b.byID[server.ID]
		if seen.configured != server.Address {
			seen = sighting{said: server.Address, configured: server.Address}
		}
		followed[server.ID] = seen
	}
	b.byID = followed
}

func configuredAddress(servers []raft.Server, id raft.ServerID) raft.ServerAddress {
	for _, server := range servers {
		if server.ID == id {
			return server.Address
		}
	}
	return ""
}

// addressOf returns the address of a member, empty if it has not been heard of.
func (b *addressBook) addressOf(id raft.ServerID) raft.ServerAddress {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byID[id].said
}

// keepMembership makes this node a member of its cluster, starting one if that
// falls to it, and keeps its address in the configuration right.
func (n *Node) keepMembership(ctx context.Context) {
	var said string
	var saidAt time.Time
	for {
		interval := formationInterval
		reason, err := n.stepMembership(ctx)
		waiting := reason
		n.waiting.Store(&waiting)
		switch {
		case ctx.Err() != nil, errors.Is(err, errEnds):
			return
		case n.replica.raft.State() == raft.Shutdown:
			n.fail(errors.New("raft has ended: this node was removed from the cluster, or its log can no longer be relied on (see the lines above)"))
			return
		case err != nil:
			reason = err.Error()
		case reason == "":
			interval = watchInterval
		}
		level, again := hclog.Info, waitingLogInterval
		if err != nil { // unlike a reason to wait, it is for an operator to mend
			level, again = hclog.Warn, complaintInterval
		}
		if reason != "" && (reason != said || time.Since(saidAt) >= again) {
			text := "not a member of the cluster yet"
			if errors.Is(err, errUncounted) {
				text = "not a member of the cluster"
			}
			n.log.Log(level, text, "reason", reason)
			said, saidAt = reason, time.Now()
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// stepMembership does the next thing towards full membership. It returns what is
// missing, empty if nothing is.
func (n *Node) stepMembership(ctx context.Context) (reason string, err error) {
	servers := n.replica.servers()
	if len(servers) == 0 {
		return n.firstStart(ctx)
	}
	n.addresses.follow(servers)
	var elsewhere raft.ServerAddress
	var uncounted error
	peers, err := n.lookAround(ctx, servers)
	if err != nil {
		return "", err
	}
	if address, _ := n.replica.raft.LeaderWithID(); address == "" {
		n.addresses.note(peers, servers)
		if at, found := n.outrun(peers); found {
			return "", n.endAsTwin(ctx, at)
		}
		if n.removed(peers) {
			return "", n.end(errRemoved)
		}
		elsewhere, uncounted = n.listedElsewhere(peers), n.uncounted(peers)
	}
	for _, server := range servers {
		if server.ID == n.replica.id && uncounted == nil {
			server.Address = cmp.Or(elsewhere, server.Address)
			return n.settle(ctx, server)
		}
	}
	if uncounted != nil {
		return "", uncounted
	}
	if n.member.Load() {
		return "", n.end(errRemoved)
	}
	return "by its log this node is not a member, or not yet; if it was removed from the cluster, stop it, empty its path.data and start it to join again as a new member", nil
}

// errEnds is that there is nothing left to do: this node ends, and the reason has been told.
var errEnds = errors.New("this node ends")

// end ends this node.
func (n *Node) end(reason error) error {
	n.fail(reason)
	return errEnds
}

// settle brings a member's address in the configuration up to date after a move. Its
// vote comes from the leader (keepAutopilot).
func (n *Node) settle(ctx context.Context, self raft.Server) (reason string, err error) {
	address := raft.ServerAddress(n.config.Transport.PublishAddress())
	if self.Address != address {
		if n.twinAt(ctx, self.ID, self.Address) {
			return "", n.endAsTwin(ctx, self.Address)
		}
		return "", n.askToJoin(ctx, n.knownAddresses())
	}
	if !n.member.Swap(true) {
		n.log.Info("member of the cluster", "server_id", self.ID, "address", address, "suffrage", self.Suffrage)
	}
	return "", nil
}

// firstStart decides how a node without state becomes a member.
func (n *Node) firstStart(ctx context.Context) (reason string, err error) {
	peers, silent := n.discover(ctx)
	n.addresses.note(peers, nil)
	self := n.status()
	initial := n.config.Discovery.InitialMasterNodes
	if n.config.Discovery.SingleNode {
		initial, peers, silent = []string{n.config.NodeName}, nil, nil
	}
	peers, newest, reason := newestLineage(peers)
	if reason != "" {
		return reason, nil
	}
	decision := cluster.FirstStart{Self: self, InitialMasterNodes: initial, Peers: peers, Silent: silent}.Decide()
	switch {
	case len(decision.Bootstrap) > 0:
		n.log.Info("bootstrapping", "reason", decision.Reason)
		n.descent.settle(lineage{})
		if err := n.replica.raft.BootstrapCluster(raft.Configuration{Servers: decision.Bootstrap}).Error(); err != nil {
			return "", fmt.Errorf("bootstrap: %w", err)
		}
		return "", nil
	case len(decision.Join) > 0:
		n.descent.settle(newest)
		if n.descent.outlived(newest) {
			return "", n.end(errLeftBehind)
		}
		return decision.Reason, n.askToJoin(ctx, decision.Join)
	default:
		return decision.Reason, nil
	}
}

// discover asks all seed hosts who they are, and returns who answered and which
// hosts did not.
func (n *Node) discover(ctx context.Context) (found []cluster.Status, silent []string) {
	return n.ask(ctx, n.config.Discovery.SeedHosts)
}

func (n *Node) ask(ctx context.Context, hosts []string) (found []cluster.Status, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return n.askStatus(ctx, hosts)
}

func (n *Node) askStatus(ctx context.Context, addresses []string) (found []cluster.Status, silent []string) {
	var asking sync.WaitGroup
	answers := make([]*cluster.Status, len(addresses))
	for i, address := range addresses {
		asking.Go(func() {
			if status, err := n.replica.peers.Status(ctx, raft.ServerAddress(address)); err == nil {
				answers[i] = &status
			} else {
				n.log.Debug("a node did not answer", "address", address, "error", err)
			}
		})
	}
	asking.Wait()
	for i, answer := range answers {
		if answer == nil {
			silent = append(silent, addresses[i])
		} else {
			found = append(found, *answer)
		}
	}
	n.names.heard(found)
	return found, silent
}

// askToJoin asks for membership, following hints to the leader.
func (n *Node) askToJoin(ctx context.Context, via []raft.ServerAddress) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	request := cluster.JoinRequest{
		ID:      n.replica.id,
		Address: raft.ServerAddress(n.config.Transport.PublishAddress()),
		Level:   n.replica.levels.highest,
		Lineage: n.descent.own(),
	}
	if n.replica.leads() {
		return peerHandler{n}.Join(ctx, request)
	}
	var problems []error
	asked := map[raft.ServerAddress]bool{request.Address: true}
	for len(via) > 0 {
		address := via[0]
		via = via[1:]
		if address == "" || asked[address] {
			continue
		}
		asked[address] = true
		err := n.replica.peers.Join(ctx, address, request)
		if err == nil {
			return nil
		}
		if hint, ok := errors.AsType[*cluster.NotLeaderError](err); ok {
			via = append([]raft.ServerAddress{hint.Leader}, via...)
			continue
		}
		problems = append(problems, err)
	}
	if len(problems) == 0 {
		return errors.New("join: no node that was asked knows the leader")
	}
	return fmt.Errorf("join: %w", errors.Join(problems...))
}

// knownAddresses returns where the leader might be or be known.
func (n *Node) knownAddresses() []raft.ServerAddress {
	leader, _ := n.replica.raft.LeaderWithID()
	known := []raft.ServerAddress{leader}
	for _, server := range n.replica.servers() {
		if moved := n.addresses.addressOf(server.ID); moved != "" {
			known = append(known, moved)
		}
		known = append(known, server.Address)
	}
	for _, seed := range n.config.Discovery.SeedHosts {
		known = append(known, raft.ServerAddress(seed))
	}
	return known
}
