package node

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// twinTimeout bounds the question whether somebody lives at a member's former address.
const twinTimeout = time.Second

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

// twinAt tells whether somebody who runs as the member with that id says that he is at
// that address. A node that has another address now is still reached at its former one on a
// machine that has both, but does not call it its own.
func (n *Node) twinAt(ctx context.Context, id raft.ServerID, address raft.ServerAddress) bool {
	ctx, cancel := context.WithTimeout(ctx, twinTimeout)
	defer cancel()
	status, err := n.replica.peers.Status(ctx, address)
	return err == nil && status.ServerID == id && status.TransportAddress == address
}

// twinError says what is wrong with two processes that run as one member: they would vote
// twice, and what one has stored would count for the other.
func twinError(id raft.ServerID, address raft.ServerAddress) error {
	return fmt.Errorf("another process runs as the member %s, at %s: two nodes must not run on copies of one folder; "+
		"stop the one that is the copy, empty its path.data and start it, and it joins as a new member", id, address)
}
