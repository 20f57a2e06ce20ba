package token_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

const (
	accessLifetime  = 20 * time.Minute
	refreshLifetime = 24 * time.Hour
	refreshWindow   = 30 * time.Second
)

var clusterKey = []byte("0123456789abcdef0123456789abcdef")

// clock is a time that moves only when told.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.Load()) }
func (c *clock) advance(d time.Duration) { c.Add(d.Milliseconds()) }
func newClock() *clock                   { c := &clock{}; c.Store(1_700_000_000_000); return c }
func basic(user, pass string) token.Credentials {
	return token.Credentials{Scheme: token.SchemeBasic, Username: user, Password: realm.NewSecret(pass)}
}

func bearer(s realm.Secret) token.Credentials {
	return token.Credentials{Scheme: token.SchemeBearer, Bearer: s}
}

// testCluster is one log and the nodes that apply it. Node 0 leads: it applies at
// once. The others are as late as can be: they catch up only when a read is confirmed.
type testCluster struct {
	t     testing.TB
	now   func() time.Time
	mu    sync.Mutex
	log   []*raft.Log
	nodes []*testNode
}

type testNode struct {
	*token.Service
	*fsm.FSM
	cluster *testCluster
	applied int

	confirmations atomic.Int64
	lookups       atomic.Int64
	proposals     atomic.Int64
	// Faults, set while nothing runs.
	confirmFault error
	proposeFault func(apply func() (fsm.Outcome, error)) (fsm.Outcome, error)
	onConfirm    func()
	files        map[string]string // the file realm: username to password
}

// newCluster starts nodes with the settings that edit makes of the usual ones.
func newCluster(tb testing.TB, nodes int, now func() time.Time, edit func(*token.Config)) *testCluster {
	tb.Helper()
	c := &testCluster{t: tb, now: now}
	for range nodes {
		c.add(edit)
	}
	return c
}

func (c *testCluster) add(edit func(*token.Config)) *testNode {
	c.t.Helper()
	n := &testNode{FSM: fsm.New(nil), cluster: c, files: map[string]string{}}
	config := token.Config{
		Log: n, View: countingView{n}, Realms: n.realms(), Confirm: n.confirm, Now: c.now,
		Enabled: true, ClusterKey: clusterKey,
		AccessLifetime: accessLifetime, RefreshLifetime: refreshLifetime, RefreshWindow: refreshWindow,
	}
	if edit != nil {
		edit(&config)
	}
	service, err := token.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	n.Service = service
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n
}

// apply has the leader decide on a command.
func (c *testCluster) apply(command fsm.Command) (fsm.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	encoded := fsm.AppendCommand(nil, command)
	entry := fsm.AppendEntry(nil, fsm.UnixMilli(c.now().UnixMilli()), [][]byte{encoded})
	c.log = append(c.log, &raft.Log{Index: uint64(len(c.log) + 1), Term: 1, Type: raft.LogCommand, Data: entry})
	outcomes := c.nodes[0].catchUpLocked()
	return outcomes[0], nil
}

func (c *testCluster) mustApply(command fsm.Command) fsm.Outcome {
	c.t.Helper()
	outcome, err := c.apply(command)
	if err != nil || outcome.Reason != fsm.Done {
		c.t.Fatalf("apply %T: %v, %v", command, outcome.Reason, err)
	}
	return outcome
}

// putUser creates a native user, or changes the password of one.
func (c *testCluster) putUser(username fsm.Username, password string) {
	c.t.Helper()
	c.mustApply(fsm.PutUser{
		Header: header(), Username: username, Verifier: password, Enabled: true,
		Roles: []fsm.RoleName{"superuser"}, Metadata: []byte(`{}`),
	})
}

func (n *testNode) catchUp() {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	n.catchUpLocked()
}

// catchUpLocked applies what is missing and returns the last entry's outcomes.
func (n *testNode) catchUpLocked() (outcomes []fsm.Outcome) {
	for n.applied < len(n.cluster.log) {
		outcomes = n.Apply(n.cluster.log[n.applied]).([]fsm.Outcome)
		n.applied++
	}
	return outcomes
}

// Propose implements token.Log.
func (n *testNode) Propose(_ context.Context, command fsm.Command) (fsm.Outcome, error) {
	n.proposals.Add(1)
	apply := func() (fsm.Outcome, error) { return n.cluster.apply(command) }
	if n.proposeFault != nil {
		return n.proposeFault(apply)
	}
	return apply()
}

func (n *testNode) confirm(context.Context) error {
	n.confirmations.Add(1)
	if n.confirmFault != nil {
		return n.confirmFault
	}
	if n.onConfirm != nil {
		n.onConfirm()
	}
	n.catchUp()
	return nil
}

// mustLogIn authenticates with a password, for a write.
func (n *testNode) mustLogIn(username, password string) token.Caller {
	n.cluster.t.Helper()
	caller, err := n.AuthenticateForWrite(context.Background(), basic(username, password))
	if err != nil {
		n.cluster.t.Fatalf("log in as %s: %v", username, err)
	}
	return caller
}

// mustIssue returns a pair for a user, obtained by the user.
func (n *testNode) mustIssue(username, password string) token.Pair {
	n.cluster.t.Helper()
	pair, err := n.Issue(context.Background(), n.mustLogIn(username, password), passwordGrant(username, password))
	if err != nil {
		n.cluster.t.Fatalf("issue for %s: %v", username, err)
	}
	return pair
}

func passwordGrant(username, password string) token.IssueRequest {
	return token.IssueRequest{
		GrantType: token.GrantPassword, Username: username, Password: realm.NewSecret(password),
	}
}

// countingView tells how often a token was looked up.
type countingView struct{ *testNode }

func (v countingView) AccessToken(d fsm.Digest) (fsm.Token, bool) {
	v.lookups.Add(1)
	return v.FSM.AccessToken(d)
}

func (v countingView) RefreshToken(d fsm.Digest) (fsm.Token, bool) {
	v.lookups.Add(1)
	return v.FSM.RefreshToken(d)
}

// realms is a chain of the native realm, whose verifiers are the passwords
// themselves, and a file realm.
type realms struct{ *testNode }

func (n *testNode) realms() token.Realms { return realms{n} }

func (r realms) Authenticate(_ context.Context, username string, password realm.Secret) (realm.Login, error) {
	if u, found := r.User(fsm.RealmNative, fsm.Username(username)); found && u.Enabled && u.Verifier == password.Expose() {
		return realm.Login{Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: u.Username, Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
			Roles:     u.Roles, FullName: u.FullName, Email: u.Email, Metadata: u.Metadata,
		}, Generation: u.Generation}, nil
	}
	if kept, found := r.files[username]; found && kept == password.Expose() {
		return realm.Login{Identity: &fsm.Identity{
			Principal: fsm.Principal{Username: fsm.Username(username), Realm: fsm.Realm{Name: "default_file", Type: "file"}},
			Roles:     []fsm.RoleName{"superuser"}, Metadata: []byte(`{}`),
		}}, nil
	}
	return realm.Login{}, realm.ErrBadCredentials
}

// RunAs lets superusers run as native users.
func (r realms) RunAs(caller *fsm.Identity, name fsm.Username) (realm.Login, error) {
	target, found := r.User(fsm.RealmNative, name)
	if !found || !target.Enabled || caller.RunBy != nil || caller.Scope != nil {
		return realm.Login{}, realm.ErrRunAs
	}
	self, _ := r.User(caller.Realm.Name, caller.Username)
	identity := &fsm.Identity{
		Principal: fsm.Principal{Username: name, Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}},
		Roles:     target.Roles, Metadata: target.Metadata,
		RunBy: &fsm.Actor{Principal: caller.Principal, Roles: caller.Roles, Generation: self.Generation},
	}
	if !r.MayRun(identity) {
		return realm.Login{}, realm.ErrRunAs
	}
	return realm.Login{Identity: identity, Generation: target.Generation}, nil
}

func (r realms) MayRun(identity *fsm.Identity) bool {
	self, _ := r.User(identity.RunBy.Realm.Name, identity.RunBy.Username)
	return self.Generation == identity.RunBy.Generation && slices.Contains(identity.RunBy.Roles, "superuser")
}

// operations numbers the commands of all tests.
var operations atomic.Uint64

func header() fsm.Header {
	n := operations.Add(1)
	var id fsm.OperationID
	for i := range 8 {
		id[i] = byte(n >> (8 * i))
	}
	return fsm.Header{Operation: id}
}

// repeating is a source of bits that anybody can write down.
type repeating struct {
	mu   sync.Mutex
	next byte
}

func (r *repeating) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range p {
		p[i] = r.next
		r.next++
	}
	return len(p), nil
}

var _ io.Reader = (*repeating)(nil)

// isToken tells whether s looks as documented.
func isToken(prefix, s string) bool {
	return len(s) == 52 && strings.HasPrefix(s, prefix)
}
