package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// recoveredSite is a cluster of one that was recovered.
func recoveredSite(t *testing.T) (*site, *Node) {
	t.Helper()
	one := newSite(t)
	n := one.mustOpen()
	one.loseQuorum(n)
	one.mustClose(n)
	one.survive(n.replica.id, false)
	n = one.mustOpen()
	if n.descent.own().recoveries() != 1 {
		t.Fatal("not recovered")
	}
	return one, n
}

// outcome is why a node has ended, nil once it is ready.
func outcome(t *testing.T, n *Node) error {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if len(n.failed) > 0 {
			return <-n.failed
		}
		if len(n.NotReady()) == 0 {
			return nil
		}
	}
	return errors.New(strings.Join(n.NotReady(), "; "))
}

// mute is an address that accepts nothing and refuses nothing, as of a machine that is down.
func mute(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// A leader's raft still dials whom it knew at an address, or whom it has just let in, while a node without data looks
// for whom to join there. It ended as left behind, though it had nothing of before.
func TestANodeWithoutDataJoinsARecoveredCluster(t *testing.T) {
	for name, known := range map[string]bool{"it was emptied": false, "it had ended before the snapshot came": true} {
		t.Run(name, func(t *testing.T) {
			one, survivor := recoveredSite(t)
			two := one.sibling("two")
			seeds := two.config.Discovery.SeedHosts
			if known {
				two.config.Discovery.SeedHosts = nil // it makes its identity, and joins nobody
			}
			n, err := two.open()
			if err != nil {
				t.Fatal(err)
			}
			if !known {
				awaitReadiness(t, n)
			}
			two.mustClose(n)
			former := n.replica.id
			if known {
				if _, err := survivor.membership.AddOrUpdate(t.Context(), former, raft.ServerAddress(two.config.Transport.PublishAddress())); err != nil {
					t.Fatal(err)
				}
			} else if err := os.RemoveAll(two.config.DataPath); err != nil {
				t.Fatal(err)
			}
			two.config.Discovery.SeedHosts = append(seeds, mute(t)) // which it waits for, while it is dialled
			if n, err = two.open(); err != nil {
				t.Fatal(err)
			}
			defer two.mustClose(n)
			if !known { // its former self was dialled there until an operator has done as it is told
				insist(t, func() error {
					if said := strings.Join(n.NotReady(), ""); len(n.failed) == 0 && !strings.Contains(said, "joining the cluster") {
						return errors.New(said)
					}
					return survivor.membership.Remove(t.Context(), former, 1)
				})
			}
			if err := outcome(t, n); err != nil || n.descent.own() != survivor.descent.own() {
				t.Errorf("%v; it is of lineage %x", err, n.descent.own())
			}
		})
	}
}

// starter is a peer that reads its state. Its last answer is what it says for good.
type starter struct {
	doorman
	asked   atomic.Int64
	answers []cluster.Status
}

func (s *starter) Status(context.Context) (cluster.Status, error) {
	asked := int(s.asked.Add(1))
	return s.answers[min(asked, len(s.answers))-1], nil
}

// serve opens a port on which it answers with a node's certificate.
func (s *starter) serve(t *testing.T, n *Node) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service, err := cluster.NewService(cluster.ServiceConfig{
		Listener: listener, ClusterName: "jeton", ServerID: "starter", Handler: s, Now: time.Now,
		ServerTLS: n.transportTLS.TransportServer(), ClientTLS: func() *tls.Config { return n.transportTLS.TransportClient() },
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- service.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(service.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// All machines start at once after a recovery: those that were taken for lost asked the survivor before it knew what
// it descends from, did not wait, elected a leader, and acknowledged what was lost when they learnt it.
func TestWhoStartsWaitsForWhoIsStarting(t *testing.T) {
	for name, state := range map[string]string{"it reads its state": "", "it is being recovered": stateRecovering} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			n := s.mustOpen()
			s.mustClose(n)
			starting := cluster.Status{ServerID: "starter", Name: "starter", Bootstrapped: true, State: state}
			read := starting
			read.Read, read.ClusterID, read.Lineage = true, n.status().ClusterID, lineage{7: 1}
			peer := &starter{answers: []cluster.Status{starting, starting, starting, read}}
			s.config.Discovery.SeedHosts = []string{peer.serve(t, n)}
			if _, err := s.open(); !errors.Is(err, errLeftBehind) {
				t.Errorf("asked %d times, then: %v", peer.asked.Load(), err)
			}
		})
	}
}

// A peer that hangs while it starts keeps nobody from starting for good; one that has read its state does not at all.
func TestWhoStartsDoesNotWaitForEver(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	for name, test := range map[string]struct {
		read bool
		want func(asked int64) bool
	}{
		"hangs":    {false, func(asked int64) bool { return asked > 1 }},
		"has read": {true, func(asked int64) bool { return asked == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &starter{answers: []cluster.Status{{ServerID: "starter", Bootstrapped: true, Read: test.read}}}
			c := *s.config
			c.Discovery.SeedHosts = []string{peer.serve(t, n)}
			starting := &Node{config: &c, log: hclog.NewNullLogger(), patience: 50 * time.Millisecond, replica: n.replica}
			if err := starting.reunite(t.Context(), true); err != nil || starting.descent.settled.Load() == nil || !test.want(peer.asked.Load()) {
				t.Errorf("asked %d times: %v", peer.asked.Load(), err)
			}
		})
	}
}

// Before it is open a node says what it descends from, as soon as it has read it.
func TestADoormanTellsTheLineageThatWasRead(t *testing.T) {
	_, n := recoveredSite(t)
	d := &doorman{peerHandler: peerHandler{n}, hasData: true}
	before, err := d.Status(t.Context())
	if err != nil || before.Read || !before.Bootstrapped || before.State != "" {
		t.Errorf("%v, %+v", err, before)
	}
	d.read.Store(true)
	after, err := d.Status(t.Context())
	if err != nil || !after.Read || after.Lineage != n.descent.own() || after.ClusterID != n.status().ClusterID {
		t.Errorf("%v, %+v", err, after)
	}
}

// elsewhere is a peer of this node's cluster, in another lineage, with a leader that does not count this node.
func elsewhere(n *Node, id string, l lineage, ancestors ...[8]byte) cluster.Status {
	term, index := n.replica.lastEntry()
	return cluster.Status{
		ServerID: raft.ServerID(id), Name: id, Bootstrapped: true, Read: true, State: "Leader", ClusterID: n.status().ClusterID, LeaderID: raft.ServerID(id),
		Lineage: l, Ancestors: ancestors, Term: term + 1, LastTerm: term + 1, LastIndex: index + 1, Members: []cluster.Member{{ID: raft.ServerID(id)}}, Judged: true,
	}
}

// The survivor, without a leader for a moment, was told to empty its data by a leader of before that does not count it;
// whoever had a leader, as a majority of those left behind has, never asked anybody.
func TestAMemberListensToItsOwnLineage(t *testing.T) {
	s, n := recoveredSite(t)
	own := n.descent.own()
	for name, test := range map[string]struct {
		peer     func() cluster.Status
		ends     bool
		kin      int
		warnings int
	}{
		"left behind by this node": {func() cluster.Status { return elsewhere(n, "former", lineage{}) }, false, 0, 0},
		"has left it behind":       {func() cluster.Status { return elsewhere(n, "newer", lineage{7: 2, 15: 9}, [8]byte(own[8:])) }, true, 0, 0},
		"recovered apart":          {func() cluster.Status { return elsewhere(n, "apart", lineage{7: 2, 15: 9}, [8]byte{1}) }, false, 0, 1},
		"of the same":              {func() cluster.Status { return elsewhere(n, "like", own) }, false, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &starter{answers: []cluster.Status{test.peer()}}
			c := *s.config
			c.Discovery.SeedHosts = []string{peer.serve(t, n)}
			var log lines
			me := &Node{config: &c, log: hclog.New(&hclog.LoggerOptions{Output: &log}), replica: n.replica, failed: make(chan error, 1)}
			for range 2 { // now and then only
				kin, err := me.lookAround(t.Context(), n.replica.servers())
				if errors.Is(err, errEnds) != test.ends || test.ends != (len(me.failed) > 0) || len(kin) > test.kin {
					t.Errorf("%v, %d of its kin", err, len(kin))
				}
				if test.ends {
					return
				}
			}
			me.metForeign(lineage{})
			if kin, err := me.lookAround(t.Context(), n.replica.servers()); err != nil || len(kin) != test.kin || peer.asked.Load() != 2 || log.count("recovered apart") != test.warnings {
				t.Errorf("%v, %d of its kin, asked %d times, %d warnings", err, len(kin), peer.asked.Load(), log.count("recovered apart"))
			}
		})
	}
}

// A node without a snapshot knows its cluster only by its log. It took any cluster that was recovered for
// its own, and its operator was told to empty its data.
func TestAnotherClusterThatWasRecoveredLeavesNobodyBehind(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	s.mustClose(n)
	other := &starter{answers: []cluster.Status{{
		ServerID: "starter", Name: "starter", Bootstrapped: true, Read: true, ClusterID: [16]byte{9}, Lineage: lineage{7: 1, 15: 5},
	}}}
	s.config.Discovery.SeedHosts = []string{other.serve(t, n)}
	n, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	s.mustClose(n)
}
