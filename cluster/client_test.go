package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"jeton/cluster"
)

func TestEveryRequestReachesTheHandlerAndItsAnswerComesBack(t *testing.T) {
	status := cluster.Status{
		ServerID: "id", Name: "one", ClusterName: testCluster, ClusterID: [16]byte{1}, TransportAddress: "t:1", HTTPAddress: "h:2",
		Version: "1", Bootstrapped: true, State: "Leader", Term: 3, Applied: 4, LastTerm: 2, LastIndex: 6, LeaderID: "id", KeyCheck: [32]byte{5},
	}
	var joined cluster.JoinRequest
	var left raft.ServerID
	handler := &fakeHandler{
		join:  func(_ context.Context, r cluster.JoinRequest) error { joined = r; return nil },
		leave: func(_ context.Context, id raft.ServerID) error { left = id; return nil },
		transfer: func(_ context.Context, id raft.ServerID) (raft.ServerID, error) {
			return id + " leads", nil
		},
		status: func(context.Context) (cluster.Status, error) { return status, nil },
	}
	client, address := pair(t, handler)
	ctx := t.Context()

	commands := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("c"), 20<<10)}
	outcomes, leader, err := client.Propose(ctx, address, commands)
	if diff := cmp.Diff(commands, outcomes) + cmp.Diff((&fakeHandler{}).Confirm(), leader); err != nil || diff != "" {
		t.Errorf("propose: %v %.200s", err, diff)
	}
	if peer := handler.peer.Load(); *peer != "two" {
		t.Errorf("the commands are said to come from %s", *peer)
	}
	confirmation, err := client.Confirm(ctx, address)
	if diff := cmp.Diff((&fakeHandler{}).Confirm(), confirmation); err != nil || diff != "" {
		t.Errorf("confirm: %v %s", err, diff)
	}
	if err := client.Join(ctx, address, cluster.JoinRequest{ID: "x", Address: "y:1", Name: "a lie"}); err != nil {
		t.Errorf("join: %v", err)
	}
	if diff := cmp.Diff(cluster.JoinRequest{ID: "x", Address: "y:1", Name: "two"}, joined); diff != "" {
		t.Errorf("the name comes from the certificate: %s", diff)
	}
	if err := client.Leave(ctx, address, "z"); err != nil || left != "z" {
		t.Errorf("leave: %v, left %q", err, left)
	}
	if leader, err := client.Transfer(ctx, address, "z"); err != nil || leader != "z leads" {
		t.Errorf("transfer: %v, %q", err, leader)
	}
	got, err := client.Status(ctx, address)
	if diff := cmp.Diff(status, got); err != nil || diff != "" {
		t.Errorf("status: %v %s", err, diff)
	}
}

// A status of 8 KiB had room for some twenty members: of a larger cluster nobody could join,
// and no leader looked after it.
func TestAStatusHasRoomForEveryMember(t *testing.T) {
	status := cluster.Status{ServerID: "id", Judged: true}
	for n := range 200 {
		status.Members = append(status.Members, cluster.Member{
			ID: raft.ServerID(fmt.Sprintf("3e0f5f66-5b1c-4f2e-8f5e-%012d", n)), Address: raft.ServerAddress(strings.Repeat("long-name.", 25) + "org:65535"),
			Voter: true, Name: fmt.Sprintf("node-%060d", n), Healthy: true, Dead: true, StableSince: time.Unix(1_700_000_000, 123_456_789).UTC(),
			LastContact: 1_000_000, LastTerm: 1 << 40, LastIndex: 1 << 50,
		})
	}
	client, address := pair(t, &fakeHandler{status: func(context.Context) (cluster.Status, error) { return status, nil }})
	got, err := client.Status(t.Context(), address)
	if diff := cmp.Diff(status, got); err != nil || diff != "" {
		t.Errorf("%v %.200s", err, diff)
	}
	status.Members = slices.Repeat(status.Members, 10)
	if _, err := client.Status(t.Context(), address); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("of 2000 members: %v", err)
	}
}

func TestConfirmationsOfSeveralPeersAreStartedWithoutGoroutines(t *testing.T) {
	client, address := pair(t, &fakeHandler{})
	const n = 100
	answers := make(chan error, n)
	for range n {
		client.StartConfirm(address, func(c cluster.Confirmation, err error) {
			if err == nil && c.Term != 7 {
				err = fmt.Errorf("term %d", c.Term)
			}
			answers <- err
		})
	}
	for range n {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsKeepTheirMeaningAcrossTheWire(t *testing.T) {
	cases := []struct {
		name   string
		err    error
		is     error // nil: unknown outcome
		leader raft.ServerAddress
		text   string
	}{
		{"not leader, hint", &cluster.NotLeaderError{Leader: "10.0.0.1:9300"}, cluster.ErrNotLeader, "10.0.0.1:9300", "10.0.0.1:9300"},
		{"not leader, wrapped", fmt.Errorf("node: %w", &cluster.NotLeaderError{Leader: "b:1"}), cluster.ErrNotLeader, "b:1", "b:1"},
		{"not leader, no hint", cluster.ErrNotLeader, cluster.ErrNotLeader, "", "no leader is known"},
		{"overloaded", fmt.Errorf("queue: %w", cluster.ErrOverloaded), cluster.ErrOverloaded, "", "overloaded"},
		{"refused", fmt.Errorf("%w: too old", cluster.ErrRefused), cluster.ErrRefused, "", "too old"},
		{"unknown", errors.New("leadership lost"), nil, "", "outcome is unknown: leadership lost"},
		{"long and broken", errors.New(strings.Repeat("\xff", 5000)), nil, "", "unknown"},
	}
	var current atomic.Pointer[error]
	client, address := pair(t, &fakeHandler{propose: func(context.Context, [][]byte) ([][]byte, error) { return nil, *current.Load() }})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			current.Store(&c.err)
			_, _, err := client.Propose(t.Context(), address, [][]byte{{1}})
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want a text with %q", err, c.text)
			}
			if got := errors.Is(err, cluster.ErrNotProposed); got != (c.is != nil) {
				t.Errorf("certainly not proposed: %v, for %v", got, err)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			var notLeader *cluster.NotLeaderError
			if errors.As(err, &notLeader) && notLeader.Leader != c.leader {
				t.Errorf("leader %q, want %q", notLeader.Leader, c.leader)
			}
		})
	}
}

func TestAThousandConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	client, address := pair(t, &fakeHandler{})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			want := [][]byte{fmt.Appendf(nil, "command %d", i)}
			for {
				got, _, err := client.Propose(t.Context(), address, want)
				if errors.Is(err, cluster.ErrOverloaded) {
					continue // more than one connection may run at once
				}
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("call %d: %v %s", i, err, diff)
				}
				break
			}
			if c, err := client.Confirm(t.Context(), address); err != nil || c.Term != 7 {
				t.Errorf("confirm %d: %v %v", i, c, err)
			}
		})
	}
	wg.Wait()
}

func TestABatchThatIsTooLargeIsRefusedBeforeItIsSent(t *testing.T) {
	client, address := pair(t, &fakeHandler{})
	for name, commands := range map[string][][]byte{
		"bytes": {make([]byte, cluster.MaxProposeBody)},
		"count": make([][]byte, cluster.MaxCommands+1),
	} {
		if _, _, err := client.Propose(t.Context(), address, commands); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAnAnswerThatDoesNotFitIsAnUnknownOutcome(t *testing.T) {
	for name, outcomes := range map[string][][]byte{"too large": {make([]byte, cluster.MaxProposeBody)}, "too few": {}} {
		client, address := pair(t, &fakeHandler{propose: func(context.Context, [][]byte) ([][]byte, error) { return outcomes, nil }})
		if _, _, err := client.Propose(t.Context(), address, [][]byte{{1}}); err == nil || errors.Is(err, cluster.ErrNotProposed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTheServerStopsWorkingWhenTheCallerHasNoPatienceLeft(t *testing.T) {
	left := make(chan time.Duration, 1)
	ended := make(chan struct{})
	client, address := pair(t, &fakeHandler{propose: func(ctx context.Context, _ [][]byte) ([][]byte, error) {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err := client.Propose(ctx, address, [][]byte{{1}})
	if err == nil || errors.Is(err, cluster.ErrNotProposed) {
		t.Errorf("the outcome is unknown, got %v", err)
	}
	if d := <-left; d <= 0 || d > 250*time.Millisecond {
		t.Errorf("the server was given %s", d)
	}
	<-ended
}

func TestTheServerStopsWorkingWhenTheCallersConnectionIsGone(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	ca := newAuthority(t)
	_, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{Handler: &fakeHandler{
		propose: func(ctx context.Context, _ [][]byte) ([][]byte, error) {
			close(started)
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		},
	}})
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	failed := make(chan error, 1)
	go func() {
		_, _, err := client.Propose(context.Background(), address, [][]byte{{1}})
		failed <- err
	}()
	<-started
	_ = client.Close()
	if err := <-failed; err == nil || errors.Is(err, cluster.ErrNotProposed) {
		t.Errorf("the request was sent, so the outcome is unknown; got %v", err)
	}
	<-ended
}

func TestMoreThanTheConnectionMayRunIsOverload(t *testing.T) {
	release := make(chan struct{})
	var running sync.WaitGroup
	running.Add(cluster.MaxRunning)
	client, address := pair(t, &fakeHandler{propose: func(context.Context, [][]byte) ([][]byte, error) {
		running.Done()
		<-release
		return [][]byte{{}}, nil
	}})
	var callers sync.WaitGroup
	for range cluster.MaxRunning {
		callers.Go(func() {
			if _, _, err := client.Propose(t.Context(), address, [][]byte{{1}}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if _, _, err := client.Propose(t.Context(), address, [][]byte{{1}}); !errors.Is(err, cluster.ErrOverloaded) {
		t.Errorf("got %v", err)
	}
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Errorf("a confirmation needs no slot: %v", err)
	}
	close(release)
	callers.Wait()
}

func TestAPeerThatDiesDuringACallLeavesItsOutcomeUnknown(t *testing.T) {
	ca := newAuthority(t)
	started := make(chan struct{})
	service, address := startService(t, ca.node(t, "one"), cluster.ServiceConfig{Handler: &fakeHandler{
		propose: func(ctx context.Context, _ [][]byte) ([][]byte, error) {
			close(started)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}})
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	failed := make(chan error, 1)
	go func() {
		_, _, err := client.Propose(context.Background(), address, [][]byte{{1}})
		failed <- err
	}()
	<-started
	_ = service.Close()
	if err := <-failed; err == nil || errors.Is(err, cluster.ErrNotProposed) {
		t.Errorf("got %v", err)
	}
	// Nobody listens there now, which the client knows as soon as it saw the old connection end.
	for range 100 {
		_, _, err := client.Propose(t.Context(), address, [][]byte{{1}})
		if errors.Is(err, cluster.ErrNotSent) {
			return
		}
		if err == nil || errors.Is(err, cluster.ErrNotProposed) {
			t.Fatalf("got %v", err)
		}
	}
	t.Error("never told that nothing was sent")
}

func TestAPeerThatComesBackIsReachedAgain(t *testing.T) {
	ca := newAuthority(t)
	material := ca.node(t, "one")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	service, address := startService(t, material, cluster.ServiceConfig{Listener: listener})
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	_ = service.Close()
	if _, err := client.Confirm(t.Context(), address); err == nil {
		t.Fatal("answered by a closed service")
	}
	if listener, err = net.Listen("tcp", string(address)); err != nil {
		t.Fatal(err)
	}
	startService(t, material, cluster.ServiceConfig{Listener: listener})
	for {
		if _, err := client.Confirm(t.Context(), address); err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("never reached again")
		}
	}
}

func TestAClosedClientFailsEveryCall(t *testing.T) {
	client, address := pair(t, &fakeHandler{})
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	if _, err := client.Confirm(t.Context(), address); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("got %v", err)
	}
	client.StartConfirm(address, func(_ cluster.Confirmation, err error) {
		if !errors.Is(err, cluster.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
	_ = client.Close()
}

func TestAfterARotationNewConnectionsUseTheNewCertificates(t *testing.T) {
	oldCA, newCA := newAuthority(t), newAuthority(t)
	var server, dialling atomic.Pointer[tls.Config]
	server.Store(oldCA.node(t, "one"))
	dialling.Store(oldCA.node(t, "two"))
	block, blocked := make(chan struct{}), make(chan struct{})
	service, address := startService(t, server.Load(), cluster.ServiceConfig{
		ServerTLS: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return server.Load(), nil },
		},
		Handler: &fakeHandler{propose: func(_ context.Context, commands [][]byte) ([][]byte, error) {
			close(blocked)
			<-block
			return commands, nil
		}},
	})
	client := startClient(t, nil, cluster.ClientConfig{TLS: dialling.Load})
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	underWay := make(chan error, 1)
	go func() {
		_, _, err := client.Propose(context.Background(), address, [][]byte{{1}})
		underWay <- err
	}()
	<-blocked

	server.Store(newCA.node(t, "one"))
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Errorf("a connection that stands goes on: %v", err)
	}
	client.CloseIdle()
	if _, err := client.Confirm(t.Context(), address); !errors.Is(err, cluster.ErrNotSent) {
		t.Errorf("the old CA is not trusted any more, got %v", err)
	}
	service.CloseStreams()
	close(block)
	if err := <-underWay; err != nil {
		t.Errorf("a call that was under way ends on its connection: %v", err)
	}
	dialling.Store(newCA.node(t, "two"))
	for {
		_, err := client.Confirm(t.Context(), address)
		if err == nil {
			return
		}
		if !errors.Is(err, cluster.ErrNotSent) {
			t.Fatal(err)
		}
	}
}
