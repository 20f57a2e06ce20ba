package cluster_test

import (
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// Raft would go back to a snapshot that arrives late, and panic if the log does not reach
// back as far.
func TestAnOutgrownSnapshotIsAnsweredAsInstalled(t *testing.T) {
	ca := newAuthority(t)
	one, _ := startService(t, ca.node(t, "one"), cluster.ServiceConfig{})
	two, _ := startService(t, ca.node(t, "two"), cluster.ServiceConfig{})
	var proven []uint64
	from, err := cluster.NewTransport(cluster.TransportConfig{
		Stream: one.StreamLayer(), Appended: func(_ raft.ServerID, _, index uint64) { proven = append(proven, index) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	to, err := cluster.NewTransport(cluster.TransportConfig{Stream: two.StreamLayer(), Outgrown: func(r *raft.InstallSnapshotRequest) bool { return r.LastLogIndex <= 5 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close() })
	raftGot := make(chan uint64, 3)
	stop := make(chan struct{})
	var raftsLoop sync.WaitGroup
	raftsLoop.Go(func() {
		for {
			var rpc raft.RPC
			select {
			case rpc = <-to.Consumer():
			case <-stop:
				return
			}
			request, _ := rpc.Command.(*raft.InstallSnapshotRequest)
			_, err := io.Copy(io.Discard, rpc.Reader)
			raftGot <- request.LastLogIndex
			rpc.Respond(&raft.InstallSnapshotResponse{Term: request.Term, Success: true}, err)
		}
	})
	for _, index := range []uint64{4, 5, 6} {
		request := &raft.InstallSnapshotRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: 3}, SnapshotVersion: 1, Term: 7, LastLogIndex: index, LastLogTerm: 7, Size: 7,
		}
		var response raft.InstallSnapshotResponse
		err := from.InstallSnapshot("server-1", to.LocalAddr(), request, &response, strings.NewReader("content"))
		if err != nil || !response.Success || response.Term > 7 {
			t.Errorf("snapshot of %d: %+v, %v", index, response, err)
		}
	}
	close(stop)
	raftsLoop.Wait()
	if !slices.Equal(proven, []uint64{6}) {
		t.Errorf("the leader takes %v for restored, want that of 6 alone", proven)
	}
	if got := append(drained(raftGot), 0); got[0] != 6 || len(got) != 2 {
		t.Errorf("raft got the snapshots of %v, want that of 6", got[:len(got)-1])
	}
}

// drained returns what is in the channel.
func drained(from <-chan uint64) (all []uint64) {
	for len(from) > 0 {
		all = append(all, <-from)
	}
	return all
}
