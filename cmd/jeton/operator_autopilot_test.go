package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/cluster"
)

// judged is threeNodes after the leader has looked at its members.
func judged() *fakeNodes {
	nodes := threeNodes()
	leader := nodes.statuses["a:1"]
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	leader.Judged, leader.FailureTolerance, leader.ClusterLevel = true, 0, 1
	leader.Members = []cluster.Member{
		{ID: "1", Address: "a:1", Voter: true, Name: "a", Healthy: true, StableSince: since, LastTerm: 4, LastIndex: 10},
		{ID: "2", Address: "b:1", Name: "b", Healthy: true, StableSince: since.Add(time.Second), LastContact: 21, LastTerm: 3, LastIndex: 8},
		{ID: "3", Address: "c:1", Voter: true, Dead: true, StableSince: since, LastContact: 90_000},
		{ID: "4", Address: "e:1", StableSince: since, LastContact: -1},
	}
	nodes.statuses["a:1"] = leader
	return nodes
}

func TestAutopilotStateIsTheLeaders(t *testing.T) {
	state, err := judged().client("b:1").autopilotState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	checkProblem(t, state.print(&printed, formatText), "")
	want := `
Healthy: false
Failure tolerance: 0
Command-set level: 1

Node  ID  Address  Status     Health     Since                 Last contact  Last term  Last index
-     3   c:1      voter      dead       2026-01-02T03:04:05Z  1m30s         0          0
-     4   e:1      non-voter  unhealthy  2026-01-02T03:04:05Z  never         0          0
a     1   a:1      leader     healthy    2026-01-02T03:04:05Z  0s            4          10
b     2   b:1      non-voter  healthy    2026-01-02T03:04:06Z  21ms          3          8
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), printed.String()); diff != "" {
		t.Error(diff)
	}
	printed.Reset()
	checkProblem(t, state.print(&printed, formatJSON), "")
	const first = `{"healthy":false,"failure_tolerance":0,"level":1,"leader":"1","voters":["1","3"],"servers":[` +
		`{"name":"","id":"3","address":"c:1","status":"voter","healthy":false,"dead":true,"stable_since":"2026-01-02T03:04:05Z","last_contact_ms":90000,"last_term":0,"last_index":0},`
	if got := printed.String(); !strings.HasPrefix(got, first) {
		t.Error(got)
	}
}

func TestAutopilotStateWaitsForANewLeader(t *testing.T) {
	nodes, late := threeNodes(), judged()
	client := nodes.client("b:1")
	asked := 0
	status := client.status
	client.status = func(ctx context.Context, address string) (cluster.Status, error) {
		if address == "a:1" {
			if asked++; asked > 1 {
				return late.statuses[address], nil
			}
		}
		return status(ctx, address)
	}
	if state, err := client.autopilotState(t.Context()); err != nil || state.Leader != "1" {
		t.Errorf("%+v, %v", state, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := threeNodes().client("b:1").autopilotState(ctx)
	checkProblem(t, err, "the leader has not looked at its members yet")
}

func TestAutopilotStateWithoutLeader(t *testing.T) {
	nodes := threeNodes()
	delete(nodes.statuses, "a:1")
	b := nodes.statuses["b:1"]
	b.LeaderID = ""
	nodes.statuses["b:1"] = b
	if _, err := nodes.client("b:1").autopilotState(t.Context()); !errors.Is(err, errNobodyLeads) {
		t.Error(err)
	}
	_, err := nodes.client("x:1").autopilotState(t.Context())
	checkProblem(t, err, "no node answers")
}
