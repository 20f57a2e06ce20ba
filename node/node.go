package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	autopilot "github.com/hashicorp/raft-autopilot"

	"jeton/cluster"
	"jeton/node/backup"
	"jeton/node/certs"
	"jeton/node/config"
	"jeton/node/realm"
	"jeton/node/token"
)

// Options is what [Open] needs.
type Options struct {
	Config  *config.Config // validated
	Logger  hclog.Logger
	Stdout  io.Writer // a terminal, where a generated password is printed; nil: it is left in path.data
	Version string    // of the program, for people

	wallTime func() time.Time // nil: the machine's; tests open data of long ago
	patience time.Duration    // zero: recoveryPatience
}

// Node is one running member of the cluster. Its exported methods may be called
// concurrently.
type Node struct {
	config   *config.Config
	process  string // see newProcess
	log      hclog.Logger
	stdout   io.Writer
	version  string
	wallTime func() time.Time // nil: the machine's
	patience time.Duration

	dir          *dataDir
	transportTLS *certs.Reloader
	httpTLS      *certs.Reloader // nil: plain HTTP
	certificates []*certs.Reloader
	clusterKey   []byte
	keyCheck     [32]byte

	addresses  *addressBook
	names      nameBook
	descent    descent
	abroad     abroad
	doorman    *doorman
	client     *cluster.Client
	service    *cluster.Service
	replica    *replica
	membership *cluster.Membership
	backups    *backup.Server
	proposer   *proposer
	revoker    *proposer // of what may have to wait for the holders of read leases
	confirmer  *confirmer
	mirror     func(context.Context) (cluster.Status, error) // asks who lives at this node's address, by a new connection
	rival      rival                                         // of keepMembership alone
	absence    absence                                       // of keepMembership alone

	realms    *realm.Chain
	users     *realm.Users
	tokens    *token.Service
	front     *front
	readiness readiness

	waiting     atomic.Pointer[string] // for what, to be a member; nil: nothing was looked for yet
	member      atomic.Bool            // this node is in the cluster's configuration
	initialized atomic.Bool            // the cluster has its identity, elastic a password
	draining    atomic.Bool            // readiness is off

	joining        chan struct{}                   // holds a value while a leader lets somebody in, or raises the level
	health         atomic.Pointer[autopilot.State] // of the members, as a leader sees it; nil: it does not lead
	transferring   atomic.Bool                     // this leader hands over
	transferFailed atomic.Bool                     // and it did not succeed, the last time

	background sync.WaitGroup // ends with the context of openBackground
	serving    sync.WaitGroup // ends with the listeners
	closers    []closer
	closing    sync.Once
	closeErr   error
	failed     chan error // buffered: the first reason to end
	closed     chan struct{}
}

// closer undoes one step of Open.
type closer struct {
	what string
	do   func() error
}

// Open starts a member: it returns when the node listens, which is before it is
// ready (see Ready). The steps are in the order in which they depend on each
// other; Close undoes them in reverse.
func Open(ctx context.Context, o Options) (*Node, error) {
	n := &Node{
		config: o.Config, process: newProcess(), log: o.Logger, stdout: o.Stdout, version: o.Version,
		failed: make(chan error, 1), closed: make(chan struct{}), addresses: newAddressBook(), joining: make(chan struct{}, 1),
		wallTime: o.wallTime, patience: cmp.Or(o.patience, recoveryPatience),
	}
	for _, step := range []func(context.Context) error{
		n.openDataDir,
		n.openSecrets,
		n.openReplica,
		n.openServices,
		n.openHTTP,
		n.openBackground,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

func (n *Node) onClose(what string, do func() error) {
	n.closers = append(n.closers, closer{what, do})
}

func (n *Node) openDataDir(context.Context) error {
	dir, err := openDataDir(n.config.DataPath, n.config.ClusterName)
	if err != nil {
		return err
	}
	n.dir = dir
	n.onClose("data folder", dir.close)
	return nil
}

// openSecrets reads certificates and the cluster key, and refuses what peers
// would refuse.
func (n *Node) openSecrets(context.Context) error {
	self := certs.Identity{Cluster: n.config.ClusterName, Node: n.config.NodeName}
	transport, err := certs.NewTransport(n.config.Transport.TLS.Files, self, wallTime)
	if err != nil {
		return fmt.Errorf("transport certificate: %w", err)
	}
	n.transportTLS = transport
	n.certificates = append(n.certificates, transport)
	if n.config.HTTP.TLS.Enabled {
		if n.httpTLS, err = certs.NewHTTP(n.config.HTTP.TLS.Files, wallTime); err != nil {
			return fmt.Errorf("http certificate: %w", err)
		}
		n.certificates = append(n.certificates, n.httpTLS)
	}
	for _, reloader := range n.certificates {
		for _, warning := range reloader.Warnings(expiryWarning) {
			n.log.Warn(warning)
		}
	}
	if n.clusterKey, err = certs.LoadClusterKey(n.config.Token.KeyPath); err != nil {
		return fmt.Errorf("cluster key: %w", err)
	}
	n.keyCheck, err = keyCheckOf(n.clusterKey)
	return err
}

// openReplica starts the log: stores, the port for peers, raft.
func (n *Node) openReplica(ctx context.Context) error {
	stores, err := openStores(n.dir, n.config, n.log, n.fail)
	if err != nil {
		return err
	}
	n.onClose("stores", stores.close)

	address := n.config.Transport.BindAddress()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return listenError("peers", "transport", address, err)
	}
	return n.openRaft(ctx, stores, listener)
}
