package cluster_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A reader may hear of a commit before raft does. Raft then believes it exactly as
// it would believe its leader: in the term, and about the entry that it has.
func TestRaftLearnsOfACommitFromAReader(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		network, book := &pipeNetwork{listeners: make(map[string]*pipeListener)}, new(sync.Map)
		members := make([]*member, 3)
		var servers []raft.Server
		for i := range members {
			id := fmt.Sprintf("n%d", i+1)
			members[i] = &member{id: raft.ServerID(id), network: network, book: book, config: ca.node(t, id), commitTimeout: time.Hour}
			members[i].start(t, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
			servers = append(servers, raft.Server{ID: members[i].id, Address: members[i].address})
		}
		if err := members[0].raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
			t.Fatal(err)
		}
		var leader *member
		eventually(t, "a leader", func() bool { leader = leaderOf(members); return leader != nil })
		apply(t, leader, "word")
		term, index := leader.raft.CurrentTerm(), leader.raft.LastIndex()
		var follower *member
		eventually(t, "a follower has the entry", func() bool {
			for _, m := range members {
				if _, known := m.raft.LeaderWithID(); m != leader && known == leader.id && m.raft.LastIndex() == index {
					follower = m
				}
			}
			return follower != nil
		})
		tell := func(term, index, entryTerm uint64) int {
			follower.transport.LearnCommit(leader.id, leader.address, term, index, entryTerm)
			time.Sleep(10 * time.Millisecond) // of the bubble
			return follower.fsm.len()
		}
		for _, wrong := range []struct {
			what                   string
			term, index, entryTerm uint64
		}{
			{"nothing said", term, 0, 0},
			{"a term that is over", term - 1, index, term},
			{"an entry of another term", term, index, term + 7},
			{"an entry that it has not", term, index + 1, term},
		} {
			if got := tell(wrong.term, wrong.index, wrong.entryTerm); got != 0 {
				t.Errorf("%s: %d entries applied", wrong.what, got)
			}
		}
		if got := tell(term, index, term); got != 1 {
			t.Errorf("told the truth: %d entries applied, want 1", got)
		}
		if follower.raft.State() != raft.Follower || follower.raft.CurrentTerm() != term {
			t.Errorf("it is now %s in term %d", follower.raft.State(), follower.raft.CurrentTerm())
		}
	})
}
