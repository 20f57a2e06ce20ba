package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/cluster"
)

// fakeNodes are the nodes of a cluster by address.
type fakeNodes struct {
	statuses map[string]cluster.Status
	leave    map[string]error // by address; absent: done
	onLeave  func(id string)

	transfer   map[string]error // by address; absent: done
	onTransfer func(id string)

	mu   sync.Mutex
	left []string // address and id of every request to remove or to hand over
}

func (f *fakeNodes) client(first ...string) *peerClient {
	return &peerClient{
		first: first,
		status: func(_ context.Context, address string) (cluster.Status, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			status, ok := f.statuses[address]
			if !ok {
				return status, fmt.Errorf("dial %s: connection refused", address)
			}
			return status, nil
		},
		leave: func(_ context.Context, address, id string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.left = append(f.left, address+" "+id)
			if f.onLeave != nil {
				f.onLeave(id)
			}
			return f.leave[address]
		},
		transfer: func(_ context.Context, address, id string) (string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.left = append(f.left, address+" "+id)
			if f.onTransfer != nil {
				f.onTransfer(id)
			}
			if id == "" {
				id = "2"
			}
			return id, f.transfer[address]
		},
		close: func() error { return nil },
	}
}

// threeNodes leads node a, has node c away, and knows d, which is no member.
func threeNodes() *fakeNodes {
	members := []cluster.Member{
		{ID: "1", Address: "a:1", Voter: true}, {ID: "2", Address: "b:1", Voter: true}, {ID: "3", Address: "c:1", Voter: true},
	}
	return &fakeNodes{leave: map[string]error{}, statuses: map[string]cluster.Status{
		"a:1": {ServerID: "1", Name: "a", TransportAddress: "a:1", State: "Leader", Term: 4, Applied: 9, LastTerm: 4, LastIndex: 10, LeaderID: "1", Members: members},
		"b:1": {ServerID: "2", Name: "b", TransportAddress: "b:1", State: "Follower", Term: 4, Applied: 8, LastTerm: 3, LastIndex: 8, LeaderID: "1", Members: members[:2]},
		"d:1": {ServerID: "9", Name: "d", TransportAddress: "d:1", State: "Follower"},
	}}
}

func TestListPeersAsksEveryMemberItHearsOf(t *testing.T) {
	seen, err := threeNodes().client("d:1", "b:1", "nowhere:1").look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	checkProblem(t, seen.print(&printed, formatText), "")
	want := `
Node  ID  Address  State         Voter  Term  Applied  Last term  Last index  Reachable
-     3   c:1      -             true   -     -        -          -           false
a     1   a:1      leader        true   4     9        4          10          true
b     2   b:1      follower      true   4     8        3          8           true
d     9   d:1      not a member  false  0     0        0          0           true
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), printed.String()); diff != "" {
		t.Error(diff)
	}
	printed.Reset()
	checkProblem(t, seen.print(&printed, formatJSON), "")
	const first = `{"leader":"1","peers":[{"node":"","id":"3","address":"c:1","state":"","voter":true,"term":0,"applied":0,"last_log_term":0,"last_log_index":0,"reachable":false},`
	if got := printed.String(); !strings.HasPrefix(got, first) {
		t.Error(got)
	}
}

func TestListPeersWithoutLeader(t *testing.T) {
	nodes := threeNodes()
	delete(nodes.statuses, "a:1")
	orphan := nodes.statuses["b:1"]
	orphan.State, orphan.LeaderID = "Candidate", ""
	nodes.statuses["b:1"] = orphan
	seen, err := nodes.client("b:1").look(t.Context())
	if err != nil || seen.Leader != "" || len(seen.Peers) != 2 {
		t.Errorf("%+v, %v", seen, err)
	}
	checkProblem(t, seen.noLeader("hand over"), "no leader is known, and only a leader can hand over: of 2 voters 1 answered, and 2 must run and reach each other. "+
		"Start the others with the data they had; if that is lost for good, docs/recovery.md is how to go on")
	nodes.statuses["a:1"] = cluster.Status{ServerID: "1", Name: "a", TransportAddress: "a:1", State: "Candidate", Members: orphan.Members}
	seen, err = nodes.client("b:1").look(t.Context())
	must(t, err)
	checkProblem(t, seen.noLeader(""), "no leader is known, though 2 of 2 voters answered: an election may be under way")
	_, err = nodes.client("x:1", "y:1").look(t.Context())
	checkProblem(t, err, "no node answers:\ndial x:1")

	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9300}, Err: syscall.ECONNREFUSED}
	silent := nodes.client("x:1")
	silent.status = func(context.Context, string) (cluster.Status, error) {
		return cluster.Status{}, fmt.Errorf("status of x:1: dial x:1: %w: %w", cluster.ErrNotSent, refused)
	}
	_, err = silent.look(t.Context())
	checkProblem(t, err, "no node answers:\ndial tcp 127.0.0.1:9300: connection refused")
	silent.status = func(context.Context, string) (cluster.Status, error) {
		return cluster.Status{}, fmt.Errorf("status of x:1: dial x:1: %w: %w", cluster.ErrNotSent, errors.New("this is not the port between nodes"))
	}
	_, err = silent.look(t.Context())
	checkProblem(t, err, "no node answers:\nx:1: this is not the port between nodes")
}

// A cluster that was never there is not lost, and nobody is sent to recover it.
func TestListPeersOfAClusterThatIsBeingFormed(t *testing.T) {
	for name, c := range map[string]struct {
		a    cluster.Status
		want string
	}{
		"others are to be started": {
			cluster.Status{Waiting: "waiting for b, c of cluster.initial_master_nodes to answer (found a): start them"},
			"no leader is known, for there is no cluster yet: a is waiting for b, c of cluster.initial_master_nodes to answer (found a): start them",
		},
		"something is to be mended":  {cluster.Status{Waiting: "two nodes are named b"}, "no leader is known, for there is no cluster yet: a: two nodes are named b"},
		"it has only just started":   {cluster.Status{}, "no leader is known, for there is no cluster yet: the nodes are starting"},
		"it belongs to one, perhaps": {cluster.Status{Bootstrapped: true}, "no leader is known: a is starting"},
	} {
		t.Run(name, func(t *testing.T) {
			c.a.ServerID, c.a.Name, c.a.TransportAddress = "1", "a", "a:1"
			seen, err := (&fakeNodes{statuses: map[string]cluster.Status{"a:1": c.a}}).client("a:1", "b:1").look(t.Context())
			must(t, err)
			checkProblem(t, seen.noLeader(""), c.want)
		})
	}
}

// A member that does not answer has the name by which another knows it.
func TestNamesOfDeadMembers(t *testing.T) {
	nodes := threeNodes()
	b := nodes.statuses["b:1"]
	b.Members = append(b.Members[:2:2], cluster.Member{ID: "3", Address: "c:1", Voter: true, Name: "c"})
	nodes.statuses["b:1"] = b
	seen, err := nodes.client("b:1").look(t.Context())
	must(t, err)
	dead := seen.Peers[len(seen.Peers)-1]
	if want := (peerView{Node: "c", ID: "3", Address: "c:1", Voter: true}); dead != want {
		t.Errorf("%+v", dead)
	}
	out, err := remove(t, nodes, "c", nil)
	must(t, err)
	if !strings.Contains(out, `c (ID 3, c:1, does not answer) is a member of the cluster "prod"`) || nodes.left[0] != "a:1 3" {
		t.Errorf("%s%v", out, nodes.left)
	}
}

func remove(t *testing.T, nodes *fakeNodes, target string, answer error) (string, error) {
	t.Helper()
	var out strings.Builder
	err := nodes.client("b:1", "d:1").remove(t.Context(), "prod", target, &out, func(question string) error {
		out.WriteString(question + "\n")
		return answer
	})
	return out.String(), err
}

func TestRemovePeerFollowsTheLeader(t *testing.T) {
	for _, target := range []string{"3", "c:1"} {
		nodes := threeNodes()
		nodes.leave["a:1"] = &cluster.NotLeaderError{Leader: "b:1"}
		out, err := remove(t, nodes, target, nil)
		checkProblem(t, err, "")
		for _, text := range []string{
			`3 (c:1, does not answer) is a member of the cluster "prod"`, "its path.data deleted",
			"Afterwards 2 of 2 voters must agree on every write: the cluster survives the loss of 0.", "Remove 3?", "3 is no member any more.",
		} {
			if !strings.Contains(out, text) {
				t.Errorf("%q is missing in %s", text, out)
			}
		}
		if diff := cmp.Diff([]string{"a:1 3", "b:1 3"}, nodes.left); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRemovePeerWarnsOfAStandstill(t *testing.T) {
	out, err := remove(t, threeNodes(), "b", nil)
	checkProblem(t, err, "")
	if !strings.Contains(out, "WARNING: only 1 of them answer now") {
		t.Error(out)
	}
}

func TestRemovePeerRefuses(t *testing.T) {
	notLeader := &cluster.NotLeaderError{}
	for _, test := range []struct {
		name, target string
		answer       error // of the person
		leave        error // of the leader
		want         string
		asked        int
	}{
		{"unknown", "z", nil, nil, "no member has the ID, the name or the address \"z\"; these are the members:\n  3 (c:1, does not answer)\n  a (ID 1", 0},
		{"not a member", "d", nil, nil, "d answers, but is not a member", 0},
		{"the person said no", "b", errors.New("nothing was changed"), nil, "nothing was changed", 0},
		{"the last voter", "b", nil, fmt.Errorf("%w: no voter would be left", cluster.ErrRefused), "not removed: refused: no voter would be left", 1},
		{"the leader was just lost", "b", nil, notLeader, "no leader is known", 1},
		{"hints in a circle", "b", nil, &cluster.NotLeaderError{Leader: "a:1"}, "not removed: not the leader", maxHints},
		{"the answer was lost", "b", nil, errors.New("connection reset"), "whether it was removed is not known", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes := threeNodes()
			nodes.leave["a:1"] = test.leave
			_, err := remove(t, nodes, test.target, test.answer)
			checkProblem(t, err, test.want)
			if len(nodes.left) != test.asked {
				t.Errorf("asked %v", nodes.left)
			}
		})
	}
}

// A script may repeat a removal: by an ID or an address, which nobody confuses with a
// name that is misspelled.
func TestRemovePeerWhoIsNoMemberAnyMore(t *testing.T) {
	for _, target := range []string{"0f2ae3c4-3c0e-4a8b-9c3f-5b7e0d7f6a10", "d:1", "e.example.org:9300"} {
		nodes := threeNodes()
		out, err := remove(t, nodes, target, errors.New("must not be asked"))
		checkProblem(t, err, "")
		if want := target + " is no member of the cluster \"prod\" (any more).\n"; out != want || len(nodes.left) != 0 {
			t.Errorf("%s, asked %v", out, nodes.left)
		}
	}
	// Where nobody leads, who is a member is not known for certain.
	nodes := threeNodes()
	delete(nodes.statuses, "a:1")
	b := nodes.statuses["b:1"]
	b.LeaderID = ""
	nodes.statuses["b:1"] = b
	_, err := remove(t, nodes, "e:1", nil)
	checkProblem(t, err, "no member has the ID, the name or the address \"e:1\"")
}

func TestTheOnlyVoterStays(t *testing.T) {
	nodes := threeNodes()
	a := nodes.statuses["a:1"]
	a.Members = a.Members[:1]
	nodes.statuses = map[string]cluster.Status{"a:1": a}
	var out strings.Builder
	client := nodes.client("a:1")
	err := client.remove(t.Context(), "prod", "a", &out, func(string) error { return errors.New("must not be asked") })
	checkProblem(t, err, "not removed: it is the only voter")
	checkProblem(t, client.handOver(t.Context(), "", &out), "not handed over: there is no other voter")
	if out.Len() > 0 || len(nodes.left) != 0 {
		t.Errorf("%s, asked %v", out.String(), nodes.left)
	}
}

// The leader steps down when it has removed itself, and may be gone before it has said so.
func TestRemovedLeaderNeedNotAnswer(t *testing.T) {
	nodes := threeNodes()
	nodes.leave["a:1"] = errors.New("connection reset")
	nodes.onLeave = func(string) {
		delete(nodes.statuses, "a:1")
		b := nodes.statuses["b:1"]
		b.State, b.LeaderID, b.Members = "Leader", "2", b.Members[1:]
		nodes.statuses["b:1"] = b
	}
	out, err := remove(t, nodes, "a", nil)
	checkProblem(t, err, "")
	if !strings.Contains(out, "a is no member any more.") {
		t.Error(out)
	}
}

func TestSeveralMembersOfOneName(t *testing.T) {
	nodes := threeNodes()
	again := nodes.statuses["b:1"]
	again.ServerID, again.TransportAddress = "3", "c:1"
	nodes.statuses["c:1"] = again
	_, err := remove(t, nodes, "b", nil)
	checkProblem(t, err, `"b" means several members; give the ID of one`)
}
