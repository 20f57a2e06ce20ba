package cluster

import (
	"errors"
	"fmt"
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
)

// TransportConfig configures a [Transport].
type TransportConfig struct {
	// Stream carries the connections; see [Service.StreamLayer]. Required. Closing
	// the Transport closes it.
	Stream raft.StreamLayer

	// AddressOf returns the present address of a member, empty if it is unknown, in
	// which case the address in raft's configuration is used. It is called before
	// every connection and every message that names this node, concurrently, and
	// must not wait for raft. Nil: always raft's configuration.
	AddressOf func(raft.ServerID) raft.ServerAddress

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
type Transport struct {
	*raft.NetworkTransport
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
	if cfg.AddressOf != nil {
		config.ServerAddressProvider = addressProvider(cfg.AddressOf)
	}
	return &Transport{raft.NewNetworkTransportWithConfig(config)}, nil
}

// SetHeartbeatHandler does nothing, on purpose; see [Transport].
func (*Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// addressProvider is a function as a raft.ServerAddressProvider.
type addressProvider func(raft.ServerID) raft.ServerAddress

// ServerAddr implements raft.ServerAddressProvider. On an error raft falls back to
// the address in its configuration.
func (p addressProvider) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if address := p(id); address != "" {
		return address, nil
	}
	return "", fmt.Errorf("no address known for member %s", id)
}
