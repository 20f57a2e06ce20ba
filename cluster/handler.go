package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// Handler is the node behind a [Service]: it answers what peers ask. Its methods
// are called concurrently, and only for peers whose certificate says that they
// are a node of this cluster.
//
// An error travels to the peer as one of four codes. One that wraps
// [ErrNotLeader] (best a [*NotLeaderError], which carries a hint), one that wraps
// [ErrOverloaded], and one that wraps [ErrRefused] say that nothing was done.
// Anything else says that the outcome is unknown. The text of a refusal and of an
// unknown outcome is sent along and must hold no secret.
type Handler interface {
	// Propose appends commands to the log, if this node leads, and returns one
	// outcome for each. Commands and outcomes are opaque to this package. Peer is the
	// node name in the sender's certificate. The context ends with the caller's
	// patience, with its connection or with the Service, whose Close waits for this to
	// return. The handler may keep the commands.
	Propose(ctx context.Context, peer string, commands [][]byte) (outcomes [][]byte, err error)

	// Confirm says what this node knows of terms and leadership now. It is called
	// on the goroutine that reads the connection, so it must not block, nor wait
	// for a lock that is held during I/O.
	Confirm() Confirmation

	// Join makes the asking node a member or updates its address. Leader only.
	Join(ctx context.Context, request JoinRequest) error

	// Leave removes a member. Leader only. Removing one who is no member is no error.
	Leave(ctx context.Context, id raft.ServerID) error

	// Transfer hands the leadership to a voter, or to the one that is furthest if id
	// is empty, and returns who leads then. Leader only. A voter that leads already is
	// no error.
	Transfer(ctx context.Context, id raft.ServerID) (leader raft.ServerID, err error)

	// Exchange answers a question that is opaque to this package, of at most 8 KiB less
	// four bytes, with at most 1 MiB. It may keep the question. Conn ends with the
	// connection on which the question came, and so with the process that asks.
	Exchange(ctx, conn context.Context, question []byte) (answer []byte, err error)

	// Status describes this node. It is answered by every node at any time, also
	// before its raft has started.
	Status(ctx context.Context) (Status, error)
}

// Confirmation is a node's answer to one Confirm request: who it is and what term
// it is in. Every request carries an id that is unique on its connection, and an
// answer is accepted only for a request that is still open. An answer therefore
// was made after its question was asked; that is all the nonce a confirmed read
// needs.
type Confirmation struct {
	ServerID     raft.ServerID
	Term         uint64 // the answering node's current term
	Voter        bool   // it is a voter in its latest configuration
	Leader       bool   // it leads Term and has applied everything of earlier terms
	Applied      uint64 // leader only: index that a confirmed read must wait for
	AppliedTerm  uint64 // leader only: term of that entry, 0 if it is not known; see [Transport.LearnCommit]
	Voters       uint64 // leader only: [Fingerprint] of its latest configuration
	NowUnixMilli int64  // its own clock, in milliseconds since the epoch; from a leader, the cluster's time
}

// JoinRequest asks the leader to make the sender a member, a nonvoter at first, or to
// note its new address.
type JoinRequest struct {
	ID      raft.ServerID      `json:"id"`
	Address raft.ServerAddress `json:"address"`
	// Lineage is the sender's; the leader's must be the same.
	Lineage [16]byte `json:"lineage"`
	// Level is the highest command-set level that the sender understands.
	Level uint64 `json:"level"`
	// Name is the node name in the sender's certificate. It is not sent: the
	// receiving [Service] fills it in.
	Name string `json:"-"`
}

// Member is an entry of the configuration.
type Member struct {
	ID      raft.ServerID      `json:"id"`
	Address raft.ServerAddress `json:"address"`
	Voter   bool               `json:"voter"`

	Name string `json:"name,omitempty"` // empty: who says so has never heard it

	// What follows is the leader's judgement; see [Status.Judged].
	Healthy     bool      `json:"healthy,omitempty"` // in contact and caught up
	Dead        bool      `json:"dead,omitempty"`    // silent for so long that it may be removed
	StableSince time.Time `json:"stable_since,omitzero"`
	LastContact int64     `json:"last_contact_ms,omitempty"` // how long ago, in milliseconds; below zero: never
	LastTerm    uint64    `json:"last_log_term,omitempty"`
	LastIndex   uint64    `json:"last_log_index,omitempty"`
	Process     string    `json:"process,omitempty"` // the member's, by its newest answer
	Answers     uint64    `json:"answers,omitempty"` // looks in a row at which that process has answered
}

// Status describes a node to its peers.
type Status struct {
	ServerID         raft.ServerID      `json:"server_id"`
	Process          string             `json:"process"` // drawn at random when it started: two processes must not run as one member
	Name             string             `json:"name"`
	ClusterName      string             `json:"cluster_name"`
	ClusterID        [16]byte           `json:"cluster_id"` // zero until the state machine holds one
	TransportAddress raft.ServerAddress `json:"transport_address"`
	HTTPAddress      string             `json:"http_address"`
	Version          string             `json:"version"`
	Bootstrapped     bool               `json:"bootstrapped"`      // it has raft state: a log, a term or a snapshot
	State            string             `json:"state"`             // raft's word: Follower, Candidate, Leader, Shutdown; empty before raft has started
	Waiting          string             `json:"waiting,omitempty"` // what it lacks to be a member, for an operator
	Term             uint64             `json:"term"`
	Applied          uint64             `json:"applied"`
	LastTerm         uint64             `json:"last_log_term"`       // of the newest entry it holds, committed or not
	LastIndex        uint64             `json:"last_log_index"`      // of that entry
	LastContact      int64              `json:"last_contact_ms"`     // how long ago it heard from a leader, in milliseconds; below zero: never
	LeaderID         raft.ServerID      `json:"leader_id"`           // empty if it knows none
	Members          []Member           `json:"members"`             // of the newest configuration it has
	Judged           bool               `json:"judged"`              // it leads, and tells how its members are
	FailureTolerance int                `json:"failure_tolerance"`   // if judged: how many voters may fail
	Epoch            uint64             `json:"recovery_epoch"`      // how often the cluster's state was restored or recovered
	Read             bool               `json:"read"`                // it has read its state; Lineage is not known before
	Lineage          [16]byte           `json:"lineage"`             // which recovery its data descend from; zero: of none
	Ancestors        [][8]byte          `json:"ancestors,omitempty"` // the ids of the lineages before it, newest first
	KeyCheck         [32]byte           `json:"key_check"`           // tells whether two nodes hold the same cluster key; not the key
	Level            uint64             `json:"level"`               // the highest command-set level that it understands
	ClusterLevel     uint64             `json:"cluster_level"`       // that the state it holds has reached
}
