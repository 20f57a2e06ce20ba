package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
)

// lineage names the recovery that a state descends from: how many there were, in eight
// bytes, and eight drawn at random, for one state may be recovered twice. Zero: none.
//
// A recovery leaves two sets of data that raft cannot tell apart. Members that were taken
// for lost still count the survivor as a voter. If they came back with their data, enough of
// them could elect a leader, whose term would make the survivor its follower; whose log
// would replace the survivor's where the two differ; and the state, which is not the same
// any more, would apply its entries. What was acknowledged since would be gone.
//
// So raft never speaks across lineages (cluster.ServiceConfig), and this is why none of it gets by:
//
//   - The lineage is a part of the state, and so of the snapshot that a recovery ends with. They are
//     on the disk together or not at all. No entry of the log changes it, so a member has its lineage
//     as soon as raft has read the snapshot, whatever else it has to apply.
//   - A node that has data is of no lineage, and nobody's raft speaks to it nor it to others, until it
//     has read its state and asked the other members (reunite). One without is of none, just so,
//     until it knows whom it joins, or that it begins a cluster (firstStart). From then on it
//     never changes while the process lives.
//   - A recovered log begins after the snapshot (further), so a new member gets that
//     snapshot before anything else, and with it the lineage. Until then it has no entry: if
//     its process ends it chooses anew, and nothing is mixed.
//
// A quorum for a read needs no such check. It is of voters that one leader counts, in its
// term; who was recovered votes for no former leader any more, so any later leader of the
// former cluster has voters in common with that quorum, as if the recovered one had died.
type lineage [16]byte

// recoveries is how many there were.
func (l lineage) recoveries() uint64 { return binary.BigEndian.Uint64(l[:8]) }

// descent is what a node knows of its own lineage.
type descent struct {
	settled atomic.Pointer[lineage]
}

// settle is final.
func (d *descent) settle(l lineage) { d.settled.CompareAndSwap(nil, &l) }

// own is zero, too, if it is not settled yet.
func (d *descent) own() lineage {
	if l := d.settled.Load(); l != nil {
		return *l
	}
	return lineage{}
}

// told is what other nodes are told; see cluster.ServiceConfig.
func (d *descent) told() (told [16]byte) {
	if l := d.settled.Load(); l != nil {
		return *l
	}
	for i := range told {
		told[i] = 0xff
	}
	return told
}

// heard tells whether what a peer was told still holds, whose raft is about to speak to this
// node's. It settles nothing: whoever dials has not looked yet whether it means this node.
func (d *descent) heard(told [16]byte) bool {
	return d.settled.Load() != nil && d.own() == told
}

// outlived tells whether a cluster of that lineage has been recovered without this node.
func (d *descent) outlived(by lineage) bool {
	l := d.settled.Load()
	return l != nil && by.recoveries() > l.recoveries()
}

// errLeftBehind ends a node that can only do harm: it might find others like itself and
// serve what they still have, which ended in the recovered cluster.
var errLeftBehind = errors.New("the cluster was recovered without this node, whose data are from before; empty its path.data and start it, and it joins as a new member")

// metForeign is called when a member that raft dialled is of another lineage.
func (n *Node) metForeign([16]byte) { n.abroad.met.Store(true) }

// abroadInterval is how often a member of a cluster that has a leader looks for others.
const abroadInterval = 10 * time.Second

// abroad is where the same cluster may go on in another lineage.
type abroad struct {
	met      atomic.Bool // raft has dialled one
	lookedAt time.Time   // of keepMembership alone
	warnedAt time.Time   // likewise
}

// lookAround asks others who they are, and returns those that are of this node's lineage: nothing
// is true of its cluster that a part of it says which went on without it, or was left behind.
// It ends this node if the cluster has gone on without it.
func (n *Node) lookAround(ctx context.Context, servers []raft.Server) (kin []cluster.Status, err error) {
	peers, _ := n.ask(ctx, n.hostsToAsk(servers))
	own := n.replica.summary()
	if leftBehind(peers, own) {
		return nil, n.end(errLeftBehind)
	}
	if time.Since(n.abroad.warnedAt) >= complaintInterval {
		n.warnOfCousins(peers, own)
	}
	return slices.DeleteFunc(peers, func(peer cluster.Status) bool { return peer.Lineage != own.Lineage }), nil
}

// hostsToAsk are the seed hosts as long as there is no leader, and everybody when raft has met
// somebody of another lineage. Also with a leader, who may be of those that were left behind, the
// seed hosts are asked now and then that are no members, or not any more: raft dials them no more.
func (n *Node) hostsToAsk(servers []raft.Server) []string {
	hosts := n.others(servers)
	if n.abroad.met.Swap(false) {
		return hosts
	}
	if leader, _ := n.replica.raft.LeaderWithID(); leader == "" {
		return n.config.Discovery.SeedHosts
	}
	if time.Since(n.abroad.lookedAt) < abroadInterval {
		return nil
	}
	n.abroad.lookedAt = time.Now()
	return slices.DeleteFunc(hosts, func(host string) bool {
		return slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.Address) == host })
	})
}

// warnOfCousins names those that were recovered apart from this node. Which of the two is to go on only an
// operator knows.
func (n *Node) warnOfCousins(peers []cluster.Status, own fsm.Summary) {
	for _, peer := range peers {
		if kinship(peer, own) == cousin {
			n.log.Warn("recovered apart: another node was recovered from data of this cluster, and both go on; decide which of the two it is to be, stop the other, and empty its path.data",
				"node", n.config.NodeName, "other", peer.Name, "address", peer.TransportAddress)
			n.abroad.warnedAt = time.Now()
		}
	}
}

const (
	// reunionTimeout bounds how long a node that starts waits for others to answer.
	reunionTimeout = time.Second
	// reunionTurns is how many times as long as a recovery asks others it waits for those that
	// answer, and have not read their state: a minute. Who hangs in that must not keep a
	// cluster from starting.
	reunionTurns = 12
)

// reunite asks all that this node knows whether the cluster has gone on without it, and then
// settles its lineage, if it has any data. Raft runs already, but cut off: see lineage. Who
// is being recovered, or has not read its state, does not know yet: it is asked again.
func (n *Node) reunite(ctx context.Context, hasData bool) error {
	if !hasData {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, reunionTurns*n.patience)
	defer cancel()
	own := n.replica.summary()
	for said := ""; ; pause(patience, recoveryPause) {
		asking, answered := context.WithTimeout(patience, reunionTimeout)
		peers, _ := n.askStatus(asking, n.others(n.replica.servers()))
		answered()
		if leftBehind(peers, own) {
			return errLeftBehind
		}
		n.warnOfCousins(peers, own)
		starting := slices.IndexFunc(peers, unread)
		if starting < 0 || patience.Err() != nil {
			break
		}
		if peer := peers[starting]; peer.Name != said {
			n.log.Info("waiting for a node that is starting: the cluster may have been recovered from it", "peer", peer.Name, "address", peer.TransportAddress)
			said = peer.Name
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("ask the other nodes: %w", ctx.Err())
	}
	n.descent.settle(own.Lineage)
	return nil
}

// unread tells whether a peer has data, and has not read yet of which lineage they are.
func unread(peer cluster.Status) bool { return peer.Bootstrapped && !peer.Read }

// others are the addresses at which other nodes may be.
func (n *Node) others(members []raft.Server) (addresses []string) {
	for _, seed := range n.config.Discovery.SeedHosts {
		if seed != n.config.Transport.PublishAddress() {
			addresses = append(addresses, seed)
		}
	}
	for _, member := range members {
		if member.ID != n.replica.id {
			addresses = append(addresses, string(member.Address))
		}
	}
	return addresses
}

// family says how the data of a peer are related to this node's.
type family int

const (
	stranger   family = iota // of another cluster, or it is not known
	sibling                  // of the same recovery, or none was
	ancestor                 // it was left behind by this node
	descendant               // it has left this node behind
	cousin                   // both were recovered, apart from each other
)

// kinship compares a peer's data with a node's own. A node without a snapshot does not know which
// cluster it is of before it meets a leader, and is of no recovery.
func kinship(peer cluster.Status, own fsm.Summary) family {
	mine, theirs := lineage(own.Lineage), lineage(peer.Lineage)
	switch {
	case peer.ClusterID != own.ClusterID && own.ClusterID != [16]byte{}:
		return stranger
	case theirs == mine:
		return sibling
	case theirs.descends(peer.Ancestors, mine):
		return descendant
	case mine.descends(ancestorsOf(own), theirs):
		return ancestor
	default:
		return cousin
	}
}

// descends tells whether a lineage with these ancestors descends from another. Of one that was
// forgotten it is taken for granted.
func (l lineage) descends(ancestors [][8]byte, from lineage) bool {
	if l.recoveries() <= from.recoveries() {
		return false
	}
	generations := l.recoveries() - from.recoveries()
	return from.recoveries() == 0 || generations > uint64(len(ancestors)) || ancestors[generations-1] == [8]byte(from[8:])
}

// ancestorsOf returns the ids of the lineages before a state's, newest first, as far as they are remembered.
func ancestorsOf(sum fsm.Summary) [][8]byte {
	before := max(lineage(sum.Lineage).recoveries(), 1) - 1 // the first recovery was of none
	return slices.Clone(sum.Ancestors[:min(before, uint64(len(sum.Ancestors)))])
}

// leftBehind tells whether one of these nodes belongs to the same cluster after a later
// recovery, from what this node has.
func leftBehind(peers []cluster.Status, own fsm.Summary) bool {
	return slices.ContainsFunc(peers, func(peer cluster.Status) bool { return kinship(peer, own) == descendant })
}

// newestLineage returns whom a new node may join: of those that have data the ones of the
// newest lineage, from which all others were left behind. The reason is why it has to wait, empty if it has not.
func newestLineage(peers []cluster.Status) (kin []cluster.Status, newest lineage, reason string) {
	var starting, first string // names
	var ancestors [][8]byte    // of the newest
	for _, peer := range peers {
		switch l := lineage(peer.Lineage); {
		case peer.State == stateRecovering:
			return nil, newest, fmt.Sprintf("waiting for %s, from which the cluster is being recovered", peer.Name)
		case !peer.Bootstrapped:
		case unread(peer):
			starting = peer.Name
		case first == "" || l.recoveries() > newest.recoveries():
			newest, ancestors, first = l, peer.Ancestors, peer.Name
		}
	}
	if starting != "" {
		return nil, newest, fmt.Sprintf("waiting for %s, which is starting", starting)
	}
	for _, peer := range peers {
		l := lineage(peer.Lineage)
		switch {
		case !peer.Bootstrapped, l == newest:
			kin = append(kin, peer)
		case !newest.descends(ancestors, l):
			return nil, newest, fmt.Sprintf("%s and %s were both recovered, each alone: decide which of them goes on, stop the other, and empty its path.data", first, peer.Name)
		}
	}
	return kin, newest, ""
}
