package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/node/config"
)

// asInProduction has elections take what they take by default.
func asInProduction(c *config.Config) {
	c.Raft.HeartbeatTimeout, c.Raft.ElectionTimeout = time.Second, time.Second
}

var inProductionTurns = variant{tamper: func(r *replica) { r.vigil.turn = time.Second / vigilTurns }}

// A follower whose disk hung found the order to stand when the disk worked again, and deposed the
// leader that the others had elected meanwhile.
func TestAnOrderToStandIsNotCarriedOutLate(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 34), members: 5, variant: inProductionTurns, settings: asInProduction}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		victim, hung := s.members[0], s.members[4]
		for range 3 {
			victim.start()
			s.awaitReady()
			s.transfer(victim)
			time.Sleep(3 * time.Second)
			hung.disk.slow.Store(int64(4 * time.Second)) // shorter than what ends the node
			s.mustIssue(victim, "ann")
			time.Sleep(10 * time.Millisecond)
			hung.disk.slow.Store(0)
			victim.kill()
			time.Sleep(2 * time.Second)
			witness := s.members[1].running().node.replica.raft
			before := witness.CurrentTerm()
			s.mustIssue(s.members[1], "ann")
			time.Sleep(6 * time.Second)
			if after := witness.CurrentTerm(); after != before {
				t.Errorf("term %d became %d when the disk worked again", before, after)
			}
		}
	})
}

// A candidate stood again before its election could be over: with synced writes of 40 ms sixteen times,
// and with 240 ms nobody won before raft's own timers did.
func TestASlowElectionIsNotBrokenOff(t *testing.T) {
	for write, limit := range map[time.Duration]time.Duration{40 * time.Millisecond: time.Second, 240 * time.Millisecond: 5 * time.Second} {
		t.Run(write.String(), func(t *testing.T) {
			simulate(t, simOptions{seed: simSeed(t, 33), variant: inProductionTurns, settings: asInProduction}, func(t *testing.T, s *sim) {
				s.startAll()
				s.addUser("ann")
				for range 5 {
					s.awaitReady()
					victim := s.leader()
					successor := s.followerOf(victim)
					term := victim.running().node.replica.raft.CurrentTerm()
					time.Sleep(3 * time.Second)
					s.slowDisks(write)
					began := time.Now()
					victim.kill()
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					_, err := successor.running().issue(ctx, "ann")
					cancel()
					if took := time.Since(began); err != nil || took > limit {
						t.Errorf("a token is issued after %v, %v", took, err)
					}
					if used := successor.running().node.replica.raft.CurrentTerm() - term; used > 4 {
						t.Errorf("%d terms were used up", used)
					}
					s.slowDisks(0)
					victim.start()
				}
			})
		})
	}
}

func (s *sim) slowDisks(write time.Duration) {
	for _, m := range s.members {
		m.disk.slow.Store(int64(write))
	}
}

// A client that could not reach a peer answers from memory for a while. So one refusal counted twice,
// and an old one, too.
func TestAPortThatRefusesIsAskedTwice(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	client, err := cluster.NewClient(cluster.ClientConfig{
		ClusterName: "x", Now: time.Now,
		TLS: func() *tls.Config {
			return &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{{}}}
		},
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, refused },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for opens, want := range map[int64]bool{0: true, 2: false, 3: true} {
		t.Run(fmt.Sprintf("open at dial %d", opens), func(t *testing.T) {
			var dials atomic.Int64
			r := &replica{peers: client}
			r.vigil.dial = func(context.Context, raft.ServerAddress) error {
				if dials.Add(1) == opens {
					return nil
				}
				return refused
			}
			if got := r.refuses(t.Context(), "127.0.0.1:1"); got != want || dials.Load() != vigilProbes {
				t.Errorf("got %t after %d dials, want %t after %d", got, dials.Load(), want, vigilProbes)
			}
		})
	}
}

// The way to a leader ended for a moment, and with it the connections between all; when it was back, the
// vigil went on with what it had seen before.
func TestALeaderThatAnswersAgainIsNotReplaced(t *testing.T) {
	var cut atomic.Bool
	v := variant{tamper: func(r *replica) {
		r.peers = refusedPeers{r.peers, &cut}
		r.vigil.dial = func(ctx context.Context, address raft.ServerAddress) error {
			_, err := r.peers.Status(ctx, address)
			return err
		}
	}}
	simulate(t, simOptions{seed: simSeed(t, 35), variant: v, settings: patient}, func(t *testing.T, s *sim) {
		s.startAll()
		s.awaitReady()
		term := s.leader().running().node.replica.raft.CurrentTerm()
		for range 5 {
			cut.Store(true)
			s.net.ended(s.members)
			time.Sleep(4 * vigilPause)
			cut.Store(false)
			time.Sleep(simHeartbeat)
		}
		if now := s.leader().running().node.replica.raft.CurrentTerm(); now != term {
			t.Errorf("term %d has become %d", term, now)
		}
	})
}

// refusedPeers is the peers of a member behind a proxy that at times is not there.
type refusedPeers struct {
	peers
	gone *atomic.Bool
}

func (p refusedPeers) Status(ctx context.Context, address raft.ServerAddress) (cluster.Status, error) {
	if p.gone.Load() {
		return cluster.Status{}, errRefused
	}
	return p.peers.Status(ctx, address)
}

// A node that had had its say about the leadership took it while it ended.
func TestWhoIsEndingStandsNoMore(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 36), settings: patient}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		ending, stays, victim := s.members[0], s.members[1], s.members[2]
		s.transfer(victim)
		s.awaitReady()
		ending.running().node.replica.vigil.over.Store(true)
		s.mustReplace(victim, func() {})
		if s.leader() != stays {
			t.Errorf("%s leads, want %s", s.leader().name, stays.name)
		}
	})
}
