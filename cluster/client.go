package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// ClientConfig configures a [Client].
type ClientConfig struct {
	// ClusterName is what a peer's certificate must say. Required.
	ClusterName string

	// TLS returns what this node shows to a peer that it dials, and the RootCAs it
	// verifies it with. Required. Called for every connection, concurrently.
	TLS func() *tls.Config

	// Now is the clock. Required.
	Now func() time.Time

	// Dial opens connections. Nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// DialTimeout bounds a dial with everything up to the peer's hello. Default 3 s.
	DialTimeout time.Duration

	// Lineage is as [ServiceConfig] has it, for what is proposed. Nil: this process is no
	// member, and whoever leads may take it.
	Lineage func() [16]byte

	// Silence is how long nothing may come from a peer that owes an answer before it
	// is probed, and how long the probe may take before the connection is given up.
	// Default 1 s.
	Silence time.Duration

	// Logger gets a line when a peer cannot be reached, once until it can. Nil:
	// nothing is logged.
	Logger hclog.Logger
}

const defaultSilence = time.Second

// Client asks peers, over one connection to each address that it opens when it is
// first needed and again, with growing pauses, when it was lost. Its methods are
// safe for concurrent use by any number of goroutines. Requests that meet on a
// connection share a write.
//
// A call ends with its context at the latest. A peer that owes answers and says
// nothing is probed; if it does not answer that either, its connection is closed
// and the next call dials anew.
//
// An error that wraps [ErrNotProposed] says that the request had no effect. After
// any other error of a request that changes something its outcome is unknown.
type Client struct {
	cfg    ClientConfig
	dialer dialer
	ctx    context.Context //nolint:containedctx // the life of the Client; its cancel is beside it
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine the Client started

	// confirms holds *call, to save the allocations of what is asked for most.
	confirms sync.Pool

	mu     sync.Mutex
	closed bool
	peers  map[raft.ServerAddress]*peer
}

// NewClient checks a configuration. The caller closes the Client.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.ClusterName == "" || cfg.TLS == nil || cfg.Now == nil {
		return nil, errors.New("cluster client: cluster name, TLS configuration and clock are required")
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = defaultHandshakeTimeout
	}
	if cfg.Silence <= 0 {
		cfg.Silence = defaultSilence
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Lineage == nil {
		cfg.Lineage = unsettled
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{
		cfg:    cfg,
		dialer: dialer{clusterName: cfg.ClusterName, tls: cfg.TLS, dial: cfg.Dial, now: cfg.Now, timeout: cfg.DialTimeout},
		ctx:    ctx,
		cancel: cancel,
		peers:  make(map[raft.ServerAddress]*peer),
	}, nil
}

// Propose asks the leader to put commands on the log and returns their outcomes,
// one for each, and what the leader said of itself right after: an entry with these
// commands is not later than the one that it had applied by then. At most 4096
// commands and 1 MiB; more is refused.
func (c *Client) Propose(ctx context.Context, address raft.ServerAddress, commands [][]byte) ([][]byte, Confirmation, error) {
	if len(commands) > maxCommands || listSize(commands)+patienceSize+lineageSize > maxProposeBody {
		return nil, Confirmation{}, fmt.Errorf("propose to %s: %w: the batch is too large", address, ErrRefused)
	}
	answer, err := c.ask(ctx, address, &call{kind: kindPropose, commands: commands})
	if err != nil {
		return nil, Confirmation{}, fmt.Errorf("propose to %s: %w", address, err)
	}
	outcomes, leader, err := decodeProposed(answer)
	if err == nil && len(outcomes) != len(commands) {
		err = fmt.Errorf("%w: %d outcomes for %d commands", errMessage, len(outcomes), len(commands))
	}
	if err != nil {
		return nil, Confirmation{}, fmt.Errorf("propose to %s: %w", address, err)
	}
	return outcomes, leader, nil
}

// Confirm asks a peer for its term. The answer was made after the call began.
func (c *Client) Confirm(ctx context.Context, address raft.ServerAddress) (Confirmation, error) {
	q, reused := c.confirms.Get().(*call)
	if !reused {
		q = &call{kind: kindConfirm}
	}
	if _, err := c.ask(ctx, address, q); err != nil {
		// The call may be in use still; leave it to the collector.
		return Confirmation{}, fmt.Errorf("confirm with %s: %w", address, err)
	}
	confirmation := q.confirmation
	c.confirms.Put(q)
	return confirmation, nil
}

// StartConfirm is [Client.Confirm] for who asks several peers and needs a majority:
// it returns at once, and done is called exactly once, perhaps before StartConfirm
// returns, else on a goroutine that reads from a peer. Done must not block, nor
// call the Client. If no connection can be had or the peer falls silent, done gets
// an error after at most the dial timeout and twice the silence.
func (c *Client) StartConfirm(address raft.ServerAddress, done func(Confirmation, error)) {
	q := &call{kind: kindConfirm, then: done}
	p, err := c.peer(address)
	if err != nil {
		done(Confirmation{}, err)
		return
	}
	p.start(q)
}

// Join asks the leader to make this node a member.
func (c *Client) Join(ctx context.Context, address raft.ServerAddress, request JoinRequest) error {
	if err := c.command(ctx, address, kindJoin, request); err != nil {
		return fmt.Errorf("join through %s: %w", address, err)
	}
	return nil
}

// Leave asks the leader to remove a member.
func (c *Client) Leave(ctx context.Context, address raft.ServerAddress, id raft.ServerID) error {
	if err := c.command(ctx, address, kindLeave, leaveRequest{ID: id}); err != nil {
		return fmt.Errorf("leave through %s: %w", address, err)
	}
	return nil
}

// Transfer asks the leader to hand the leadership to a voter, or to the one that is
// furthest if id is empty, and returns who leads then.
func (c *Client) Transfer(ctx context.Context, address raft.ServerAddress, id raft.ServerID) (raft.ServerID, error) {
	body, err := encodeSmall(leadership{ID: id})
	if err != nil {
		return "", err
	}
	answer, err := c.ask(ctx, address, &call{kind: kindTransfer, body: body})
	if err != nil {
		return "", fmt.Errorf("transfer through %s: %w", address, err)
	}
	var now leadership
	if err := decodeSmall(answer, &now); err != nil {
		return "", fmt.Errorf("transfer through %s: %w", address, err)
	}
	return now.ID, nil
}

// Exchange puts a question to a peer that is opaque to this package; see
// [Handler.Exchange].
func (c *Client) Exchange(ctx context.Context, address raft.ServerAddress, question []byte) ([]byte, error) {
	if len(question)+patienceSize > maxSmallBody {
		return nil, fmt.Errorf("ask %s: %w: a question of %d bytes", address, ErrRefused, len(question))
	}
	answer, err := c.ask(ctx, address, &call{kind: kindExchange, body: question})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", address, err)
	}
	return answer, nil
}

// Status asks a peer who it is.
func (c *Client) Status(ctx context.Context, address raft.ServerAddress) (Status, error) {
	answer, err := c.ask(ctx, address, &call{kind: kindStatus})
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", address, err)
	}
	var status Status
	if err := decodeSmall(answer, &status); err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", address, err)
	}
	return status, nil
}

// CloseIdle retires the present connections, say because they were made with a
// certificate that was replaced: calls under way end on them, later calls get new
// ones.
func (c *Client) CloseIdle() {
	for _, p := range c.all() {
		p.retire()
	}
}

// Close ends every call, connection and goroutine, and waits for the goroutines.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	for _, p := range c.all() {
		p.close()
	}
	c.wg.Wait()
	return nil
}

func (c *Client) command(ctx context.Context, address raft.ServerAddress, k kind, request any) error {
	body, err := encodeSmall(request)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, address, &call{kind: k, body: body})
	return err
}

// ask makes a call and waits for its end.
func (c *Client) ask(ctx context.Context, address raft.ServerAddress, q *call) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	p, err := c.peer(address)
	if err != nil {
		return nil, err
	}
	q.deadline, _ = ctx.Deadline()
	if q.done == nil {
		q.done = make(chan struct{}, 1)
	}
	p.start(q)
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
	}
	if sent, open := p.abandon(q); open && sent {
		return nil, q.unanswered("no answer in time", ctx.Err())
	} else if open {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, ctx.Err())
	}
	<-q.done // it has just ended
	return q.answer, q.err
}

func (c *Client) peer(address raft.ServerAddress) (*peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	p := c.peers[address]
	if p == nil {
		p = &peer{client: c, address: address}
		c.peers[address] = p
	}
	return p, nil
}

func (c *Client) all() []*peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*peer, 0, len(c.peers))
	for _, p := range c.peers {
		all = append(all, p)
	}
	return all
}
