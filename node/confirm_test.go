package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/node/realm"
)

func voterSet(ids ...raft.ServerID) (voters []voter, fingerprint uint64) {
	for i, id := range ids {
		voters = append(voters, voter{id: id, address: raft.ServerAddress(id), self: i == 0})
	}
	return voters, fingerprintOf(voters)
}

func TestPollAcceptsOnlyAMajorityInOneTermWithItsLeader(t *testing.T) {
	voters, fingerprint := voterSet("a", "b", "c")
	follower := func(id raft.ServerID, term uint64) cluster.Confirmation {
		return cluster.Confirmation{ServerID: id, Term: term, Voter: true}
	}
	leader := func(id raft.ServerID, term, applied uint64) cluster.Confirmation {
		return cluster.Confirmation{ServerID: id, Term: term, Voter: true, Leader: true, Applied: applied, Voters: fingerprint}
	}
	otherVoters := leader("b", 3, 9)
	otherVoters.Voters++
	nonvoter := follower("c", 3)
	nonvoter.Voter = false
	cases := []struct {
		name    string
		answers []cluster.Confirmation
		index   uint64
		ok      bool
	}{
		{"leader and self", []cluster.Confirmation{follower("a", 3), leader("b", 3, 9)}, 9, true},
		{"leader asks: self and one follower", []cluster.Confirmation{leader("a", 3, 9), follower("c", 3)}, 9, true},
		{"leader alone", []cluster.Confirmation{leader("a", 3, 9)}, 0, false},
		{"majority without leader", []cluster.Confirmation{follower("a", 3), follower("b", 3), follower("c", 3)}, 0, false},
		{"leader of an older term is outvoted", []cluster.Confirmation{follower("a", 4), leader("b", 3, 9), follower("c", 4)}, 0, false},
		{"old leader and a straggler are a majority of their term", []cluster.Confirmation{follower("a", 3), leader("b", 3, 9)}, 9, true},
		{"two leaders, the newer has the majority", []cluster.Confirmation{leader("a", 3, 9), leader("b", 4, 12), follower("c", 4)}, 12, true},
		{"two leaders, neither has a majority", []cluster.Confirmation{leader("a", 3, 9), leader("b", 4, 12)}, 0, false},
		{"leader counts other voters", []cluster.Confirmation{follower("a", 3), otherVoters, follower("c", 3)}, 0, false},
		{"the same voter twice", []cluster.Confirmation{leader("a", 3, 9), leader("a", 3, 9)}, 0, false},
		{"a stranger does not count", []cluster.Confirmation{leader("a", 3, 9), follower("x", 3)}, 0, false},
		{"a non-voter does not count", []cluster.Confirmation{leader("a", 3, 9), nonvoter}, 0, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newPoll(voters)
			var index uint64
			var ok bool
			for _, answer := range c.answers {
				if p.count(answer) && !ok {
					index, ok = p.leader.Applied, true
				}
			}
			if index != c.index || ok != c.ok {
				t.Errorf("index %d, ok %t, want %d, %t", index, ok, c.index, c.ok)
			}
		})
	}
}

// fakeElectorate answers questions after a delay.
type fakeElectorate struct {
	mu     sync.Mutex
	self   cluster.Confirmation
	list   []voter
	answer func(voter) (cluster.Confirmation, error)
	asked  []raft.ServerID
	rounds int
	wait   func(ctx context.Context, index uint64) error
}

func (e *fakeElectorate) confirmSelf() cluster.Confirmation {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rounds++
	return e.self
}
func (e *fakeElectorate) voters() []voter { return e.list }

func (e *fakeElectorate) ask(v voter, done func(cluster.Confirmation, error)) {
	e.mu.Lock()
	e.asked = append(e.asked, v.id)
	e.mu.Unlock()
	go func() { done(e.answer(v)) }()
}

func (e *fakeElectorate) catchUp(ctx context.Context, leader cluster.Confirmation) error {
	if e.wait == nil {
		return nil
	}
	return e.wait(ctx, leader.Applied)
}
func (e *fakeElectorate) heard(cluster.Confirmation) {}

func TestReadsThatArriveDuringARoundShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		voters, fingerprint := voterSet("self", "leader", "other")
		e := &fakeElectorate{self: cluster.Confirmation{ServerID: "self", Term: 2, Voter: true}, list: voters}
		e.list[0], e.list[1] = e.list[1], e.list[0]
		e.answer = func(voter) (cluster.Confirmation, error) {
			time.Sleep(time.Millisecond)
			return cluster.Confirmation{ServerID: "leader", Term: 2, Voter: true, Leader: true, Applied: 5, Voters: fingerprint}, nil
		}
		c := &confirmer{electorate: e}
		var readers sync.WaitGroup
		for range 500 {
			readers.Go(func() {
				if err := c.ConfirmRead(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		readers.Wait()
		c.close()
		if e.rounds > 2 {
			t.Errorf("%d rounds for 500 simultaneous reads, want 2 at most", e.rounds)
		}
		for _, id := range e.asked {
			if id != "leader" {
				t.Errorf("%s was asked although the leader answered in time", id)
			}
		}
	})
}

func TestARoundAsksTheOthersWhenTheFirstIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		voters, fingerprint := voterSet("leader", "slow", "fast")
		e := &fakeElectorate{list: voters}
		e.self = cluster.Confirmation{ServerID: "leader", Term: 2, Voter: true, Leader: true, Applied: 5, Voters: fingerprint}
		e.answer = func(v voter) (cluster.Confirmation, error) {
			if v.id == "slow" {
				time.Sleep(time.Second)
			}
			return cluster.Confirmation{ServerID: v.id, Term: 2, Voter: true}, nil
		}
		c := &confirmer{electorate: e}
		began := time.Now()
		if err := c.ConfirmRead(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != hedgeDelay {
			t.Errorf("took %v, want %v", took, hedgeDelay)
		}
		c.close()
		time.Sleep(time.Second) // until the slow voter has answered, too
	})
}

func TestWithoutAQuorumTheAnswerIsUnavailableAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		voters, fingerprint := voterSet("leader", "b", "c")
		e := &fakeElectorate{list: voters}
		e.self = cluster.Confirmation{ServerID: "leader", Term: 2, Voter: true, Leader: true, Applied: 5, Voters: fingerprint}
		e.answer = func(voter) (cluster.Confirmation, error) { return cluster.Confirmation{}, errors.New("unreachable") }
		c := &confirmer{electorate: e}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := c.ConfirmRead(ctx); !errors.Is(err, realm.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, realm.ErrUnavailable)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
		c.close()
	})
}

func TestAReadWaitsUntilTheLeadersIndexIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		voters, fingerprint := voterSet("leader", "b", "c")
		e := &fakeElectorate{list: voters}
		e.self = cluster.Confirmation{ServerID: "leader", Term: 2, Voter: true, Leader: true, Applied: 77, Voters: fingerprint}
		e.answer = func(v voter) (cluster.Confirmation, error) {
			return cluster.Confirmation{ServerID: v.id, Term: 2, Voter: true}, nil
		}
		var waited uint64
		e.wait = func(_ context.Context, index uint64) error { waited = index; return nil }
		c := &confirmer{electorate: e}
		if err := c.ConfirmRead(t.Context()); err != nil {
			t.Error(err)
		}
		if waited != 77 {
			t.Errorf("waited for index %d, want 77", waited)
		}
		c.close()
	})
}
