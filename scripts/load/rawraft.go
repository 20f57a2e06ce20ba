package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	rawNodes         = 3
	rawCommandBytes  = 256
	electionPatience = 30 * time.Second
)

// rawQuestion asks a raw-raft process to measure, if it leads.
type rawQuestion struct {
	Callers int           `json:"callers"`
	Warmup  time.Duration `json:"warmup_ns"`
	Length  time.Duration `json:"length_ns"`
	Servers []int         `json:"servers"` // processes of all three
}

// rawAnswer holds figures if the process leads.
type rawAnswer struct {
	Leads   bool    `json:"leads"`
	Figures figures `json:"figures"`
	Error   string  `json:"error,omitempty"`
}

// rawCluster is three processes of hashicorp/raft on raft-boltdb over plain TCP,
// with a state machine that does nothing.
type rawCluster struct{ nodes []*child }

// startRaw starts the three processes under dir. Tuned gives them the settings
// Jeton uses; otherwise they run with the library's defaults.
func startRaw(ctx context.Context, stderr io.Writer, dir string, tuned bool) (*rawCluster, error) {
	addresses, err := freeAddresses(ctx, rawNodes)
	if err != nil {
		return nil, err
	}
	cluster := &rawCluster{}
	for i := range rawNodes {
		node, err := startChild(ctx, stderr, "raft-node", "-self", strconv.Itoa(i), "-addresses", strings.Join(addresses, ","),
			"-dir", filepath.Join(dir, strconv.Itoa(i)), "-tuned="+strconv.FormatBool(tuned))
		if err != nil {
			cluster.close()
			return nil, err
		}
		cluster.nodes = append(cluster.nodes, node)
	}
	return cluster, nil
}

func (c *rawCluster) close() {
	for _, node := range c.nodes {
		node.close()
	}
}

// measure has callers in the leading process propose commands of 256 bytes, one entry each.
func (c *rawCluster) measure(l load) (figures, error) {
	question := rawQuestion{Callers: l.connections, Warmup: l.warmup, Length: l.length}
	for _, node := range c.nodes {
		question.Servers = append(question.Servers, node.pid())
	}
	for deadline := time.Now().Add(electionPatience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for _, node := range c.nodes {
			var answer rawAnswer
			if err := node.ask(question, &answer); err != nil {
				return figures{}, err
			}
			if answer.Error != "" {
				return answer.Figures, errors.New("raw raft: " + answer.Error)
			}
			if answer.Leads {
				return answer.Figures, nil
			}
		}
	}
	return figures{}, errors.New("raw raft: nobody leads")
}

// rawNode is the settings of one process.
type rawNode struct {
	self      int
	addresses []string
	dir       string
	tuned     bool
}

func parseRawNode(args []string, stderr io.Writer) (rawNode, error) {
	flags := flag.NewFlagSet("raft-node", flag.ContinueOnError)
	flags.SetOutput(stderr)
	self := flags.Int("self", 0, "which of the addresses is this process")
	addresses := flags.String("addresses", "", "host:port of each process, comma separated")
	dir := flags.String("dir", "", "folder of the log")
	tuned := flags.Bool("tuned", false, "Jeton's settings instead of the library's defaults")
	if err := flags.Parse(args); err != nil {
		return rawNode{}, fmt.Errorf("raft-node: %w", err)
	}
	return rawNode{self: *self, addresses: strings.Split(*addresses, ","), dir: *dir, tuned: *tuned}, nil
}

// run is the child: a member of the cluster that measures when it is asked and leads.
func (n rawNode) run(stdin io.Reader, stdout io.Writer) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	consensus, closeAll, err := n.open()
	if err != nil {
		return err
	}
	defer closeAll()
	return serveParent(stdin, stdout, func(q rawQuestion) (rawAnswer, error) {
		if consensus.State() != raft.Leader {
			return rawAnswer{}, nil
		}
		result, err := drive(proposers(consensus, q.Callers), q.Warmup, q.Length, q.Servers...)
		answer := rawAnswer{Leads: true, Figures: result}
		if err != nil {
			answer.Error = err.Error()
		}
		return answer, nil
	})
}

func (n rawNode) open() (*raft.Raft, func(), error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(n.dir, "raft.db"),
		BoltOptions: &bbolt.Options{NoFreelistSync: n.tuned, FreelistType: bbolt.FreelistMapType, Timeout: time.Second},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(n.addresses[n.self])
	config.Logger = hclog.NewNullLogger() // what matters comes back as an error; the rest is the noise of ending
	var log raft.LogStore = store
	if n.tuned {
		config.MaxAppendEntries = 1024
		config.BatchApplyCh = true
		if log, err = raft.NewLogCache(1<<16, store); err != nil {
			return nil, nil, fmt.Errorf("open log cache: %w", err)
		}
	}
	transport, err := raft.NewTCPTransport(n.addresses[n.self], nil, rawNodes, 10*time.Second, io.Discard)
	if err != nil {
		return nil, nil, fmt.Errorf("open transport: %w", err)
	}
	snapshots := raft.NewDiscardSnapshotStore()
	if err := raft.BootstrapCluster(config, log, store, snapshots, transport, n.configuration()); err != nil {
		return nil, nil, fmt.Errorf("bootstrap: %w", err)
	}
	consensus, err := raft.NewRaft(config, discard{}, log, store, snapshots, transport)
	if err != nil {
		return nil, nil, fmt.Errorf("start raft: %w", err)
	}
	return consensus, func() {
		_ = consensus.Shutdown().Error()
		_ = transport.Close()
		_ = store.Close()
	}, nil
}

func (n rawNode) configuration() raft.Configuration {
	var all raft.Configuration
	for _, address := range n.addresses {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(address), Address: raft.ServerAddress(address)})
	}
	return all
}

// proposers each propose one command and wait until it is applied.
func proposers(consensus *raft.Raft, n int) []func() error {
	callers := make([]func() error, n)
	for i := range callers {
		command := make([]byte, rawCommandBytes)
		_, _ = rand.Read(command) // never fails
		callers[i] = func() error { return consensus.Apply(command, 0).Error() }
	}
	return callers
}

// discard is a state machine without a state.
type discard struct{}

func (discard) Apply(*raft.Log) any                 { return nil }
func (discard) Snapshot() (raft.FSMSnapshot, error) { return discard{}, nil }
func (discard) Restore(io.ReadCloser) error         { return nil }
func (discard) Persist(raft.SnapshotSink) error     { return nil }
func (discard) Release()                            {}

// freeAddresses finds ports on loopback that nobody uses now.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = listener.Close() }() // kept open until all are found, so that they differ
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}
