package node

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/token"
)

// gate holds up who passes: the first until first is closed, the others until rest is.
type gate struct {
	passed      atomic.Int64
	first, rest chan struct{}
}

func (g *gate) pass() {
	if g.passed.Add(1) == 1 {
		<-g.first
		return
	}
	<-g.rest
}

// A leader that lost its office and won another between looking whether it is fit to
// lead and appending acknowledged the revocation by what it knew in the first: not of the
// leases that the leader in between had granted.
func TestARevocationOfTheNextOfficeIsNotAcknowledgedByTheLast(t *testing.T) {
	var armed atomic.Pointer[gate]
	v := variant{lease: simLease, tamper: func(r *replica) {
		if r.id != "id-n1" {
			return
		}
		now := r.clock.bootTime
		r.clock.bootTime = func() time.Duration {
			if g := armed.Load(); g != nil {
				g.pass()
			}
			return now()
		}
	}}
	simulate(t, simOptions{seed: simSeed(t, 12), variant: v}, func(t *testing.T, s *sim) {
		s.startAll()
		n1, n2, n3 := s.members[0], s.members[1], s.members[2]
		s.transfer(n1)
		s.addUser("ann")
		pair := s.mustIssue(n1, "ann")
		g := &gate{first: make(chan struct{}), rest: make(chan struct{})}
		armed.Store(g)
		acknowledged := make(chan struct{})
		go func() {
			defer close(acknowledged)
			s.mustInvalidate(n1, "ann", pair.AccessToken)
		}()
		s.eventually("n1 is about to append", func() bool { return g.passed.Load() > 0 })

		s.handTo(n1, n2)
		s.eventually("n2 leads", func() bool { _, fit := n2.running().node.replica.inOffice(); return fit })
		s.eventually("n3 has a lease", func() bool {
			return s.authenticateWithin(n3, pair.AccessToken, time.Second) == nil && n3.running().node.replica.lease.holds()
		})
		s.net.isolate(names(n3), names(n1, n2), false)
		s.handTo(n2, n1)
		s.eventually("n1 leads again", n1.running().node.replica.leads)

		close(g.first)
		time.Sleep(simHeartbeat / 3)
		if !n3.running().node.replica.lease.holds() {
			t.Fatal("the lease is over: nothing is shown")
		}
		select {
		case <-acknowledged:
			t.Errorf("acknowledged, and n3 still answers %v", s.authenticateWithin(n3, pair.AccessToken, time.Second))
		default:
		}
		close(g.rest)
		<-acknowledged
		if err := s.authenticateWithin(n3, pair.AccessToken, simHeartbeat); err == nil {
			t.Error("n3 accepts what was invalidated")
		}
	})
}

// handTo has one member hand its leadership to another, without waiting for it to be fit.
func (s *sim) handTo(from, to *member) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), recovery)
	defer cancel()
	if err := await(ctx, from.running().node.replica.raft.LeadershipTransferToServer(to.id, to.address)); err != nil {
		s.t.Fatalf("hand over from %s to %s: %v", from.name, to.name, err)
	}
}

// A snapshot that is sent again, for the first answer was lost, may arrive when much that
// came after it has been applied. The state once went back to it.
func TestALateSnapshotBringsNothingBack(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 13), variant: variant{lease: simLease}}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		leader, holder := s.leader(), s.followers()[0]
		pair := s.mustIssue(leader, "ann")
		ctx, cancel := context.WithTimeout(t.Context(), recovery)
		defer cancel()
		raftOf := leader.running().node.replica.raft
		if err := await(ctx, raftOf.Snapshot()); err != nil {
			t.Fatal(err)
		}
		s.eventually("the follower has a lease", func() bool {
			return s.authenticateWithin(holder, pair.AccessToken, time.Second) == nil && holder.running().node.replica.lease.holds()
		})
		s.mustInvalidate(leader, "ann", pair.AccessToken)
		s.eventually("the follower knows", func() bool {
			return s.authenticateWithin(holder, pair.AccessToken, time.Second) != nil
		})

		late := leader.disk.snapshots[0]
		request := &raft.InstallSnapshotRequest{
			RPCHeader:       raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader.id), Addr: []byte(leader.address)},
			SnapshotVersion: late.meta.Version, Term: raftOf.CurrentTerm(), LastLogIndex: late.meta.Index, LastLogTerm: late.meta.Term,
			Configuration: raft.EncodeConfiguration(late.meta.Configuration), ConfigurationIndex: late.meta.ConfigurationIndex, Size: late.meta.Size,
		}
		transport := &simTransport{from: leader.running(), address: leader.address, addressOf: newAddressBook().addressOf, timeout: time.Second}
		var response raft.InstallSnapshotResponse
		if err := transport.InstallSnapshot(holder.id, holder.address, request, &response, bytes.NewReader(late.content)); err != nil || !response.Success {
			t.Fatalf("install: %+v, %v", response, err)
		}
		if !holder.running().node.replica.lease.holds() {
			t.Fatal("the lease is over: nothing is shown")
		}
		if err := s.authenticateWithin(holder, pair.AccessToken, time.Second); !errors.Is(err, token.ErrExpired) {
			t.Errorf("the invalidated token: %v, want %v", err, token.ErrExpired)
		}
	})
}

// A lease of a follower whose clock is slow ends late, and sooner to a leader whose clock is
// fast. Two percent each are allowed for; more are not, which shows that the rates matter.
func TestLeasesAllowForClocksOfDifferentRates(t *testing.T) {
	for _, c := range []struct {
		name  string
		rate  float64
		stale bool
	}{{"two percent", .02, false}, {"twenty percent", .2, true}} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, simOptions{seed: simSeed(t, 14), variant: variant{lease: fsm.MaxLease * time.Millisecond}}, func(t *testing.T, s *sim) {
				leader, holder := s.members[0], s.members[1]
				leader.rate, holder.rate = c.rate, -c.rate
				s.startAll()
				s.transfer(leader)
				s.addUser("ann")
				pair := s.mustIssue(leader, "ann")
				s.eventually("the follower has a lease", func() bool {
					return s.authenticateWithin(holder, pair.AccessToken, time.Second) == nil && holder.running().node.replica.lease.holds()
				})
				s.net.isolate(names(holder), names(leader, s.members[2]), false)
				began := time.Now()
				s.mustInvalidate(leader, "ann", pair.AccessToken)
				if time.Since(began) < 3*time.Second {
					t.Errorf("acknowledged after %v: nothing is shown", time.Since(began))
				}
				if err := s.authenticateWithin(holder, pair.AccessToken, simHeartbeat); (err == nil) != c.stale {
					t.Errorf("once the invalidation is acknowledged the follower answers %v", err)
				}
			})
		})
	}
}

// countingPeers counts what a node asks of others beside raft's own messages.
type countingPeers struct {
	peers
	asked *atomic.Int64
}

func (p countingPeers) Propose(ctx context.Context, address raft.ServerAddress, commands [][]byte) ([][]byte, cluster.Confirmation, error) {
	p.asked.Add(1)
	return p.peers.Propose(ctx, address, commands)
}

func (p countingPeers) StartConfirm(address raft.ServerAddress, done func(cluster.Confirmation, error)) {
	p.asked.Add(1)
	p.peers.StartConfirm(address, done)
}

func TestAReadByLeaseAsksNobody(t *testing.T) {
	for _, span := range []time.Duration{0, simLease} {
		t.Run(span.String(), func(t *testing.T) {
			var asked atomic.Int64
			v := variant{lease: span, tamper: func(r *replica) {
				if r.id == "id-n2" {
					r.peers = countingPeers{r.peers, &asked}
				}
			}}
			simulate(t, simOptions{seed: simSeed(t, 15), variant: v}, func(t *testing.T, s *sim) {
				s.startAll()
				s.transfer(s.members[0])
				s.addUser("ann")
				follower := s.members[1]
				pair := s.mustIssue(s.members[0], "ann")
				s.eventually("the follower accepts the token", func() bool {
					r := follower.running().node.replica
					return s.authenticateWithin(follower, pair.AccessToken, time.Second) == nil && (span == 0 || r.lease.holds())
				})
				const reads = 1000
				before := asked.Load()
				for range reads {
					if err := s.authenticateWithin(follower, pair.AccessToken, time.Second); err != nil {
						t.Fatal(err)
					}
				}
				got := asked.Load() - before
				switch {
				case span > 0 && got > 0:
					t.Errorf("%d questions for %d reads by lease", got, reads)
				case span == 0 && got < reads:
					t.Errorf("%d questions for %d reads one after the other: nothing is counted", got, reads)
				}
			})
		})
	}
}

// A client that has its token from a follower shows it there next, mostly. The follower, which alone makes the leader's
// majority here, learns with the answer that its entry is committed, not with the leader's next message.
func TestAFollowerKnowsAtOnceWhatItHadIssued(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 17)}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		leader, followers := s.leader(), s.followers()
		s.net.isolate([]string{followers[1].name}, []string{leader.name, followers[0].name}, false)
		for range 20 {
			pair := s.mustIssue(followers[0], "ann")
			began := time.Now()
			for want := leader.running().node.replica.state.Applied(); followers[0].running().node.replica.state.Applied() < want; {
				time.Sleep(100 * time.Microsecond)
			}
			if late := time.Since(began); late > 5*time.Millisecond {
				t.Errorf("the follower applied what it had issued after %s", late)
			}
			if err := s.authenticateWithin(followers[0], pair.AccessToken, time.Second); err != nil {
				t.Error(err)
			}
		}
	})
}

// A node that ends in order gives its lease back. Else revocations would wait a second for it with each restart: at the
// leader until the lease is over, and at a new one from the beginning of its office.
func TestNoRevocationWaitsForWhoEndedInOrder(t *testing.T) {
	for _, ends := range []string{"leader", "follower"} {
		t.Run(ends, func(t *testing.T) {
			simulate(t, simOptions{seed: simSeed(t, 16), variant: variant{lease: simLease}}, func(t *testing.T, s *sim) {
				s.startAll()
				s.addUser("ann")
				m, stays := s.leader(), s.followers()[0]
				if ends == "follower" {
					m, stays = stays, m
				}
				pair := s.mustIssue(stays, "ann")
				s.eventually("both have a lease", func() bool {
					has := func(m *member) bool {
						return s.authenticateWithin(m, pair.AccessToken, time.Second) == nil && m.running().node.replica.lease.holds()
					}
					return has(m) && has(stays)
				})
				m.running().node.announceEnd(t.Context(), simLease+simLease/10)
				m.terminate()
				began := time.Now()
				s.mustInvalidate(stays, "ann", pair.AccessToken)
				if took := time.Since(began); took > simLease/4 {
					t.Errorf("an invalidation after the end of the %s took %v", ends, took)
				}
			})
		})
	}
}

// A leader that was paused in the middle of a look at the clocks took the pause for a lead of
// theirs, and the cluster's time was ahead by it: for ever, since time on the log never goes back.
func TestAPauseInALookAtTheClocksDoesNotPutTheTimeAhead(t *testing.T) {
	var paused atomic.Bool
	v := variant{tamper: func(r *replica) {
		wall := r.clock.wall
		r.clock.wall = func() time.Time {
			if paused.Swap(false) {
				time.Sleep(10 * time.Second)
			}
			return wall()
		}
	}}
	simulate(t, simOptions{seed: simSeed(t, 18), members: 1, variant: v}, func(t *testing.T, s *sim) {
		s.startAll()
		r := s.leader().running().node.replica
		paused.Store(true)
		r.setClock()
		if paused.Load() {
			t.Fatal("nothing was paused")
		}
		if ahead := time.Until(r.clock.Now()); ahead > 0 {
			t.Errorf("the cluster's time is %v ahead", ahead)
		}
	})
}

// What only one node may ask for is not taken from another: a lease in another's name took
// the place of that node's own, and a new leader did not wait for its end.
func TestAPeerSpeaksForNobodyElse(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 9), variant: variant{lease: simLease}}, func(t *testing.T, s *sim) {
		s.startAll()
		leader, follower, other := s.leader(), s.followers()[0], s.followers()[1]
		for _, c := range []struct {
			name    string
			command fsm.Command
			want    error
		}{
			{"its own lease", fsm.Lease{Holder: string(follower.id), Boot: 9, Number: 1, Span: 1}, nil},
			{"another's lease", fsm.Lease{Holder: string(other.id), Boot: 9, Number: 1, Span: 1}, cluster.ErrRefused},
			{"the leader's lease", fsm.Lease{Holder: string(leader.id), Boot: 9, Number: 1, Span: 1}, cluster.ErrRefused},
			{"a stranger's lease", fsm.Lease{Holder: "x", Boot: 9, Number: 1, Span: 1}, cluster.ErrRefused},
			{"a level", fsm.RaiseLevel{Level: 2}, cluster.ErrRefused},
		} {
			command := fsm.AppendCommand(nil, c.command)
			fsm.OperationID{byte(len(c.name))}.Name(command)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := (simPeers{follower.running()}).Propose(ctx, leader.address, [][]byte{command}); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			cancel()
		}
		if level := leader.running().node.replica.state.Level(); level != 1 {
			t.Errorf("the level is %d", level)
		}
	})
}

// Whoever refreshes what was invalidated hears so when no holder of a lease can believe
// otherwise. What was on the log's way together with it waited, too: for a second after a node's death
// nobody could log in.
func TestOnlyTheRefusedWaitsForADeadHolder(t *testing.T) {
	const span = 10 * simLease
	simulate(t, simOptions{seed: simSeed(t, 22), variant: variant{lease: span}}, func(t *testing.T, s *sim) {
		s.startAll()
		s.addUser("ann")
		leader, dead, stays := s.leader(), s.followers()[0], s.followers()[1]
		pair := s.mustIssue(leader, "ann")
		s.mustInvalidate(leader, "ann", pair.AccessToken)
		ended := s.mustIssue(leader, "ann")
		ctx, cancel := context.WithTimeout(t.Context(), recovery)
		defer cancel()
		if _, err := leader.running().invalidate(ctx, "ann", token.InvalidateRequest{RefreshToken: ended.RefreshToken}); err != nil {
			t.Fatal(err)
		}
		s.eventually("both followers have a lease", func() bool {
			has := func(m *member) bool {
				return s.authenticateWithin(m, ended.AccessToken, time.Second) == nil && m.running().node.replica.lease.holds()
			}
			return has(dead) && has(stays)
		})
		dead.kill()
		began := time.Now()
		var refused sync.WaitGroup
		for _, m := range []*member{leader, stays} {
			for range 2 * maxInFlight {
				refused.Go(func() {
					_, err := m.running().refresh(ctx, "ann", ended.RefreshToken)
					if refusal, ok := errors.AsType[*fsm.RefusalError](err); !ok || refusal.Reason != fsm.TokenInvalidated {
						t.Errorf("refresh of an invalidated token at %s: %v", m.name, err)
					}
					if took := time.Since(began); took < span/2 {
						t.Errorf("refused %v after the death of somebody who may read for %v", took, span)
					}
				})
			}
		}
		time.Sleep(simLease / 10)
		for _, m := range []*member{leader, stays} {
			s.mustIssue(m, "ann")
		}
		if took := time.Since(began); took > span/10 {
			t.Errorf("two logins took %v", took)
		}
		refused.Wait()
	})
}
