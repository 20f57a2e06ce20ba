package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/node/certs"
)

// sibling is one more node of the site's cluster.
func (s *site) sibling(name string) *site {
	s.tb.Helper()
	other, c := *s, *s.config
	other.config = &c
	err := s.folder.IssueNode(certs.NodeRequest{
		Identity: certs.Identity{Cluster: "jeton", Node: name}, Hosts: []string{"127.0.0.1"}, Lifetime: time.Hour,
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	c.NodeName, c.DataPath = name, s.tb.TempDir()
	c.Discovery.SingleNode = false
	c.Discovery.SeedHosts = []string{s.config.Transport.PublishAddress()}
	c.HTTP.Port, c.Transport.Port = freePort(s.tb), freePort(s.tb)
	c.Transport.TLS.Files, c.HTTP.TLS.Files = s.folder.NodeTransport(name), s.folder.NodeHTTP(name)
	return &other
}

// insist does something until it succeeds: a leader may have to be found again.
func insist(t *testing.T, do func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// steady is a site whose nodes have time to answer each other, on a busy machine, too.
func steady(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.config.Raft.HeartbeatTimeout, s.config.Raft.ElectionTimeout = 300*time.Millisecond, 300*time.Millisecond
	return s
}

// twoOfFour makes a cluster of two nodes and two voters that are not there, and stops it.
func twoOfFour(t *testing.T) (one, two *site, ids [2]raft.ServerID) {
	t.Helper()
	one = steady(t)
	first := one.mustOpen()
	two = one.sibling("two")
	second := two.mustOpen()
	ids = [2]raft.ServerID{first.replica.id, second.replica.id}
	leading := func() *cluster.Membership {
		if second.replica.leads() {
			return second.membership
		}
		return first.membership
	}
	insist(t, func() error { return leading().Promote(t.Context(), ids[1]) })
	for i, id := range []raft.ServerID{"lost", "gone"} {
		insist(t, func() error {
			_, err := leading().AddOrUpdate(t.Context(), id, raft.ServerAddress(fmt.Sprintf("127.0.0.1:%d", i+1)))
			return err
		})
	}
	insist(t, func() error { return leading().Promote(t.Context(), "lost") })
	insist(t, func() error { // nobody can agree to it any more, but both know of it
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := leading().Promote(ctx, "gone")
		if len(first.replica.voters()) == 4 && len(second.replica.voters()) == 4 {
			return nil
		}
		return fmt.Errorf("%d and %d voters: %w", len(first.replica.voters()), len(second.replica.voters()), err)
	})
	one.mustClose(first)
	two.mustClose(second)
	return one, two, ids
}

// Two survivors that were to go on alone took each other for lost: their ports were open, and
// nobody served them. There were two clusters.
func TestOfTwoSurvivorsAtMostOneGoesOn(t *testing.T) {
	one, two, ids := twoOfFour(t)
	one.survive(ids[0], false)
	two.survive(ids[1], false)
	var opening sync.WaitGroup
	opened, refused := make([]*Node, 2), make([]error, 2)
	for i, s := range []*site{one, two} {
		opening.Go(func() {
			opened[i], refused[i] = s.open()
		})
	}
	opening.Wait()
	on := 0
	for i, n := range opened {
		if n != nil {
			on++
			one.mustClose(n)
		}
		if err := refused[i]; err != nil && !strings.Contains(err.Error(), "decide which of the") &&
			!strings.Contains(err.Error(), "was recovered without this node") {
			t.Error(err)
		}
	}
	if on > 1 {
		t.Error("both went on")
	}
}

// A member that was left behind refuses to start where it can learn it, and ends when it
// does; emptied, it joins, with the lineage and the state of the survivor.
func TestWhoWasLeftBehindEndsAndJoinsAnew(t *testing.T) {
	one, two, ids := twoOfFour(t)
	early, err := two.open()
	if err != nil {
		t.Fatal(err)
	}
	one.survive(ids[0], false)
	if _, err := one.open(); err == nil || !strings.Contains(err.Error(), "two at "+two.config.Transport.PublishAddress()+" has a vote and is alive") {
		t.Fatalf("one went on beside two: %v", err)
	}
	two.mustClose(early)

	survivor := one.mustOpen()
	before := survivor.descent.own()
	if before.recoveries() != 1 || survivor.status().Epoch != 1 {
		t.Fatalf("lineage %x, epoch %d", before, survivor.status().Epoch)
	}
	if _, err := two.open(); !errors.Is(err, errLeftBehind) {
		t.Errorf("with its data of before: %v", err)
	}
	two.survive(ids[1], false) // as it was told to go on alone, too
	if _, err := two.open(); err == nil || !strings.Contains(err.Error(), " a cluster that was recovered without this node") {
		t.Errorf("it is to be recovered, too: %v", err)
	}
	if err := os.Remove(filepath.Join(two.config.DataPath, peersFile)); err != nil {
		t.Fatal(err)
	}
	request := cluster.JoinRequest{ID: ids[1], Address: "127.0.0.1:3", Level: survivor.replica.levels.highest}
	if err := (peerHandler{survivor}).Join(t.Context(), request); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "empty its path.data") {
		t.Errorf("it moved, and asks to join with its data of before: %v", err)
	}

	one.mustClose(survivor)
	early, err = two.open() // nobody tells it
	if err != nil {
		t.Fatal(err)
	}
	survivor = one.mustOpen()
	if err := early.Wait(); !errors.Is(err, errLeftBehind) {
		t.Errorf("it has met the survivor: %v", err)
	}
	two.mustClose(early)
	if status := survivor.status(); len(status.Members) != 1 || survivor.descent.own() != before {
		t.Errorf("the survivor says %+v, lineage %x", status, survivor.descent.own())
	}

	if err := os.RemoveAll(two.config.DataPath); err != nil {
		t.Fatal(err)
	}
	anew := two.mustOpen()
	if anew.descent.own() != before || lineage(anew.replica.state.Summary().Lineage) != before || anew.status().Epoch != 1 {
		t.Errorf("lineage %x, its state's %x, epoch %d", anew.descent.own(), anew.replica.state.Summary().Lineage, anew.status().Epoch)
	}
	access, _ := one.issue()
	if got := two.authenticate(access); got != http.StatusOK {
		t.Errorf("a token of the survivor: %d", got)
	}
}

// Two of three, taken for lost, came back with their data while nobody could tell them, elected a leader, and took the
// survivor back, whose log then went on with entries of the former cluster. They end as soon as they look for it.
func TestAMajorityThatWasLeftBehindDoesNotTakeTheSurvivorBack(t *testing.T) {
	one := steady(t)
	nodes := []*Node{one.mustOpen()}
	lost := []*site{one.sibling("two"), one.sibling("three")}
	for _, s := range lost {
		n := s.mustOpen()
		insist(t, func() error { return nodes[0].membership.Promote(t.Context(), n.replica.id) })
		nodes = append(nodes, n)
	}
	ended, _ := one.issue()
	id := nodes[0].replica.id
	for _, n := range nodes {
		one.mustClose(n)
	}

	one.survive(id, true)
	survivor := one.mustOpen()
	own := survivor.descent.own()
	if status, answer := one.ask(http.MethodDelete, "/_security/oauth2/token", "", `{"token":"`+ended+`"}`); status != http.StatusOK {
		t.Fatalf("invalidate: %d %v", status, answer)
	}
	one.mustClose(survivor)

	former := make([]*Node, len(lost))
	for i, s := range lost {
		n, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.mustClose(n) })
		former[i] = n
	}
	for _, n := range former {
		awaitReadiness(t, n)
	}
	for range 30 { // terms and entries of their own, more than the survivor has
		lost[0].issue()
	}

	survivor = one.mustOpen()
	var ending sync.WaitGroup
	for _, n := range former { // the leader first; then the other one becomes a candidate
		ending.Go(func() {
			if err := n.Wait(); !errors.Is(err, errLeftBehind) {
				t.Errorf("it goes on: %v", err)
			}
			one.mustClose(n)
		})
	}
	ending.Wait()
	if got := one.authenticate(ended); got != http.StatusUnauthorized {
		t.Errorf("what ended after the recovery: %d", got)
	}
	if status := survivor.status(); len(status.Members) != 1 || survivor.descent.own() != own || status.LeaderID != id {
		t.Errorf("the survivor says %+v, lineage %x", status, survivor.descent.own())
	}
}

// A node may choose whom to join until it has. Who asks it meanwhile is told nothing, and settles nothing.
func TestALineageIsSettledOnce(t *testing.T) {
	once := lineage{7: 1}
	starting := [16]byte{}
	for i := range starting {
		starting[i] = 0xff
	}
	for name, test := range map[string]struct {
		first func(d *descent) bool
		told  [16]byte
		own   lineage
	}{
		"starting":            {func(*descent) bool { return true }, starting, lineage{}},
		"spoken to too early": {func(d *descent) bool { return !d.heard(starting) && !d.heard([16]byte{}) }, starting, lineage{}},
		"settled":             {func(d *descent) bool { d.settle(once); return d.heard(once) }, once, once},
		"settled just before": {func(d *descent) bool { d.settle(once); return !d.heard([16]byte{}) && !d.heard(starting) }, once, once},
		"settled twice":       {func(d *descent) bool { d.settle(once); d.settle(lineage{7: 2}); return true }, once, once},
	} {
		t.Run(name, func(t *testing.T) {
			d := &descent{}
			if !test.first(d) || d.told() != test.told || d.own() != test.own {
				t.Errorf("it tells %x, and is of %x", d.told(), d.own())
			}
		})
	}
}
