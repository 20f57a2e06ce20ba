package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// twinTimeout bounds the question whether somebody else lives at a member's address.
const twinTimeout = time.Second

// newProcess draws what tells this process from all others that run as the same member.
func newProcess() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// keepAlone ends this node when another process runs as the same member: on a copy of its
// folder, or of its machine. It asks who lives at the address that this node publishes, at
// the start and, until ctx ends, while it knows no leader, as one of the two does before long
// if others can reach only one. To hear nothing is no evidence: not everybody reaches
// itself by that address. To hear a former process is impossible: it had ended, and its
// port was closed, when this one got hold of the folder.
func (n *Node) keepAlone(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		if leader, _ := n.replica.raft.LeaderWithID(); first || leader == "" {
			asking, cancel := context.WithTimeout(ctx, twinTimeout)
			status, err := n.mirror(asking)
			cancel()
			if err == nil && status.ServerID == n.replica.id && status.Process != n.process {
				n.fail(n.twinError(status.TransportAddress))
			}
		}
		pause(ctx, watchInterval)
	}
}

// askOwnAddress asks who lives at the address that this node publishes. It connects anew, since
// a name or a moving address may lead to one process now and to another one later.
func (n *Node) askOwnAddress(ctx context.Context) (cluster.Status, error) {
	client, err := cluster.NewClient(cluster.ClientConfig{ClusterName: n.config.ClusterName, TLS: n.peerTLS, Now: time.Now})
	if err != nil {
		return cluster.Status{}, fmt.Errorf("ask for oneself: %w", err)
	}
	defer func() { _ = client.Close() }() // always nil
	return client.Status(ctx, raft.ServerAddress(n.config.Transport.PublishAddress()))
}

// rival is another process of this member, as a leader knows it.
type rival struct {
	leader  raft.ServerID
	term    uint64
	process string
	answers uint64 // when it was first heard of
}

// outrun tells whether another process of this member is among the peers, or a leader hears
// one. That may be a former one: what the leader says can be from before this one began, and
// one more answer can have been on its way. The next one was asked for after this
// process had begun.
func (n *Node) outrun(peers []cluster.Status) (at raft.ServerAddress, found bool) {
	for _, peer := range peers {
		if peer.ServerID == n.replica.id && peer.Process != n.process {
			return peer.TransportAddress, true
		}
		for _, member := range peer.Members {
			if !peer.Judged || member.ID != n.replica.id || member.Process == "" || member.Process == n.process {
				continue
			}
			met := rival{leader: peer.ServerID, term: peer.Term, process: member.Process, answers: n.rival.answers}
			if n.rival == met && member.Answers >= met.answers+2 {
				return member.Address, true
			}
			if n.rival != met || member.Answers < met.answers {
				met.answers = member.Answers
				n.rival = met
			}
		}
	}
	return "", false
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

// endAsTwin ends this node, which must not run beside the one at that address. Who is there is
// told, for its operator may look there first.
func (n *Node) endAsTwin(ctx context.Context, other raft.ServerAddress) error {
	if own := raft.ServerAddress(n.config.Transport.PublishAddress()); other != own {
		ctx, cancel := context.WithTimeout(ctx, twinTimeout)
		defer cancel()
		request := cluster.JoinRequest{ID: n.replica.id, Address: own, Level: n.replica.levels.highest, Lineage: n.descent.own()}
		if err := n.replica.peers.Join(ctx, other, request); err != nil { // as it must be: see meetTwin
			n.log.Debug("the other process was told", "address", other, "error", err)
		}
	}
	return n.end(n.twinError(other))
}

// meetTwin refuses another process of this member, which has just found this one.
func (n *Node) meetTwin(address raft.ServerAddress) error {
	n.log.Warn("another process was started as this member, on a copy of its path.data, and ends; empty that copy: two nodes must not run on copies of one folder",
		"server_id", n.replica.id, "address", address)
	return fmt.Errorf("%w: %w", cluster.ErrRefused, twinError(n.replica.id, raft.ServerAddress(n.config.Transport.PublishAddress())))
}

// twinError says why this node ends beside the process at that address. Who is not where the
// members know this one to be is the copy.
func (n *Node) twinError(other raft.ServerAddress) error {
	own := raft.ServerAddress(n.config.Transport.PublishAddress())
	if other == own || own == configuredAddress(n.replica.servers(), n.replica.id) {
		return twinError(n.replica.id, other)
	}
	return fmt.Errorf("the member %s already runs at %s; this process (%s) has the same node.json, so it was started on a copy. "+
		"It has ended; the other goes on. Empty this path.data and start it, and it joins as a new member", n.replica.id, other, own)
}

// twinError says what is wrong with two processes that run as one member: they would vote
// twice, and what one has stored would count for the other.
func twinError(id raft.ServerID, address raft.ServerAddress) error {
	return fmt.Errorf("another process runs as the member %s, at %s: two nodes must not run on copies of one folder; "+
		"stop the one that is the copy, empty its path.data and start it, and it joins as a new member", id, address)
}
