package node

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestANodeThatWaitsForALeaderStaysReady: else all nodes would say at once that they
// are not, and a load balancer would refuse what any of them would have answered.
func TestANodeThatWaitsForALeaderStaysReady(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 1)}, func(t *testing.T, s *sim) {
		s.startAll()
		p := s.followers()[0].running()
		n := p.node
		n.member.Store(true)
		n.initialized.Store(true)
		n.background.Go(func() { n.watchReadiness(p.ctx) })
		time.Sleep(time.Second)
		if reasons := n.NotReady(); len(reasons) > 0 {
			t.Fatalf("not ready: %v", reasons)
		}
		leader := s.leader()
		leader.kill()
		for range 100 { // an election takes two timeouts or so
			time.Sleep(20 * time.Millisecond)
			if reasons := n.NotReady(); len(reasons) > 0 {
				t.Fatalf("not ready while a leader is elected: %v", reasons)
			}
		}
		for _, m := range s.members {
			if r := m.running(); r != nil && r.node != n {
				m.kill()
			}
		}
		time.Sleep(readinessInterval + readinessElections*2*simHeartbeat + time.Second)
		if reasons := n.NotReady(); len(reasons) == 0 {
			t.Error("ready without a quorum")
		}
		leader.start()
	})
}

// Who waits for others to form a cluster says so to everybody who asks, not in its log alone.
func TestANodeSaysForWhomItWaits(t *testing.T) {
	s := newSite(t)
	s.config.Discovery.SingleNode = false
	s.config.Discovery.InitialMasterNodes = []string{s.config.NodeName, "zoe"}
	n, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.mustClose(n)
	want := "waiting for zoe of cluster.initial_master_nodes to answer (found " + s.config.NodeName + "): start them"
	insist(t, func() error {
		if reasons := n.NotReady(); !slices.Equal(reasons, []string{"not a member of the cluster yet: " + want}) {
			return fmt.Errorf("it is not ready because of %q", reasons)
		}
		return nil
	})
	if got := n.status().Waiting; got != want {
		t.Errorf("peers hear %q", got)
	}
}
