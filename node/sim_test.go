package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/config"
	"jeton/node/realm"
	"jeton/node/token"
)

// Timing of the simulated members. Simulated time costs real time in proportion
// to the messages in it, so elections are quicker than in production.
const (
	simHeartbeat = 150 * time.Millisecond
	simCommit    = 10 * time.Millisecond
	// sleepyTimeout makes a member that does not notice that time passes: frozen,
	// it wakes like a process after SIGSTOP, with the belief that nothing happened.
	sleepyTimeout = time.Minute
	// recovery is the longest a healthy cluster may take to answer again.
	recovery = 20 * time.Second
)

// simStart is when every bubble's clock starts.
var simStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

var simClusterKey = []byte("0123456789abcdef0123456789abcdef")

// variant replaces parts of every member, to show that the checks notice.
type variant struct {
	lease      time.Duration  // of reads; 0: they are confirmed by a quorum
	tamper     func(*replica) // before the replica starts
	knows      func(*replica) func(fsm.Digest, *fsm.Identity) bool
	appender   func(*replica) appender
	electorate func(*replica) electorate
	confirm    func(*Node) func(context.Context) error

	faults  func(*sim) []func() // what to make instead of everything
	clients int                 // more than usual
	sleepy  bool                // begin with a leader that does not notice pauses
}

// simOptions is how a simulated cluster differs from the usual one: three voters.
type simOptions struct {
	seed     uint64
	members  int           // voters at the start
	spares   int           // more members, which are down and not in the configuration
	access   time.Duration // lifetime of an access token
	window   time.Duration // of a refresh; below zero: none
	trailing int           // entries of log kept after a snapshot
	variant  variant
	// formation has members find each other as in production. Else the first is
	// given the configuration.
	formation bool
	restores  bool                 // clients restore backups, too
	settings  func(*config.Config) // changes every member's; nil: none
	log       io.Writer            // of all members; nil: nowhere
}

// sim is a cluster in one process, in a synctest bubble: real raft, state machine,
// replica, proposer, confirmer and token service on a simulated network and disk.
type sim struct {
	t       *testing.T
	options simOptions
	random  *rand.Rand // for the test's own goroutine
	net     *simNet
	members []*member
	log     hclog.Logger

	restored atomic.Bool // a backup, or that has begun

	mu        sync.Mutex
	senders   map[uint64]string // term -> who sent AppendEntries in it
	entries   map[entryID][]byte
	snapshots map[uint64][]byte // index -> content
	problems  []string          // broken invariants
}

type entryID struct{ index, term uint64 }

// member is one member through all its crashes.
type member struct {
	sim     *sim
	name    string
	id      raft.ServerID
	address raft.ServerAddress
	disk    *simDisk
	skew    time.Duration // of its wall clock
	jumped  atomic.Int64  // what its wall clock was set to beside that, in nanoseconds
	rate    float64       // of its boot-time clock; zero: it is right
	sleepy  bool
	levels  *levels // of its release; nil: this one's

	mu      sync.Mutex
	process *incarnation // nil while it is down
}

// incarnation is one process of a member.
type incarnation struct {
	member *member
	node   *Node
	tokens *token.Service
	joint  *joint
	inbox  chan raft.RPC
	dead   chan struct{} // closed when it is killed
	ctx    context.Context
	cancel context.CancelFunc
}

// simulate runs a test on a simulated cluster and checks the invariants at the end.
func simulate(t *testing.T, o simOptions, test func(t *testing.T, s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, o)
		defer s.close()
		test(t, s)
		s.settle()
		for _, problem := range s.problems {
			t.Error(problem)
		}
		if t.Failed() {
			t.Logf("run again with JETON_SIM_SEED=%d", s.options.seed)
		}
	})
}

// simSeed is the seed of a test: that of a failure if it is set, else n.
func simSeed(tb testing.TB, n uint64) uint64 {
	tb.Helper()
	text, ok := os.LookupEnv("JETON_SIM_SEED")
	if !ok {
		return n
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		tb.Fatalf("JETON_SIM_SEED: %v", err)
	}
	return seed
}

func newSim(t *testing.T, o simOptions) *sim {
	t.Helper()
	if o.members == 0 {
		o.members = 3
	}
	if o.access == 0 {
		o.access = 20 * time.Minute
	}
	if o.window == 0 {
		o.window = 30 * time.Second
	}
	if o.trailing == 0 {
		o.trailing = 10_000
	}
	s := &sim{
		t: t, options: o, random: rand.New(rand.NewPCG(o.seed, 1)), log: hclog.NewNullLogger(),
		senders: map[uint64]string{}, entries: map[entryID][]byte{}, snapshots: map[uint64][]byte{},
	}
	if o.log != nil {
		s.log = hclog.New(&hclog.LoggerOptions{Output: o.log, Level: hclog.Debug})
	}
	s.net = newSimNet(rand.New(rand.NewPCG(o.seed, 2)))
	for range o.members + o.spares {
		s.add()
	}
	return s
}

// add makes another member, which is down.
func (s *sim) add() *member {
	name := "n" + strconv.Itoa(len(s.members)+1)
	m := &member{sim: s, name: name, id: raft.ServerID("id-" + name), address: raft.ServerAddress(name + ":9300"), disk: newSimDisk()}
	s.members = append(s.members, m)
	return m
}

// startAll starts every member that is down, the cluster itself if it is new, and
// waits until all answer.
func (s *sim) startAll() {
	s.t.Helper()
	voters := s.members[:s.options.members]
	for i, m := range voters {
		m.start()
		if i == 0 && !s.options.formation {
			m.bootstrap(voters)
		}
	}
	s.awaitReady()
}

func (s *sim) close() {
	s.net.heal()
	for _, m := range s.members {
		m.kill()
	}
	close(s.net.closed)
	time.Sleep(time.Minute) // messages and timers under way end; in a bubble that costs nothing
}

// nodeConfig is the configuration of a member.
func (m *member) nodeConfig() *config.Config {
	c := config.Default()
	c.ClusterName, c.NodeName = "sim", m.name
	c.Transport.Endpoint = endpointOf(m.address)
	for _, other := range m.sim.members {
		c.Discovery.SeedHosts = append(c.Discovery.SeedHosts, string(other.address))
	}
	for _, other := range m.sim.members[:m.sim.options.members] {
		c.Discovery.InitialMasterNodes = append(c.Discovery.InitialMasterNodes, other.name)
	}
	c.Raft.HeartbeatTimeout, c.Raft.ElectionTimeout = simHeartbeat, simHeartbeat
	if m.sleepy {
		c.Raft.HeartbeatTimeout, c.Raft.ElectionTimeout = sleepyTimeout, sleepyTimeout
	}
	c.Raft.TrailingLogs, c.Raft.LogCache = m.sim.options.trailing, 16
	if m.sim.options.settings != nil {
		m.sim.options.settings(c)
	}
	return c
}

func endpointOf(address raft.ServerAddress) (e config.Endpoint) {
	_, _ = fmt.Sscanf(string(bytes.ReplaceAll([]byte(address), []byte(":"), []byte(" "))), "%s %d", &e.Host, &e.Port)
	return e
}

// start starts the member's process unless one runs.
func (m *member) start() {
	if m.running() != nil {
		return
	}
	if err := m.tryStart(); err != nil {
		m.sim.t.Fatalf("start %s: %v", m.name, err)
	}
}

func (m *member) tryStart() error {
	p := &incarnation{member: m, inbox: make(chan raft.RPC, 64), dead: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.open(); err != nil {
		p.cancel()
		return err
	}
	m.mu.Lock()
	m.process = p
	m.mu.Unlock()
	m.sim.net.change(func() { m.sim.net.at[m.address] = p })
	return nil
}

// open does what Open does, on a simulated network and disk, without HTTP.
func (p *incarnation) open() error {
	m, v := p.member, p.member.sim.options.variant
	n := &Node{
		config: m.nodeConfig(), process: newProcess(), log: m.sim.log.Named(m.name), stdout: io.Discard,
		failed: make(chan error, 1), closed: make(chan struct{}), addresses: newAddressBook(), joining: make(chan struct{}, 1),
	}
	p.node = n
	r := newReplica(m.id, n.addresses, n.log, n.fail)
	r.clock = newClusterClock(m.wallTime, m.bootTime, r.clock.logged)
	r.peers = simPeers{p}
	r.nameOf = func(id raft.ServerID) string { return strings.TrimPrefix(string(id), "id-") }
	n.replica = r
	disk := mount{m.disk, p}
	stable, err := cluster.NewVoteStore(disk)
	if err != nil {
		return err
	}
	logs, err := raft.NewLogCache(n.config.Raft.LogCache, disk)
	if err != nil {
		return err
	}
	if _, err := cluster.Scrub(logs, disk); err != nil {
		return err
	}
	rc := raftConfig(n.config, m.id, n.log, r.notify)
	rc.CommitTimeout = simCommit
	transport := &simTransport{from: p, address: m.address, addressOf: n.addresses.addressOf, timeout: rc.HeartbeatTimeout * 2}
	r.learnCommit = transport.LearnCommit
	r.vigil.stand, r.vigil.turn = transport.StandForElection, simHeartbeat/vigilTurns
	r.vigil.dial = func(ctx context.Context, address raft.ServerAddress) error {
		_, err := simPeers{p}.Status(ctx, address)
		return err
	}
	r.coverage.bootTime = m.bootTime
	if m.levels != nil {
		r.levels, r.meter.levels = m.levels, m.levels
	}
	if v.lease > 0 {
		if err := r.useLease(v.lease, m.bootTime, stable); err != nil {
			return err
		}
	}
	if v.tamper != nil {
		v.tamper(r)
	}
	opened := &stores{stable: stable}
	if opened.joint, opened.logs, opened.snapshots, err = joinStores(logs, disk); err != nil {
		return err
	}
	p.joint = opened.joint
	if err := r.start(rc, opened, transport); err != nil {
		return err
	}
	n.onClose("raft", func() error { return r.raft.Shutdown().Error() })
	n.onClose("leadership watch", func() error { r.close(); return nil })
	n.membership = cluster.NewMembership(r.raft)
	return p.openServices(v)
}

func (p *incarnation) openServices(v variant) error {
	n := p.node
	r := n.replica
	n.proposer, n.revoker, n.confirmer = r.newProposer(), r.newProposer(), &confirmer{electorate: r}
	if v.appender != nil {
		n.proposer.log, n.revoker.log = v.appender(r), v.appender(r)
	}
	if v.electorate != nil {
		n.confirmer.electorate = v.electorate(r)
	}
	n.onClose("proposer", func() error { n.proposer.close(); return nil })
	n.onClose("proposer of revocations", func() error { n.revoker.close(); return nil })
	n.onClose("confirmed reads", func() error { n.confirmer.close(); return nil })
	confirm := n.confirmer.ConfirmRead
	if v.confirm != nil {
		confirm = v.confirm(n)
	}
	knows := r.knowsRevocations
	if v.knows != nil {
		knows = v.knows(r)
	}
	c := n.config.Token
	tokens, err := token.New(token.Config{
		Log: n, KnowsRevocations: knows, View: r.state, Realms: simRealm{state: r.state}, Confirm: confirm, Now: r.clock.Now, Enabled: true,
		ClusterKey: simClusterKey, AccessLifetime: p.member.sim.options.access, RefreshLifetime: c.RefreshLifetime,
		RefreshWindow: max(p.member.sim.options.window, 0),
	})
	if err != nil {
		return err
	}
	p.tokens, n.tokens = tokens, tokens
	ctx, cancel := context.WithCancel(context.Background())
	n.onClose("background duties", func() error { cancel(); n.background.Wait(); return nil })
	if r.lease != nil {
		n.background.Go(func() { r.lease.keep(ctx) })
	}
	if p.member.sim.options.formation {
		n.mirror = func(ctx context.Context) (cluster.Status, error) { return simPeers{p}.Status(ctx, p.member.address) }
		n.background.Go(func() { n.keepMembership(ctx) })
		n.background.Go(func() { n.keepAlone(ctx) })
		n.background.Go(func() { n.keepAutopilot(ctx) })
	}
	return nil
}

// simRealm knows the native users. Their verifiers are the passwords themselves.
// Nobody runs as anybody.
type simRealm struct {
	token.Realms
	state *fsm.FSM
}

func (r simRealm) Authenticate(_ context.Context, username string, password realm.Secret) (realm.Login, error) {
	u, found := r.state.User(fsm.RealmNative, fsm.Username(username))
	if !found || !u.Enabled || u.Verifier != password.Expose() {
		return realm.Login{}, realm.ErrBadCredentials
	}
	return realm.Login{Generation: u.Generation, Identity: &fsm.Identity{
		Principal: fsm.Principal{Username: u.Username, Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
		Roles:     u.Roles, Metadata: u.Metadata,
	}}, nil
}

func (m *member) wallTime() time.Time { return time.Now().Add(m.skew + time.Duration(m.jumped.Load())) }

func (m *member) bootTime() time.Duration {
	since := time.Since(simStart)
	return since + time.Duration(m.rate*float64(since))
}

func (m *member) bootstrap(voters []*member) {
	var configuration raft.Configuration
	for _, v := range voters {
		configuration.Servers = append(configuration.Servers, raft.Server{ID: v.id, Address: v.address})
	}
	err := m.running().node.replica.raft.BootstrapCluster(configuration).Error()
	if err != nil && m.running().node.replica.raft.LastIndex() == 0 {
		m.sim.t.Fatalf("bootstrap: %v", err)
	}
}

// running returns the member's process, nil if it is down.
func (m *member) running() *incarnation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// kill ends the member's process as kill -9 does: nothing that it still does is
// heard or kept.
func (m *member) kill() {
	p := m.running()
	if p == nil {
		return
	}
	m.sim.net.change(func() { delete(m.sim.net.at, m.address) })
	m.mu.Lock()
	m.process = nil
	m.mu.Unlock()
	close(p.dead)
	m.sim.net.ended(m.sim.members)
	p.cancel()
	_ = p.node.Close()
}

// terminate ends the member's process as SIGTERM does.
func (m *member) terminate() {
	p := m.running()
	if p == nil {
		return
	}
	if p.node.replica.leads() {
		p.node.handOver(p.ctx)
	}
	m.kill()
}

// isDead tells whether the process was killed; what it said is not to be trusted
// then, because nobody may have heard it.
func (p *incarnation) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}
