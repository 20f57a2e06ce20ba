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
