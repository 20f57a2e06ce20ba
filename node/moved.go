package node

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/config"
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

// errRemoved ends a node that was removed from its cluster.
var errRemoved = errors.New("this node was removed from the cluster; to join again as a new member, empty its path.data and start it")

// errUncounted is what an operator of a node that was removed while it was down is to do, as
// long as that is not certain. The others do not speak to it, so its own log never tells.
var errUncounted = errors.New("the cluster goes on and does not count this node, which was removed from it; stop it, empty its path.data and start it, and it joins as a new member")

// uncounted returns an error if the cluster has a leader and does not count this node.
func (n *Node) uncounted(peers []cluster.Status) error {
	own := n.replica.state.Summary().ClusterID
	for _, peer := range peers {
		ours := peer.ClusterID == own || own == [16]byte{} // a node without a snapshot does not know yet
		if ours && peer.LeaderID != "" && n.missedBy(peer) {
			return errUncounted
		}
	}
	return nil
}

// missedBy tells whether a peer's newest configuration lacks this node, and is at least as new
// as what this node's log says, because the peer's log is.
func (n *Node) missedBy(peer cluster.Status) bool {
	term, index := n.replica.lastEntry()
	older := cmp.Or(cmp.Compare(peer.LastTerm, term), cmp.Compare(peer.LastIndex, index)) < 0
	return !older && len(peer.Members) > 0 &&
		!slices.ContainsFunc(peer.Members, func(m cluster.Member) bool { return m.ID == n.replica.id })
}

// absence is that a leader does not count this node.
type absence struct {
	leader raft.ServerID
	term   uint64
	since  time.Time // it has said so at every look
}

// removed tells whether it is certain that this node was removed: a leader of the cluster
// that it belongs to does not count it, and says so again in the same term, later than it
// would have stepped down if most of the members had not followed it. So nobody else has led
// meanwhile who might know better, and what it says is no removal that nobody agrees to. A
// member whose addition this node has not got yet is counted by whoever leads; so is one that was
// removed and added again.
func (n *Node) removed(peers []cluster.Status) bool {
	own := n.replica.clusterID()
	for _, peer := range peers {
		ours := own != [16]byte{} && peer.ClusterID == own && peer.Lineage == n.descent.own()
		leads := peer.Judged && peer.LeaderID == peer.ServerID && peer.Term >= n.replica.raft.CurrentTerm()
		if !ours || !leads || !n.missedBy(peer) {
			continue
		}
		if n.absence.leader == peer.ServerID && n.absence.term == peer.Term {
			return time.Since(n.absence.since) > absencePatience(n.config)
		}
		n.absence = absence{peer.ServerID, peer.Term, time.Now()}
		return false
	}
	n.absence = absence{}
	return false
}

// absencePatience is several times as long as a leader leads whom nobody follows.
func absencePatience(c *config.Config) time.Duration {
	return max(watchInterval, 2*c.Raft.HeartbeatTimeout)
}

// summary is that of the state, with the cluster's identity also before anything is applied: any other
// cluster that was recovered would seem to be this one's future.
func (r *replica) summary() fsm.Summary {
	summary := r.state.Summary()
	summary.ClusterID = r.clusterID()
	return summary
}

// maxCradle bounds how far into its log a node looks for its cluster's identity.
const maxCradle = 64

// clusterID is of the cluster that this node's data belong to, zero if it is not known. A log
// from which nothing is applied yet tells by its first entries.
func (r *replica) clusterID() [16]byte {
	if id, _, known := r.state.Cluster(); known {
		return id
	}
	begun := fsm.New(nil)
	for index := uint64(1); index <= maxCradle; index++ {
		var entry raft.Log
		if err := r.logs.GetLog(index, &entry); err != nil {
			return [16]byte{}
		}
		begun.Apply(&entry)
		if id, _, known := begun.Cluster(); known {
			return id
		}
	}
	return [16]byte{}
}
