package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Defaults of a [TransportConfig].
const (
	// defaultRaftTimeout bounds one AppendEntries round trip, a follower's fsync
	// included. A disk that is slower stops its node ([Watched]), so waiting longer
	// gains nothing.
	defaultRaftTimeout = storeLimit
	// defaultMaxPool is enough for a heartbeat, a vote and a replication stream
	// between two nodes to be pooled at once.
	defaultMaxPool = 3
	// inboxSize lets LearnCommit leave its message while raft is busy for a moment.
	inboxSize = 4
)

// TransportConfig configures a [Transport].
type TransportConfig struct {
	// Stream carries the connections; see [Service.StreamLayer]. Required. Closing
	// the Transport closes it.
	Stream raft.StreamLayer

	// AddressOf returns the present address of a member, empty if it is unknown, in
	// which case the address in raft's configuration is used. It is called before
	// every request, concurrently, and must not wait for raft. Nil: always raft's
	// configuration.
	AddressOf func(raft.ServerID) raft.ServerAddress

	// Incoming is called with every AppendEntries request from a peer before raft gets
	// it, and may change it. Nil: nobody looks.
	Incoming func(*raft.AppendEntriesRequest)

	// Outgrown tells whether raft must not get a snapshot, since this node's log begins
	// only after what follows it; see [Transport]. Nil: raft gets all.
	Outgrown func(*raft.InstallSnapshotRequest) bool

	// Appended is called, concurrently, when a member has answered that it appended
	// the log of a term's leader, this node, up to and including index. It must not
	// block. Nil: nobody asks.
	Appended func(id raft.ServerID, term, index uint64)

	// Timeout bounds one request to a peer; a snapshot gets this much for each
	// 256 KiB. Default 5 s.
	Timeout time.Duration

	// Logger is raft's. Nil: nothing is logged.
	Logger hclog.Logger
}

// Transport is raft's network transport without its fast path for heartbeats.
//
// That path answers a heartbeat on the goroutine of its connection, and changes
// the term and the state of raft under its main loop, which may then write an
// entry of the old leader with the new term: the logs diverge (hashicorp/raft
// #695). Without a handler heartbeats go through the main loop like any other
// request. The price is that a slow fsync delays heartbeat answers, so keep
// HeartbeatTimeout at one second or more.
//
// A leader sends a snapshot again when the answer was lost, and it may arrive late. Raft goes
// back to it, and panics if the log does not reach back as far. Such a one is answered as
// installed: this node has what is in it.
type Transport struct {
	*raft.NetworkTransport
	addressOf func(raft.ServerID) raft.ServerAddress
	incoming  func(*raft.AppendEntriesRequest)
	outgrown  func(*raft.InstallSnapshotRequest) bool
	appended  func(id raft.ServerID, term, index uint64)
	inbox     chan raft.RPC // what raft consumes: the network's, and what LearnCommit adds
	closed    chan struct{}
	close     sync.Once
	relay     sync.WaitGroup
}

// NewTransport starts a transport. Its goroutines end with Close.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	if cfg.Stream == nil {
		return nil, errors.New("raft transport: no stream layer")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultRaftTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	config := &raft.NetworkTransportConfig{
		Stream:  cfg.Stream,
		MaxPool: defaultMaxPool,
		Timeout: cfg.Timeout,
		Logger:  cfg.Logger,
		// The same in transport and store on all nodes, for ever.
		MsgpackUseNewTimeFormat: true,
	}
	if cfg.Incoming == nil {
		cfg.Incoming = func(*raft.AppendEntriesRequest) {}
	}
	if cfg.Outgrown == nil {
		cfg.Outgrown = func(*raft.InstallSnapshotRequest) bool { return false }
	}
	if cfg.Appended == nil {
		cfg.Appended = func(raft.ServerID, uint64, uint64) {}
	}
	t := &Transport{
		addressOf:        cfg.AddressOf,
		incoming:         cfg.Incoming,
		outgrown:         cfg.Outgrown,
		appended:         cfg.Appended,
		NetworkTransport: raft.NewNetworkTransportWithConfig(config),
		inbox:            make(chan raft.RPC, inboxSize),
		closed:           make(chan struct{}),
	}
	t.relay.Go(t.forward)
	return t, nil
}

// forward hands what comes from the network to raft.
func (t *Transport) forward() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			switch request := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				t.incoming(request)
			case *raft.InstallSnapshotRequest:
				if t.outgrown(request) {
					go answerOutgrown(rpc) // ends with the connection at the latest
					continue
				}
			}
			select {
			case t.inbox <- rpc:
			case <-t.closed:
				return
			}
		case <-t.closed:
			return
		}
	}
}

// answerOutgrown reads a snapshot of which nothing is news to its end, as raft does, for
// the next request comes after it. It answers without a term, so that the leader's raft goes
// on behind that snapshot, and its [TransportConfig.Appended] hears nothing: the newer
// snapshot is on this node's disk, but its state may be in the making still.
func answerOutgrown(rpc raft.RPC) {
	_, err := io.Copy(io.Discard, rpc.Reader)
	rpc.Respond(&raft.InstallSnapshotResponse{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Success: err == nil,
	}, err)
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.inbox }

// Close ends the transport's goroutines and closes the stream layer.
func (t *Transport) Close() error {
	t.close.Do(func() { close(t.closed) })
	t.relay.Wait()
	if err := t.NetworkTransport.Close(); err != nil {
		return fmt.Errorf("close raft's transport: %w", err)
	}
	return nil
}

// LearnCommit tells this node's raft what the leader of a term said outside of
// raft: that the entry at index, of entryTerm, is committed. Raft hears of a commit
// only with the next entry or after its CommitTimeout; a reader here may know
// already, and waits. So raft is handed the very AppendEntries, without entries,
// that the leader would send then, and makes its own checks: the term must not be
// over, and its log must hold that entry. Nothing happens if either fails, or while
// raft is too busy to take messages. Does not block; safe for concurrent use.
func (t *Transport) LearnCommit(leader raft.ServerID, address raft.ServerAddress, term, index, entryTerm uint64) {
	header := raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(leader),
		Addr:            t.EncodePeer(leader, address),
	}
	t.deliver(&raft.AppendEntriesRequest{
		RPCHeader:         header,
		Term:              term,
		PrevLogEntry:      index,
		PrevLogTerm:       entryTerm,
		LeaderCommitIndex: index,
	})
}

// StandForElection has this node's raft become a candidate at once, as the message TimeoutNow
// of a leader that hands over would; nothing happens while raft is too busy to take messages.
// A candidate stays in its election until that times out. To leave one that was lost, raft is
// handed the request for a vote that a candidate of the term after lost would send whose log is
// empty; zero: there is none to leave. Only for voters, who have a log. It is safe at any moment,
// for elections are; it disturbs a leader that is well. Does not block; safe for concurrent use.
func (t *Transport) StandForElection(lost uint64) {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}
	if lost > 0 {
		t.deliver(&raft.RequestVoteRequest{RPCHeader: header, Term: lost + 1})
	}
	t.deliver(&raft.TimeoutNowRequest{RPCHeader: header})
}

// deliver hands raft a message, unless it is too busy to take any.
func (t *Transport) deliver(command any) {
	rpc := raft.RPC{Command: command, RespChan: make(chan raft.RPCResponse, 1)} // nobody reads the answer
	select {
	case t.inbox <- rpc:
	case <-t.closed:
	default:
	}
}

// SetHeartbeatHandler does nothing, on purpose; see [Transport].
func (*Transport) SetHeartbeatHandler(func(raft.RPC)) {}
