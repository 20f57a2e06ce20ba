package node

import (
	"cmp"
	"errors"
	"slices"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// listedElsewhere returns the address at which a leader looks for this node, if it is not
// where this node is: peers have said what they know. This node's own log need not tell. Who
// moved, had the others told, and came back before they could send that entry, is looked for
// where it is no more, for ever, while its own log has nothing to correct.
func (n *Node) listedElsewhere(peers []cluster.Status) raft.ServerAddress {
	own := n.replica.state.Summary().ClusterID
	listed, term := raft.ServerAddress(""), uint64(0)
	for _, peer := range peers {
		if peer.ClusterID != own || peer.LeaderID == "" || peer.Term < term {
			continue
		}
		for _, member := range peer.Members {
			if member.ID == n.replica.id {
				listed, term = member.Address, peer.Term
			}
		}
	}
	if listed == raft.ServerAddress(n.config.Transport.PublishAddress()) {
		return ""
	}
	return listed
}

// errUncounted is what an operator of a node that was removed while it was down is to do.
// The others do not speak to it, so its own log never tells.
var errUncounted = errors.New("the cluster goes on and does not count this node, which was removed from it; stop it, empty its path.data and start it, and it joins as a new member")

// uncounted returns an error if the cluster has a leader and does not count this node. What
// peers say of the configuration is at least as new as what this node's log says, if their
// log is.
func (n *Node) uncounted(peers []cluster.Status) error {
	own := n.replica.state.Summary().ClusterID
	term, index := n.replica.lastEntry()
	for _, peer := range peers {
		ours := peer.ClusterID == own || own == [16]byte{} // a node without a snapshot does not know yet
		older := cmp.Or(cmp.Compare(peer.LastTerm, term), cmp.Compare(peer.LastIndex, index)) < 0
		if !ours || older || peer.LeaderID == "" || len(peer.Members) == 0 {
			continue
		}
		if !slices.ContainsFunc(peer.Members, func(m cluster.Member) bool { return m.ID == n.replica.id }) {
			return errUncounted
		}
	}
	return nil
}
