package httpapi_test

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// live is one node without raft: the real use cases on the real state machine, which
// applies each command at once. Its time moves when it is told to.
type live struct {
	*fsm.FSM
	server  *httpapi.Server
	users   *realm.Users
	roles   *realm.Roles
	elapsed atomic.Int64 // milliseconds

	mu    sync.Mutex
	index uint64
}

const (
	livePassword = "elastic-password"
	liveLifetime = 20 * time.Minute // of all tokens and sessions
)

func newLive(tb testing.TB) *live {
	tb.Helper()
	return newLiveOAuth2(tb, httpapi.OAuth2{Issuer: "https://tokens.example.org"})
}

func newLiveOAuth2(tb testing.TB, oauth2 httpapi.OAuth2) *live {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	n := &live{FSM: fsm.New(nil)}
	hasher, err := realm.NewHasher("bcrypt4")
	must(err)
	chain, err := realm.NewChain(realm.ChainConfig{View: n, Hasher: hasher, Now: n.now})
	must(err)
	tokens, err := token.New(token.Config{
		Log: n, View: n, Realms: chain, Confirm: func(context.Context) error { return nil }, Now: n.now,
		Enabled: true, ClusterKey: make([]byte, token.MinClusterKeyBytes),
		AccessLifetime: liveLifetime, RefreshLifetime: liveLifetime, SessionLifetime: liveLifetime, RefreshWindow: 30 * time.Second,
	})
	must(err)
	n.users, n.roles = realm.NewUsers(n, n, hasher), realm.NewRoles(n, n)
	_, _, err = n.users.EnsureBootstrapPassword(tb.Context(), realm.NewSecret(livePassword))
	must(err)
	n.server, err = httpapi.New(httpapi.Config{
		Tokens: tokens, Authenticator: tokens, Users: n.users, Roles: n.roles, Cluster: &world{}, TokensEnabled: true,
		OAuth2: oauth2, Now: n.now, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: io.Discard}),
	})
	must(err)
	return n
}

func (n *live) now() time.Time { return time.UnixMilli(1_700_000_000_000 + n.elapsed.Load()) }

// Propose implements the Log of both use cases.
func (n *live) Propose(_ context.Context, command fsm.Command) (fsm.Outcome, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	encoded := fsm.AppendCommand(nil, command)
	var operation fsm.OperationID
	binary.BigEndian.PutUint64(operation[:], n.index)
	operation.Name(encoded)
	if _, err := fsm.DecodeCommand(encoded); err != nil {
		return fsm.Outcome{}, err // as the proposer refuses it, before it stops every node
	}
	entry := fsm.AppendEntry(nil, fsm.UnixMilli(n.now().UnixMilli()), [][]byte{encoded})
	outcomes, _ := n.Apply(&raft.Log{Index: n.index, Term: 1, Type: raft.LogCommand, Data: entry}).([]fsm.Outcome)
	return outcomes[0], nil
}

// forget lets a day pass and removes all that can be removed then.
func (n *live) forget(tb testing.TB) {
	tb.Helper()
	n.elapsed.Add((24 * time.Hour).Milliseconds())
	for _, user := range n.Users() {
		_, _ = n.Propose(tb.Context(), fsm.DeleteUser{Username: user.Username})
	}
	for _, role := range n.Roles() {
		_, _ = n.Propose(tb.Context(), fsm.DeleteRole{Name: role.Name})
	}
	for range 2 {
		n.collect(tb)
		n.elapsed.Add((24 * time.Hour).Milliseconds()) // commands themselves are remembered for a while
	}
}

// collect removes what has expired.
func (n *live) collect(tb testing.TB) {
	tb.Helper()
	for {
		outcome, err := n.Propose(tb.Context(), fsm.CollectExpired{Limit: fsm.MaxCollect})
		if err != nil {
			tb.Fatal(err)
		}
		if outcome.Collected == 0 {
			return
		}
	}
}
