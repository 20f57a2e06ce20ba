package node

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// slowLink holds up what a node proposes to others, like a packet that is sent again and again.
type slowLink struct {
	peers
	hold func(commands [][]byte) <-chan struct{}
}

func (p slowLink) Propose(ctx context.Context, address raft.ServerAddress, commands [][]byte) ([][]byte, cluster.Confirmation, error) {
	if wait := p.hold(commands); wait != nil {
		// The network has it. It arrives whatever becomes of the process.
		deadline, _ := ctx.Deadline()
		late, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		go func() {
			defer cancel()
			<-wait
			sp := p.peers.(simPeers)
			to, err := sp.from.member.sim.net.listener(address)
			if err == nil {
				_, _ = peerHandler{to.node}.Propose(late, sp.from.member.name, commands)
			}
		}()
		<-ctx.Done()
		return nil, cluster.Confirmation{}, ctx.Err()
	}
	return p.peers.Propose(ctx, address, commands)
}

// A node gave its lease back and was killed; the message arrived when its next process had a
// lease already, and the next leader knew of none that lasts.
func TestALateFarewellOfAFormerProcessEndsNoLease(t *testing.T) {
	var release, held chan struct{} // of the bubble
	armed := false
	v := variant{lease: simLease, tamper: func(r *replica) {
		if r.id != "id-n2" {
			return
		}
		r.peers = slowLink{r.peers, func(commands [][]byte) <-chan struct{} {
			leases, _ := leasesOf(commands)
			if armed && len(leases) > 0 && leases[0].Span == 1 {
				select {
				case held <- struct{}{}:
					return release
				default:
				}
			}
			return nil
		}}
	}}
	simulate(t, simOptions{seed: simSeed(t, 12), variant: v}, func(t *testing.T, s *sim) {
		s.startAll()
		n1, n2, n3 := s.members[0], s.members[1], s.members[2]
		s.transfer(n1)
		s.addUser("ann")
		pair := s.mustIssue(n1, "ann")
		has := func() bool {
			return s.authenticateWithin(n2, pair.AccessToken, time.Second) == nil && n2.running().node.replica.lease.holds()
		}
		s.eventually("n2 has a lease", has)
		release, held = make(chan struct{}), make(chan struct{}, 1)
		armed = true
		ctx, cancel := context.WithCancel(t.Context())
		go n2.running().node.announceEnd(ctx, simLease)
		<-held // SIGTERM: the farewell is on its way
		cancel()
		n2.kill() // and SIGKILL right after
		n2.start()
		s.eventually("n2 has a lease again", has)
		close(release) // the farewell arrives
		time.Sleep(20 * time.Millisecond)
		s.eventually("n2 still has it", has)
		s.net.isolate(names(n2), names(n1, n3), false)
		s.handTo(n1, n3)
		s.eventually("n3 leads", func() bool { _, fit := n3.running().node.replica.inOffice(); return fit })
		s.mustInvalidate(n3, "ann", pair.AccessToken)
		if err := s.authenticateWithin(n2, pair.AccessToken, 10*time.Millisecond); err == nil {
			t.Error("n2 accepts a token whose end was acknowledged")
		}
	})
}
