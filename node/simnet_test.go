package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

var (
	errReset   = errors.New("connection reset")
	errRefused = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	errTimeout = errors.New("timeout")
)

// simNet carries what simulated members say to each other. Like TCP it delivers a
// message late or breaks the connection: what is sent over a cut link, from or to
// a frozen member, arrives when the fault has ended, unless its sender has given
// up by then; it then arrives all the same.
type simNet struct {
	mu      sync.Mutex
	random  *rand.Rand
	at      map[raft.ServerAddress]*incarnation
	cut     map[link]bool
	frozen  map[string]bool
	loss    float64       // probability that a leg of a call breaks the connection
	delay   time.Duration // the longest a leg takes
	changed broadcast
	closed  chan struct{}
}

// link is one direction between two members, by name.
type link struct{ from, to string }

func newSimNet(random *rand.Rand) *simNet {
	return &simNet{
		random: random, at: map[raft.ServerAddress]*incarnation{},
		cut: map[link]bool{}, frozen: map[string]bool{}, delay: usualDelay, closed: make(chan struct{}),
	}
}

const usualDelay = 2 * time.Millisecond

// change alters the network and wakes what it held back.
func (w *simNet) change(alter func()) {
	w.mu.Lock()
	alter()
	w.mu.Unlock()
	w.changed.wake()
}

// isolate cuts every link between the two sides; one way only if oneWay.
func (w *simNet) isolate(side, others []string, oneWay bool) {
	w.change(func() {
		for _, a := range side {
			for _, b := range others {
				w.cut[link{a, b}] = true
				if !oneWay {
					w.cut[link{b, a}] = true
				}
			}
		}
	})
}

// heal ends all faults of the network, and thaws everybody.
func (w *simNet) heal() {
	w.change(func() {
		clear(w.cut)
		clear(w.frozen)
		w.loss, w.delay = 0, usualDelay
	})
}

func (w *simNet) freeze(name string) { w.change(func() { w.frozen[name] = true }) }
func (w *simNet) thaw(name string)   { w.change(func() { delete(w.frozen, name) }) }

// carry takes a message over one leg. It returns when the message has arrived.
func (w *simNet) carry(from, to string) error {
	if err := w.await(func() bool { return !w.frozen[from] }); err != nil {
		return err
	}
	w.mu.Lock()
	lost := w.loss > 0 && w.random.Float64() < w.loss
	delay := w.delay/10 + time.Duration(w.random.Int64N(int64(w.delay)))
	w.mu.Unlock()
	time.Sleep(delay)
	if lost {
		return errReset
	}
	return w.await(func() bool { return !w.cut[link{from, to}] && !w.frozen[to] })
}

// await returns when open, which is called with the lock held, is true.
func (w *simNet) await(open func() bool) error {
	for {
		changed := w.changed.wait()
		w.mu.Lock()
		ok := open()
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-w.closed:
			return errReset
		}
	}
}

// listener returns the process that has an address now.
func (w *simNet) listener(address raft.ServerAddress) (*incarnation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.at[address]; p != nil {
		return p, nil
	}
	return nil, errRefused
}

// call asks the process at an address and returns its answer. After an error the
// question may have been, or may yet be, heard.
func call[T any](ctx context.Context, from *incarnation, address raft.ServerAddress, ask func(to *incarnation) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	w := from.member.sim.net
	answers := make(chan answer, 1)
	go func() {
		var a answer
		a.value, a.err = carryBothWays(w, from, address, ask)
		answers <- a
	}()
	var none T
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", errTimeout, ctx.Err())
	case <-from.dead:
		return none, errReset
	}
}

func carryBothWays[T any](w *simNet, from *incarnation, address raft.ServerAddress, ask func(to *incarnation) (T, error)) (value T, err error) {
	to, err := w.listener(address)
	if err != nil {
		return value, err
	}
	if err := w.carry(from.member.name, to.member.name); err != nil {
		return value, err
	}
	select {
	case <-to.dead:
		return value, errReset
	default:
	}
	value, askErr := ask(to)
	if err := w.carry(to.member.name, from.member.name); err != nil {
		return value, err
	}
	return value, askErr
}

// simPeers is the peers of one process.
type simPeers struct{ from *incarnation }

func (p simPeers) Propose(ctx context.Context, address raft.ServerAddress, commands [][]byte) ([][]byte, cluster.Confirmation, error) {
	type proposed struct {
		outcomes [][]byte
		leader   cluster.Confirmation
	}
	answer, err := call(ctx, p.from, address, func(to *incarnation) (proposed, error) {
		// The handler's context ends with the caller's patience and with its process.
		patience, cancel := context.WithCancel(to.ctx)
		defer cancel()
		if deadline, ok := ctx.Deadline(); ok {
			patience, cancel = context.WithDeadline(patience, deadline)
			defer cancel()
		}
		outcomes, err := peerHandler{to.node}.Propose(patience, p.from.member.name, commands) //nolint:contextcheck // another process has its own
		return proposed{outcomes, to.node.confirmer.electorate.confirmSelf()}, err
	})
	return answer.outcomes, answer.leader, err
}

// confirmTimeout is how long a real client takes to give a silent peer up.
const confirmTimeout = 2 * time.Second

func (p simPeers) StartConfirm(address raft.ServerAddress, done func(cluster.Confirmation, error)) {
	go func() {
		ctx, cancel := context.WithTimeout(p.from.ctx, confirmTimeout)
		defer cancel()
		done(call(ctx, p.from, address, func(to *incarnation) (cluster.Confirmation, error) {
			return to.node.confirmer.electorate.confirmSelf(), nil
		}))
	}()
}

func (p simPeers) Join(ctx context.Context, address raft.ServerAddress, request cluster.JoinRequest) error {
	_, err := call(ctx, p.from, address, func(to *incarnation) (struct{}, error) {
		request.Name = p.from.member.name
		return struct{}{}, peerHandler{to.node}.Join(to.ctx, request)
	})
	return err
}

func (p simPeers) Status(ctx context.Context, address raft.ServerAddress) (cluster.Status, error) {
	return call(ctx, p.from, address, func(to *incarnation) (cluster.Status, error) {
		return peerHandler{to.node}.Status(to.ctx)
	})
}

// simTransport is raft's transport in one process.
type simTransport struct {
	from      *incarnation
	address   raft.ServerAddress
	addressOf func(raft.ServerID) raft.ServerAddress
	timeout   time.Duration
}

func (t *simTransport) Consumer() <-chan raft.RPC                               { return t.from.inbox }
func (t *simTransport) LocalAddr() raft.ServerAddress                           { return t.address }
func (t *simTransport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }
func (t *simTransport) DecodePeer(raw []byte) raft.ServerAddress                { return raft.ServerAddress(raw) }
func (t *simTransport) SetHeartbeatHandler(func(raft.RPC))                      {}
func (t *simTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// LearnCommit does what cluster.Transport's does.
func (t *simTransport) LearnCommit(leader raft.ServerID, address raft.ServerAddress, term, index, entryTerm uint64) {
	t.deliver(&raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader), Addr: []byte(address)},
		Term:      term, PrevLogEntry: index, PrevLogTerm: entryTerm, LeaderCommitIndex: index,
	})
}

// StandForElection does what cluster.Transport's does.
func (t *simTransport) StandForElection(lost uint64) {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}
	if lost > 0 {
		t.deliver(&raft.RequestVoteRequest{RPCHeader: header, Term: lost + 1})
	}
	t.deliver(&raft.TimeoutNowRequest{RPCHeader: header})
}

func (t *simTransport) deliver(command any) {
	select {
	case t.from.inbox <- raft.RPC{Command: command, RespChan: make(chan raft.RPCResponse, 1)}:
	default:
	}
}

// ended tells members that connections to them have ended.
func (*simNet) ended(members []*member) {
	for _, m := range members {
		if p := m.running(); p != nil {
			p.node.replica.peerEnded()
		}
	}
}

// send delivers a command to raft over there and copies its answer to response.
func send[T any](t *simTransport, id raft.ServerID, address raft.ServerAddress, command any, body []byte, response *T) error {
	if moved := t.addressOf(id); moved != "" {
		address = moved
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	answer, err := call(ctx, t.from, address, func(to *incarnation) (T, error) {
		var none T
		switch request := command.(type) {
		case *raft.AppendEntriesRequest:
			to.joint.mend(request)
		case *raft.InstallSnapshotRequest:
			if to.joint.outgrown(request) {
				installed, _ := any(&raft.InstallSnapshotResponse{Success: true}).(*T)
				return *installed, nil
			}
		}
		answers := make(chan raft.RPCResponse, 1)
		select {
		case to.inbox <- raft.RPC{Command: command, Reader: bytes.NewReader(body), RespChan: answers}:
		case <-to.dead:
			return none, errReset
		}
		select {
		case a := <-answers:
			value, ok := a.Response.(*T)
			if a.Error != nil || !ok {
				return none, fmt.Errorf("answer %T: %w", a.Response, errors.Join(a.Error, errReset))
			}
			return *value, nil
		case <-to.dead:
			return none, errReset
		}
	})
	if err != nil {
		return err
	}
	*response = answer
	return nil
}

func (t *simTransport) AppendEntries(id raft.ServerID, address raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	t.from.member.sim.sent(t.from.member.name, request.Term)
	copied := *request
	copied.Entries = make([]*raft.Log, len(request.Entries))
	for i, entry := range request.Entries {
		clone := *entry
		copied.Entries[i] = &clone
	}
	if err := send(t, id, address, &copied, nil, response); err != nil {
		return err
	}
	if response.Success && response.Term == request.Term {
		index := request.PrevLogEntry
		if n := len(request.Entries); n > 0 {
			index = request.Entries[n-1].Index
		}
		t.from.node.replica.coverage.appended(id, request.Term, index)
	}
	return nil
}

func (t *simTransport) RequestVote(id raft.ServerID, address raft.ServerAddress, request *raft.RequestVoteRequest, response *raft.RequestVoteResponse) error {
	return send(t, id, address, request, nil, response)
}

func (t *simTransport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, request *raft.RequestPreVoteRequest, response *raft.RequestPreVoteResponse) error {
	return send(t, id, address, request, nil, response)
}

func (t *simTransport) TimeoutNow(id raft.ServerID, address raft.ServerAddress, request *raft.TimeoutNowRequest, response *raft.TimeoutNowResponse) error {
	return send(t, id, address, request, nil, response)
}

func (t *simTransport) InstallSnapshot(id raft.ServerID, address raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	body, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	if err := send(t, id, address, request, body, response); err != nil {
		return err
	}
	if response.Success && response.Term == request.Term {
		t.from.node.replica.coverage.appended(id, request.Term, request.LastLogIndex)
	}
	return nil
}
