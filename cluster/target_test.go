package cluster_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// A member is looked for where it said it is, else where raft's configuration has
// it; and raft speaks to nobody else who happens to live there. A node whose data
// folder was emptied came back at its old address as a new server, was taken for
// the old one, and voted: an acknowledged invalidation was lost.
func TestRaftSpeaksOnlyToTheMemberItMeans(t *testing.T) {
	ca := newAuthority(t)
	one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{ServerID: "one"})
	two, address := startService(t, ca.node(t, "two"), cluster.ServiceConfig{ServerID: "two, emptied"})
	receiver := newTransport(t, two, nil)
	received := make(chan struct{}, 8)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case rpc := <-receiver.Consumer():
				received <- struct{}{}
				rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
			case <-stop:
				return
			}
		}
	}()
	ask := func(id raft.ServerID, configured raft.ServerAddress) error {
		sender := newTransport(t, one, func(id raft.ServerID) raft.ServerAddress {
			if id == "two, emptied" || id == "two" {
				return address
			}
			return ""
		})
		return sender.RequestVote(id, configured, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
	}
	if err := ask("two, emptied", "moved:1"); err != nil || len(received) != 1 {
		t.Errorf("the one who lives there: %d requests, %v", len(received), err)
	}
	for _, configured := range []raft.ServerAddress{"moved:1", address} {
		err := ask("two", configured)
		if err == nil || !strings.Contains(err.Error(), "another server") {
			t.Errorf("to the one who lived there, at %s: %v", configured, err)
		}
	}
	if err := ask("three", address); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("to a member at its configured address: %v", err)
	}
	if len(received) != 1 {
		t.Errorf("%d requests arrived, want 1", len(received))
	}
	if names := []string{one.NameOf("two, emptied"), one.NameOf("two"), one.NameOf("three")}; !slices.Equal(names, []string{"two", "", ""}) {
		t.Errorf("those who were met are named %q", names)
	}
	close(stop)
	<-stopped
}

// A member that was started anew did not get the one request for its vote: it went over a
// connection to its former process. So two members stood in the same term, and nobody won.
func TestAVoteIsAskedForOnAConnectionThatIsOpen(t *testing.T) {
	for name, vote := range map[string]struct {
		ask    func(t *cluster.Transport, address raft.ServerAddress) error
		answer any
	}{
		"vote": {func(t *cluster.Transport, address raft.ServerAddress) error {
			return t.RequestVote("two", address, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		}, &raft.RequestVoteResponse{}},
		"pre-vote": {func(t *cluster.Transport, address raft.ServerAddress) error {
			return t.RequestPreVote("two", address, &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{})
		}, &raft.RequestPreVoteResponse{}},
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{ServerID: "one"})
			two, address := startService(t, ca.node(t, "two"), cluster.ServiceConfig{ServerID: "two"})
			sender, receiver := newTransport(t, one, nil), newTransport(t, two, nil)
			answered := make(chan error)
			ask := func() { answered <- vote.ask(sender, address) }
			var waiting []raft.RPC
			for range 3 { // so many connections are kept
				go ask()
				waiting = append(waiting, <-receiver.Consumer())
			}
			for _, rpc := range waiting {
				rpc.Respond(vote.answer, nil)
				if err := <-answered; err != nil {
					t.Fatal(err)
				}
			}
			two.CloseStreams()
			go ask()
			select {
			case rpc := <-receiver.Consumer():
				rpc.Respond(vote.answer, nil)
				if err := <-answered; err != nil {
					t.Error(err)
				}
			case err := <-answered:
				t.Errorf("not asked: %v", err)
			}
		})
	}
}
