package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/backup"
	"jeton/node/realm"
)

// peerHandler answers what other nodes ask. It implements cluster.Handler.
type peerHandler struct{ n *Node }

// Propose appends the commands of a peer. Each is decoded first: a newer or
// broken peer must not put an entry on the log that stops the cluster.
func (h peerHandler) Propose(ctx context.Context, peer string, commands [][]byte) ([][]byte, error) {
	r := h.n.replica
	if !r.leads() {
		return nil, h.notLeader()
	}
	revokes := len(commands) > 0
	restores := map[int]fsm.Restore{}
	for i, command := range commands {
		c, err := fsm.DecodeCommand(command)
		if err != nil {
			return nil, fmt.Errorf("%w: this node cannot read the command: %w", cluster.ErrRefused, err)
		}
		if err := h.mayForward(peer, c); err != nil {
			return nil, err
		}
		revokes = revokes && r.waitsForReaders(c)
		if restore, ok := c.(fsm.Restore); ok {
			restores[i] = restore
		}
	}
	proposer := h.n.proposer
	if revokes {
		proposer = h.n.revoker
	}
	outcomes, err := proposer.ProposeForwarded(ctx, commands)
	switch {
	case errors.Is(err, realm.ErrOverloaded):
		return nil, fmt.Errorf("%w: %w", cluster.ErrOverloaded, err)
	case errors.Is(err, errLevel):
		return nil, fmt.Errorf("%w: %w", cluster.ErrRefused, err)
	case errors.Is(err, errNotLeader):
		return nil, h.notLeader()
	case err == nil:
		h.tell(restores, outcomes)
	}
	return outcomes, err
}

// mayForward refuses what only one node may ask for. A lease is its holder's own: one in
// another's name could take the place of one that is relied on, and the next leader would
// not wait for its end. The level is raised by who leads, once it has asked everybody.
func (h peerHandler) mayForward(peer string, c fsm.Command) error {
	r := h.n.replica
	switch c := c.(type) {
	case fsm.Lease:
		holder := raft.ServerID(c.Holder)
		if r.nameOf(holder) != peer {
			return fmt.Errorf("%w: %s asks for the lease of %s", cluster.ErrRefused, peer, holder)
		}
		if !r.coverage.keepsUp(holder, r.raft.CurrentTerm()) {
			return fmt.Errorf("%w: %s is behind and gets no lease", cluster.ErrRefused, holder)
		}
	case fsm.RaiseLevel:
		return fmt.Errorf("%w: the leader alone raises the command-set level", cluster.ErrRefused)
	}
	return nil
}

// tell logs what became of restores: nothing changes more at once.
func (h peerHandler) tell(restores map[int]fsm.Restore, outcomes [][]byte) {
	for i, c := range restores {
		var outcome fsm.Outcome
		if err := outcome.Decode(outcomes[i]); err != nil {
			outcome.Reason = fsm.RestoreUnreadable // cannot be: this node has just encoded it
		}
		text := "the state was restored from a snapshot"
		if outcome.Reason != fsm.Done {
			text = "a snapshot was not restored"
		}
		h.n.log.Warn(text, "outcome", outcome.Reason, "epoch", c.Epoch, "of_cluster", backup.ID(c.From), "sessions_kept", c.KeepSessions)
	}
}

func (h peerHandler) notLeader() error {
	address, _ := h.n.replica.raft.LeaderWithID()
	return &cluster.NotLeaderError{Leader: address}
}

// Confirm answers the question of a confirmed read. It does not block.
func (h peerHandler) Confirm() cluster.Confirmation { return h.n.replica.confirmSelf() }

// Join makes the sender a member, or takes note of its new address.
func (h peerHandler) Join(ctx context.Context, request cluster.JoinRequest) error {
	if request.ID == h.n.replica.id && request.Address != raft.ServerAddress(h.n.config.Transport.PublishAddress()) {
		return h.n.meetTwin(request.Address)
	}
	release, err := h.n.lockJoining(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, fit := h.n.replica.inOffice(); !fit {
		return h.notLeader() // it does not know yet what its predecessors have done
	}
	if own := h.n.descent.own(); own != request.Lineage {
		return fmt.Errorf("%w: the cluster was recovered, and %s is not of the same recovery; empty its path.data and start it, and it joins as a new member", cluster.ErrRefused, request.Name)
	}
	if level := h.n.replica.state.Level(); request.Level < level {
		return fmt.Errorf("%w: the cluster has reached command-set level %d, and the release of jeton on %s understands %d at most: install a later one",
			cluster.ErrRefused, level, request.Name, request.Level)
	}
	if known := configuredAddress(h.n.replica.servers(), request.ID); known != "" && known != request.Address && h.n.twinAt(ctx, request.ID, known) {
		return fmt.Errorf("%w: %w", cluster.ErrRefused, twinError(request.ID, known))
	}
	suffrage, err := h.n.membership.AddOrUpdate(ctx, request.ID, request.Address)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	h.n.log.Info("member added or updated", "peer", request.Name, "server_id", request.ID, "address", request.Address, "suffrage", suffrage)
	return nil
}

// Leave removes a member.
func (h peerHandler) Leave(ctx context.Context, id raft.ServerID) error {
	if err := h.n.membership.Remove(ctx, id, 1); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	h.n.log.Info("member removed", "server_id", id)
	return nil
}

// Transfer hands over the leadership.
func (h peerHandler) Transfer(ctx context.Context, id raft.ServerID) (raft.ServerID, error) {
	leader, err := h.n.transfer(ctx, id)
	if err != nil {
		return "", fmt.Errorf("transfer: %w", err)
	}
	return leader, nil
}

// Exchange answers who saves this node's state.
func (h peerHandler) Exchange(ctx, conn context.Context, question []byte) ([]byte, error) {
	answer, err := h.n.backups.Answer(ctx, conn, question)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrRefused, err)
	}
	return answer, nil
}

// Status describes this node.
func (h peerHandler) Status(context.Context) (cluster.Status, error) { return h.n.status(), nil }

// identify says who this node is, which it knows before raft has started.
func (n *Node) identify() cluster.Status {
	return cluster.Status{
		ServerID:         n.replica.id,
		Process:          n.process,
		Name:             n.config.NodeName,
		ClusterName:      n.config.ClusterName,
		TransportAddress: raft.ServerAddress(n.config.Transport.PublishAddress()),
		HTTPAddress:      n.config.HTTP.PublishAddress(),
		Version:          n.version,
		Lineage:          n.descent.own(),
		KeyCheck:         n.keyCheck,
		Level:            n.replica.levels.highest,
	}
}

func (n *Node) status() cluster.Status {
	r := n.replica
	_, leader := r.raft.LeaderWithID()
	servers := r.servers()
	members := make([]cluster.Member, len(servers))
	for i, server := range servers {
		members[i] = cluster.Member{ID: server.ID, Address: server.Address, Voter: server.Suffrage == raft.Voter, Name: n.names.of(server.ID)}
	}
	status := n.identify()
	status.ClusterID, _, _ = r.state.Cluster()
	status.Bootstrapped = r.raft.LastIndex() > 0 || len(servers) > 0
	status.State = r.raft.State().String()
	status.Waiting = n.waitsFor()
	status.Term = r.raft.CurrentTerm()
	status.Applied = r.state.Applied()
	status.LastTerm, status.LastIndex = r.lastEntry()
	status.LastContact = r.lastContact().Milliseconds()
	status.LeaderID = leader
	status.Members = members
	status.ClusterLevel = r.state.Level()
	sum := r.state.Summary()
	status.Read, status.Epoch, status.Ancestors = true, sum.Epoch, ancestorsOf(sum)
	n.judge(&status)
	return status
}
