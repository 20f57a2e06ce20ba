package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/cluster"
)

func TestTransferLeaderFollowsTheLeader(t *testing.T) {
	for target, id := range map[string]string{"b": "2", "2": "2", "b:1": "2", "": ""} {
		nodes := threeNodes()
		nodes.transfer = map[string]error{"a:1": &cluster.NotLeaderError{Leader: "b:1"}}
		var out strings.Builder
		checkProblem(t, nodes.client("d:1", "b:1").handOver(t.Context(), target, &out), "")
		if out.String() != "b leads now, after a.\n" {
			t.Errorf("%q: %s", target, out.String())
		}
		if diff := cmp.Diff([]string{"a:1 " + id, "b:1 " + id}, nodes.left); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTransferLeaderToWhoLeadsAlready(t *testing.T) {
	nodes := threeNodes()
	var out strings.Builder
	checkProblem(t, nodes.client("b:1").handOver(t.Context(), "a", &out), "")
	if out.String() != "a leads already.\n" || len(nodes.left) != 0 {
		t.Errorf("%s, asked %v", out.String(), nodes.left)
	}
}

func TestTransferLeaderRefuses(t *testing.T) {
	for _, test := range []struct {
		name, target string
		transfer     error // of the leader
		alter        func(*fakeNodes)
		want         string
		asked        int
	}{
		{"unknown", "z", nil, nil, `no member has the ID, the name or the address "z"`, 0},
		{"not a member", "d", nil, nil, "d answers, but is not a member", 0},
		{"does not answer", "3", nil, nil, "3 does not answer, so it cannot take over", 0},
		{"no vote", "b", nil, func(f *fakeNodes) { f.statuses["a:1"].Members[1].Voter = false }, "has no vote, so it cannot lead", 0},
		{"no leader", "b", nil, func(f *fakeNodes) {
			delete(f.statuses, "a:1")
			b := f.statuses["b:1"]
			b.LeaderID = ""
			f.statuses["b:1"] = b
		}, "no leader is known, and only a leader can hand over", 0},
		{"lost at that moment", "b", &cluster.NotLeaderError{}, nil, "not handed over: no leader is known any more", 1},
		{"hints in a circle", "b", &cluster.NotLeaderError{Leader: "a:1"}, nil, "not handed over: not the leader", maxHints},
		{"refused", "b", fmt.Errorf("%w: the leadership is being handed over already", cluster.ErrRefused), nil, "not handed over: refused: the leadership", 1},
		{"no success", "b", errors.New("2 has not taken over"), nil, "whether it was handed over is not known; list-peers tells: 2 has", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes := threeNodes()
			nodes.transfer = map[string]error{"a:1": test.transfer}
			if test.alter != nil {
				test.alter(nodes)
			}
			var out strings.Builder
			checkProblem(t, nodes.client("b:1", "d:1").handOver(t.Context(), test.target, &out), test.want)
			if len(nodes.left) != test.asked || out.Len() > 0 {
				t.Errorf("asked %v, said %s", nodes.left, out.String())
			}
		})
	}
}

func TestTransferLeaderWhoseAnswerIsLost(t *testing.T) {
	nodes := threeNodes()
	nodes.transfer = map[string]error{"a:1": errors.New("connection reset")}
	nodes.onTransfer = func(string) {
		delete(nodes.statuses, "a:1")
		b := nodes.statuses["b:1"]
		b.State, b.LeaderID = "Leader", "2"
		nodes.statuses["b:1"] = b
	}
	var out strings.Builder
	checkProblem(t, nodes.client("b:1").handOver(t.Context(), "b", &out), "")
	if out.String() != "b leads now, after a.\n" {
		t.Error(out.String())
	}
}
