package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// Members that had been taken for lost came back with their data, elected a leader, and
// took the survivor, which had been recovered alone, back into the old cluster.
func TestRaftDoesNotSpeakAcrossARecovery(t *testing.T) {
	ca := newAuthority(t)
	former, recovered, other, none := [16]byte{}, [16]byte{7: 1, 8: 1}, [16]byte{7: 1, 8: 2}, [16]byte{}
	for i := range none {
		none[i] = 0xff
	}
	for name, test := range map[string]struct {
		own, theirs [16]byte
		want        string // empty: they speak
		foreign     bool
	}{
		"never recovered":                 {former, former, "", false},
		"both recovered":                  {recovered, recovered, "", false},
		"the former cluster asks":         {former, recovered, "the cluster was recovered", true},
		"the recovered one asks":          {recovered, former, "the cluster was recovered", true},
		"two that were recovered":         {recovered, other, "the cluster was recovered", true},
		"who is starting is asked":        {former, none, "it is starting", false},
		"who is starting asks":            {none, former, "the cluster was recovered", true},
		"both are starting":               {none, none, "it is starting", false},
		"recovered, one that is starting": {recovered, none, "it is starting", false},
	} {
		t.Run(name, func(t *testing.T) {
			met := make(chan [16]byte, 9)
			one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{
				Lineage: func() [16]byte { return test.own }, Foreign: func(found [16]byte) { met <- found },
			})
			two, address := startService(t, ca.node(t, "two"), cluster.ServiceConfig{
				ServerID: "two", Lineage: func() [16]byte { return test.theirs },
			})
			receiver := newTransport(t, two, nil)
			sender := newTransport(t, one, nil)
			for _, ask := range []func() error{
				func() error {
					return sender.RequestVote("two", address, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
				},
				func() error {
					return sender.AppendEntries("two", address, &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
				},
				func() error {
					return sender.InstallSnapshot("two", address, &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader(""))
				},
			} {
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					if test.want == "" {
						rpc := <-receiver.Consumer()
						rpc.Respond(answerTo(rpc.Command), nil)
					}
				}()
				err := ask()
				<-answered
				if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Error(err)
				}
			}
			if test.foreign != (len(met) > 0) || test.foreign && <-met != test.theirs {
				t.Errorf("told %d times of another lineage", len(met))
			}
			if len(receiver.Consumer()) > 0 {
				t.Error("a request arrived")
			}
		})
	}
}

func answerTo(request any) any {
	switch request.(type) {
	case *raft.RequestVoteRequest:
		return &raft.RequestVoteResponse{}
	case *raft.AppendEntriesRequest:
		return &raft.AppendEntriesResponse{}
	default:
		return &raft.InstallSnapshotResponse{}
	}
}

// What was decided by the state of before a recovery is not proposed after it; questions are answered.
func TestProposalsAreOfOneLineage(t *testing.T) {
	ca := newAuthority(t)
	recovered := [16]byte{7: 1}
	_, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{
		Lineage: func() [16]byte { return recovered },
		Handler: &fakeHandler{status: func(context.Context) (cluster.Status, error) { return cluster.Status{Lineage: recovered}, nil }},
	})
	for name, test := range map[string]struct {
		lineage func() [16]byte
		refused bool
	}{
		"the same":      {func() [16]byte { return recovered }, false},
		"of before":     {func() [16]byte { return [16]byte{} }, true},
		"an operator's": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{Lineage: test.lineage})
			if _, _, err := client.Propose(t.Context(), address, [][]byte{{1}}); errors.Is(err, cluster.ErrRefused) != test.refused || err != nil && !test.refused {
				t.Error(err)
			}
			if status, err := client.Status(t.Context(), address); err != nil || status.Lineage != recovered {
				t.Errorf("%x, %v", status.Lineage, err)
			}
		})
	}
}

// Whoever has told its lineage to a peer, and has changed it before raft was handed the connection, hands it over no more.
func TestALineageThatHasChangedIsNotSpokenFor(t *testing.T) {
	ca := newAuthority(t)
	one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{})
	told := make(chan [16]byte, 1)
	two, address := startService(t, ca.node(t, "two"), cluster.ServiceConfig{
		ServerID: "two", Heard: func(lineage [16]byte) bool { told <- lineage; return false },
	})
	receiver, sender := newTransport(t, two, nil), newTransport(t, one, nil)
	if err := sender.RequestVote("two", address, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}); err == nil || <-told != [16]byte{} {
		t.Errorf("answered: %v", err)
	}
	if len(receiver.Consumer()) > 0 {
		t.Error("a request arrived")
	}
}
