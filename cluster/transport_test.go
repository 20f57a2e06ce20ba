package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
)

func newTransport(t *testing.T, service *cluster.Service, addressOf func(raft.ServerID) raft.ServerAddress) *cluster.Transport {
	t.Helper()
	transport, err := cluster.NewTransport(cluster.TransportConfig{Stream: service.StreamLayer(), AddressOf: addressOf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Close() })
	return transport
}

// heartbeat sends one as a leader does and returns by which way it reached the
// other end.
func heartbeat(t *testing.T, from, to raft.Transport) string {
	t.Helper()
	way := make(chan string, 2)
	to.SetHeartbeatHandler(func(rpc raft.RPC) {
		way <- "beside the main loop"
		rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case rpc := <-to.Consumer():
			way <- "through the main loop"
			rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
		case <-stop:
		}
	}()
	request := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, Addr: []byte("leader")}, Term: 1}
	var response raft.AppendEntriesResponse
	if err := from.AppendEntries("server-1", to.LocalAddr(), request, &response); err != nil || !response.Success {
		t.Fatalf("heartbeat: %v %v", err, response)
	}
	close(stop)
	<-stopped
	return <-way
}

// hashicorp/raft #695: a heartbeat that is processed on the goroutine of its
// connection changes the term under the leader's main loop, which may then write
// its entries with the term of another leader.
func TestHeartbeatsGoThroughTheMainLoop(t *testing.T) {
	ca := newAuthority(t)
	one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{})
	two, _ := startService(t, ca.node(t, "two"), cluster.ServiceConfig{})
	from := newTransport(t, one, nil)
	bare := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: two.StreamLayer(), MaxPool: 1, Timeout: time.Second, Logger: hclog.NewNullLogger()})
	if way := heartbeat(t, from, bare); way != "beside the main loop" {
		t.Errorf("without the wrapper the defect should show; went %s", way)
	}
	_ = bare.Close()
	three, _ := startService(t, ca.node(t, "three"), cluster.ServiceConfig{})
	if way := heartbeat(t, from, newTransport(t, three, nil)); way != "through the main loop" {
		t.Errorf("went %s", way)
	}
}

func TestTheTransportKeepsWhatRaftLooksFor(t *testing.T) {
	ca := newAuthority(t)
	service, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{Advertise: "advertised:9300"})
	var transport raft.Transport = newTransport(t, service, nil)
	if _, ok := transport.(raft.WithPreVote); !ok {
		t.Error("no pre-vote")
	}
	if _, ok := transport.(raft.WithClose); !ok {
		t.Error("no close")
	}
	if got := transport.LocalAddr(); got != "advertised:9300" {
		t.Errorf("address %s (listening on %s)", got, address)
	}
	if _, err := cluster.NewTransport(cluster.TransportConfig{}); err == nil {
		t.Error("a transport without a stream was made")
	}
}

// wordsFSM is a state machine that keeps what it is given.
type wordsFSM struct {
	mu    sync.Mutex
	words []string
}

func (f *wordsFSM) Apply(entry *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.words = append(f.words, string(entry.Data))
	return nil
}
func (f *wordsFSM) Snapshot() (raft.FSMSnapshot, error) { return f, nil }
func (f *wordsFSM) Restore(r io.ReadCloser) error       { return r.Close() }
func (f *wordsFSM) Persist(sink raft.SnapshotSink) error {
	return sink.Close()
}
func (f *wordsFSM) Release() {}

func (f *wordsFSM) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.words)
}

// member is a raft node with everything of this package around it.
type member struct {
	id      raft.ServerID
	address raft.ServerAddress
	raft    *raft.Raft
	fsm     *wordsFSM
	service *cluster.Service
	// transport is raft's; commitTimeout, if set, how long raft lets the news of a
	// commit wait.
	transport     *cluster.Transport
	commitTimeout time.Duration
	members       *cluster.Membership
	network       *pipeNetwork
	book          *sync.Map // id -> address, shared like discovery
	config        *tls.Config
}

// pipeNetwork is a network in memory, for a bubble.
type pipeNetwork struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	ports     int
}

func (n *pipeNetwork) listen() (*pipeListener, raft.ServerAddress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports++
	address := fmt.Sprintf("pipe:%d", n.ports)
	n.listeners[address] = newPipeListener()
	return n.listeners[address], raft.ServerAddress(address)
}

func (n *pipeNetwork) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	listener := n.listeners[address]
	n.mu.Unlock()
	if listener == nil {
		return nil, errors.New("no route to host")
	}
	return listener.dial(ctx, network, address)
}

func (m *member) start(t *testing.T, store *raft.InmemStore, snapshots raft.SnapshotStore) {
	t.Helper()
	listener, address := m.network.listen()
	m.address = address
	m.service, _ = startService(t, m.config, cluster.ServiceConfig{
		Listener: listener, Advertise: string(address), Dial: m.network.dial, ServerID: m.id,
	})
	m.book.Store(m.id, m.address)
	m.transport = newTransport(t, m.service, func(id raft.ServerID) raft.ServerAddress {
		address, _ := m.book.Load(id)
		found, _ := address.(raft.ServerAddress)
		return found
	})
	watched := cluster.NewWatched(store, store, func(err error) { t.Errorf("fatal: %v", err) })
	if _, err := cluster.Scrub(watched, snapshots); err != nil {
		t.Fatal(err)
	}
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.LogLevel, cfg.LogOutput = m.id, "ERROR", io.Discard
	if m.commitTimeout != 0 {
		cfg.CommitTimeout = m.commitTimeout
	}
	m.fsm = new(wordsFSM)
	var err error
	m.raft, err = raft.NewRaft(cfg, m.fsm, watched, newVoteStore(t, watched), snapshots, m.transport)
	if err != nil {
		t.Fatal(err)
	}
	m.members = cluster.NewMembership(m.raft)
	t.Cleanup(func() { m.stop(t) })
}

func (m *member) stop(t *testing.T) {
	t.Helper()
	if err := m.raft.Shutdown().Error(); err != nil {
		t.Errorf("shut %s down: %v", m.id, err)
	}
	_ = m.service.Close()
}

// eventually polls, in a bubble, until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for range 10_000 {
		if condition() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func leaderOf(members []*member) *member {
	for _, m := range members {
		if m.raft.State() == raft.Leader && m.raft.VerifyLeader().Error() == nil {
			return m
		}
	}
	return nil
}

func TestAClusterOfThreeOverTLS(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) { clusterOfThree(t, ca) })
}

func clusterOfThree(t *testing.T, ca *authority) {
	t.Helper()
	network, book := &pipeNetwork{listeners: make(map[string]*pipeListener)}, new(sync.Map)
	stores := make([]*raft.InmemStore, 3)
	members := make([]*member, 3)
	for i := range members {
		id := fmt.Sprintf("n%d", i+1)
		stores[i] = raft.NewInmemStore()
		members[i] = &member{id: raft.ServerID(id), network: network, book: book, config: ca.node(t, id)}
		members[i].start(t, stores[i], raft.NewInmemSnapshotStore())
	}
	first := members[0]
	if err := first.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: first.id, Address: first.address}}}).Error(); err != nil {
		t.Fatal(err)
	}
	var leader *member
	eventually(t, "a leader", func() bool { leader = leaderOf(members[:1]); return leader != nil })

	for _, m := range members[1:] {
		got, err := leader.members.AddOrUpdate(t.Context(), m.id, m.address)
		if err := errors.Join(err, leader.members.Promote(t.Context(), m.id)); err != nil || got != raft.Nonvoter {
			t.Fatalf("add %s: %s, %v", m.id, got, err)
		}
	}
	if _, err := members[1].members.AddOrUpdate(t.Context(), "x", "y:1"); err == nil {
		t.Error("a follower changed the membership")
	}
	apply(t, leader, "one")
	eventually(t, "all have it", func() bool { return members[1].fsm.len() == 1 && members[2].fsm.len() == 1 })

	// Raft's connections are dropped in both directions; nothing is lost.
	for _, m := range members {
		m.service.CloseStreams()
	}
	eventually(t, "a leader again", func() bool { leader = leaderOf(members); return leader != nil })
	apply(t, leader, "two")

	// A follower comes back with the same data under another address.
	mover := members[1]
	if mover == leader {
		mover = members[2]
	}
	old := mover.address
	mover.stop(t)
	apply(t, leader, "three")
	store := stores[0]
	for i, m := range members {
		if m == mover {
			store = stores[i]
		}
	}
	mover.start(t, store, raft.NewInmemSnapshotStore())
	if mover.address == old {
		t.Fatal("the same address again; nothing is shown")
	}
	eventually(t, "it catches up", func() bool { return mover.fsm.len() == 3 })
	eventually(t, "its new address is known", func() bool {
		leader = leaderOf(members)
		if leader == nil {
			return false
		}
		suffrage, err := leader.members.AddOrUpdate(t.Context(), mover.id, mover.address)
		return err == nil && suffrage == raft.Voter
	})
	eventually(t, "and removed", func() bool {
		leader = leaderOf(members)
		return leader != nil && leader != mover && leader.members.Remove(t.Context(), mover.id, 0) == nil
	})
	if got := len(leader.raft.GetConfiguration().Configuration().Servers); got != 2 {
		t.Errorf("%d members", got)
	}
}

func apply(t *testing.T, leader *member, word string) {
	t.Helper()
	if err := leader.raft.Apply([]byte(word), time.Second).Error(); err != nil {
		t.Fatalf("apply %q: %v", word, err)
	}
}

// A leader that hands over refuses writes until its successor has answered: one that
// accepts the connection and is then paused must not hold it up for a store's patience.
func TestAHandOverToASilentSuccessorIsGivenUpSoon(t *testing.T) {
	ca := newAuthority(t)
	one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{})
	two, address := startService(t, ca.node(t, "two"), cluster.ServiceConfig{ServerID: "two"})
	_ = newTransport(t, two, nil) // nobody consumes what it receives
	began := time.Now()
	err := newTransport(t, one, nil).TimeoutNow("two", address, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
	if took := time.Since(began); err == nil || took > 3*time.Second {
		t.Errorf("took %v: %v", took, err)
	}
}

// A heartbeat or a vote must not wait for ever for a peer that accepts and says
// nothing.
func TestARaftRequestToASilentPeerEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ca := newAuthority(t)
	var dials atomic.Int64
	service, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{HandshakeTimeout: 50 * time.Millisecond})
	transport := newTransport(t, service, func(raft.ServerID) raft.ServerAddress {
		dials.Add(1)
		return raft.ServerAddress(listener.Addr().String())
	})
	err = transport.RequestVote("two", "unused:1", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
	if err == nil || dials.Load() != 1 {
		t.Errorf("%d dials, %v", dials.Load(), err)
	}
}
