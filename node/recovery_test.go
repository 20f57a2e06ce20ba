package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/config"
)

func TestThePeersFileNamesThisNodeAlone(t *testing.T) {
	self := survivor{ID: "me", Address: "a:1"}
	for _, test := range []struct {
		name, content, want string // empty: it is good
	}{
		{"good", `[{"id": "me", "address": "a:1", "non_voter": false}]`, ""},
		{"sessions", `[{"id": "me", "address": "a:1", "keep_sessions": true}]`, ""},
		{"not JSON", `id: me`, "it is no list of members"},
		{"the former format", `["a:1", "b:1"]`, "it is no list of members: the string at byte 6 does not belong there; write [{"},
		{"one member", `{"id": "me", "address": "a:1"}`, "it is no list of members"},
		{"unknown field", `[{"id": "me", "address": "a:1", "voter": true}]`, `unknown field "voter"`},
		{"two lists", `[{"id": "me", "address": "a:1"}] []`, "something follows the list"},
		{"empty", ``, "it is no list of members"},
		{"nobody", `[]`, "does not name this node, whose id is me"},
		{"somebody else", `[{"id": "other", "address": "a:1"}]`, "does not name this node, whose id is me"},
		{"twice", `[{"id": "me", "address": "a:1"}, {"id": "me", "address": "a:1"}]`, "names me twice"},
		{"several", `[{"id": "me", "address": "a:1"}, {"id": "b", "address": "b:1"}]`, "recover the one that is furthest, alone"},
		{"no vote", `[{"id": "me", "address": "a:1", "non_voter": true}]`, "no vote"},
		{"moved", `[{"id": "me", "address": "b:1"}]`, "at b:1, but its settings say a:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "peers.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			chosen, err := readPeers(path, self)
			switch {
			case test.want == "" && (err != nil || chosen.ID != "me"):
				t.Errorf("%+v, %v", chosen, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasSuffix(err.Error(), `; write [{"id": "me", "address": "a:1"}]`)):
				t.Error(err)
			}
		})
	}
	if _, err := readPeers(filepath.Join(t.TempDir(), "none"), self); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// hosts are peers that say how they are.
type hosts struct {
	peers
	statuses map[raft.ServerAddress]cluster.Status
}

func (h hosts) Status(_ context.Context, address raft.ServerAddress) (cluster.Status, error) {
	status, ok := h.statuses[address]
	if !ok {
		return status, errRefused
	}
	return status, nil
}

func TestAClusterThatIsNotLostIsNotRecovered(t *testing.T) {
	voter := func(id string) raft.Server {
		return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id + ":1")}
	}
	three := []raft.Server{voter("me"), voter("b"), voter("c")}
	five := append(three[:3:3], voter("d"), voter("e"))
	guest := voter("guest")
	guest.Suffrage = raft.Nonvoter
	for _, test := range []struct {
		name     string
		members  []raft.Server
		statuses map[raft.ServerAddress]cluster.Status
		want     string // empty: it may be recovered
	}{
		{"alone", three, nil, ""},
		{"one leads", five, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b", Name: "b", LeaderID: "b"}}, "b at  answers and knows a leader"},
		{"one follows, at an address of old", three, map[raft.ServerAddress]cluster.Status{"seed:1": {ServerID: "c", LeaderID: "b"}}, "knows a leader"},
		{"two of three", three, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b"}}, "2 of 3 voters are alive"},
		{"two of five", five, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b", Name: "bee"}, "seed:1": {ServerID: "b", Name: "bee"}}, "bee at  has a vote and is alive"},
		{"another is recovered", five, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b", Name: "bee", State: stateRecovering}}, "bee at  is about to go on alone, too"},
		{"one of two of three is recovered", three, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b", State: stateRecovering}}, "about to go on alone, too"},
		{"itself, by another name", three, map[raft.ServerAddress]cluster.Status{"seed:1": {ServerID: "me", State: stateRecovering}}, ""},
		{"a stranger where one was", three, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "new"}}, ""},
		{"one without a vote", append(three[:3:3], guest), map[raft.ServerAddress]cluster.Status{"guest:1": {ServerID: "guest"}}, ""},
		{"another was recovered", three, map[raft.ServerAddress]cluster.Status{"c:1": {ServerID: "c", Name: "c", LeaderID: "c", Lineage: lineage{7: 2}}}, "c at  leads a cluster that was recovered without this node: this node cannot recover it. Remove the file, empty path.data"},
		{"another was recovered, and elects itself", three, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b", LeaderID: "a"}, "c:1": {ServerID: "c", Name: "c", Lineage: lineage{7: 2}}}, "c at  belongs to a cluster that was recovered"},
		{"another was recovered, apart", three, map[raft.ServerAddress]cluster.Status{"c:1": {ServerID: "new", Name: "c", Lineage: lineage{7: 2}, Ancestors: [][8]byte{{9}}}}, "c at  belongs to a cluster that was recovered apart from this node"},
		{"one of the same recovery leads", three, map[raft.ServerAddress]cluster.Status{"c:1": {ServerID: "c", LeaderID: "c", Lineage: lineage{7: 1}}}, "knows a leader"},
		{"from one without a vote", []raft.Server{{ID: "me", Suffrage: raft.Nonvoter}, voter("b")}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config.Default()
				c.Discovery.SeedHosts = []string{"seed:1", "127.0.0.1:9300"} // the other is its own
				n := &Node{
					config: c, log: hclog.NewNullLogger(), patience: recoveryPatience,
					replica: &replica{id: "me", peers: hosts{statuses: test.statuses}},
				}
				began := time.Now()
				err := n.mayRecover(t.Context(), raft.Configuration{Servers: test.members}, fsm.Summary{Lineage: lineage{7: 1}})
				if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Error(err)
				}
				if took := time.Since(began); err == nil && took < recoveryPatience {
					t.Errorf("the others had %v to show themselves", took)
				}
			})
		})
	}
}

// loseQuorum gives the cluster a second voter that is not there.
func (s *site) loseQuorum(n *Node) {
	s.tb.Helper()
	_, err := n.membership.AddOrUpdate(s.tb.Context(), "lost", "127.0.0.1:1")
	if err := errors.Join(err, n.membership.Promote(s.tb.Context(), "lost")); err != nil {
		s.tb.Fatal(err)
	}
}

// survive writes the peers file.
func (s *site) survive(id raft.ServerID, keepSessions bool) string {
	s.tb.Helper()
	path := filepath.Join(s.config.DataPath, peersFile)
	content, err := json.Marshal([]survivor{{ID: id, Address: raft.ServerAddress(s.config.Transport.PublishAddress()), KeepSessions: keepSessions}})
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
		s.tb.Fatal(err)
	}
	return path
}

func TestASurvivorGoesOnAlone(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := newSite(t)
		n := s.mustOpen()
		access, _ := s.issue()
		s.loseQuorum(n)
		s.mustClose(n)

		path := s.survive(n.dir.identity.ServerID, keep)
		for range 2 { // the second start finds no file
			n = s.mustOpen()
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
			if _, err := os.Stat(path + ".epoch-1"); err != nil {
				t.Error(err)
			}
			if status := n.status(); status.Epoch != 1 || len(status.Members) != 1 || !status.Members[0].Voter {
				t.Errorf("it says %+v", status)
			}
			want := http.StatusUnauthorized
			if keep {
				want = http.StatusOK
			}
			if got := s.authenticate(access); got != want {
				t.Errorf("sessions kept %v: a former session: %d", keep, got)
			}
			fresh, _ := s.issue()
			if got := s.authenticate(fresh); got != http.StatusOK {
				t.Errorf("a new session: %d", got)
			}
			s.mustClose(n)
		}
	}
}

// An operator has second thoughts, and ends the node while it still asks the others.
func TestASignalStopsARecovery(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	s.loseQuorum(n)
	s.mustClose(n)
	path := s.survive(n.replica.id, false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Open(ctx, Options{Config: s.config, Logger: hclog.NewNullLogger(), Version: "test", patience: time.Minute}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("it was followed: %v", err)
	}
}

// undeletable is a log that the process does not live to delete.
type undeletable struct{ raft.LogStore }

var errEnded = errors.New("the process ended here")

func (undeletable) DeleteRange(uint64, uint64) error { return errEnded }

// Wherever the process ends, the data are those of before or the recovered ones. A log of before beneath a recovered
// snapshot would bring new members the state of before.
func TestARecoveryIsThereAsAWholeOrNotAtAll(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	ended, _ := s.issue()
	s.loseQuorum(n)
	s.mustClose(n)
	id := n.dir.identity.ServerID

	dir, err := openDataDir(s.config.DataPath, s.config.ClusterName)
	if err != nil {
		t.Fatal(err)
	}
	stores, err := openStores(dir, s.config, hclog.NewNullLogger(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	last, _ := stores.logs.LastIndex()
	_, logs, snapshots, err := joinStores(undeletable{stores.log}, stores.snapshots.(jointSnapshots).SnapshotStore)
	if err != nil {
		t.Fatal(err)
	}
	_, transport := raft.NewInmemTransport("")
	self := raft.Configuration{Servers: []raft.Server{{ID: id, Address: raft.ServerAddress(s.config.Transport.PublishAddress())}}}
	state := &recovered{FSM: fsm.New(nil), levels: n.replica.levels}
	err = raft.RecoverCluster(raftConfig(s.config, id, hclog.NewNullLogger(), nil), state, logs, stores.stable, further{snapshots}, transport, self)
	if last == 0 || err == nil || !strings.Contains(err.Error(), errEnded.Error()) {
		t.Fatalf("a log up to %d was deleted: %v", last, err)
	}
	if err := errors.Join(stores.close(), dir.close()); err != nil {
		t.Fatal(err)
	}

	path := s.survive(id, false)
	for _, crash := range []string{"before the log was dropped", "before the file was renamed", "after all"} {
		n := s.mustOpen()
		if status := n.status(); status.Epoch != 1 || len(status.Members) != 1 || n.descent.own().recoveries() != 1 || s.authenticate(ended) != http.StatusUnauthorized {
			t.Errorf("%s: it says %+v, lineage %x", crash, status, n.descent.own())
		}
		s.mustClose(n)
		dir, err := openDataDir(s.config.DataPath, s.config.ClusterName)
		if err != nil {
			t.Fatal(err)
		}
		stores, err := openStores(dir, s.config, hclog.NewNullLogger(), func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		if first, err := stores.logs.FirstIndex(); err != nil || first <= last+1 {
			t.Errorf("%s: the log begins with entry %d, that of before ended with %d: %v", crash, first, last, err)
		}
		if err := errors.Join(stores.close(), dir.close()); err != nil {
			t.Fatal(err)
		}
		if crash == "before the log was dropped" {
			if err := os.Rename(path+".epoch-1", path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestANodeIsNotRecoveredByMistake(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	s.mustClose(n)
	path := s.survive(n.dir.identity.ServerID, false)
	n = s.mustOpen() // it is the only member already
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || n.status().Epoch != 0 {
		t.Errorf("the file is still there, or was followed: %v, %+v", err, n.status())
	}
	s.mustClose(n)
	s.survive("somebody else", false)
	if _, err := s.open(); err == nil || !strings.Contains(err.Error(), "does not name this node") || !strings.Contains(err.Error(), path) {
		t.Errorf("opened: %v", err)
	}

	empty := newSite(t)
	empty.survive("x", false)
	if _, err := empty.open(); err == nil || !strings.Contains(err.Error(), "does not name this node, whose id is ") {
		t.Errorf("opened: %v", err)
	} else {
		_, id, _ := strings.Cut(err.Error(), "whose id is ")
		id, _, _ = strings.Cut(id, ";")
		empty.survive(raft.ServerID(id), false)
	}
	if _, err := empty.open(); err == nil || !strings.Contains(err.Error(), "there is nothing to recover; remove the file") {
		t.Errorf("opened: %v", err)
	}
}

// A member that was taken for lost and comes back with its data is told, with a snapshot or
// without, when it does not know yet what it once applied.
func TestWhoWasLeftBehindIsTold(t *testing.T) {
	here, once, other, thrice := [16]byte{7}, lineage{7: 1, 15: 1}, lineage{7: 1, 15: 2}, lineage{7: 3, 15: 3}
	of := func(clusterID [16]byte, l lineage, ancestors ...byte) cluster.Status {
		status := cluster.Status{ClusterID: clusterID, Lineage: l, Ancestors: make([][8]byte, len(ancestors))}
		for i, id := range ancestors {
			status.Ancestors[i] = [8]byte{7: id}
		}
		return status
	}
	descends := [16][8]byte{{7: 9}, {7: 1}}
	for name, test := range map[string]struct {
		own  fsm.Summary
		peer cluster.Status
		want family
	}{
		"recovered":                     {fsm.Summary{ClusterID: here}, of(here, once), descendant},
		"recovered again":               {fsm.Summary{ClusterID: here, Lineage: once}, of(here, thrice, 9, 1), descendant},
		"recovered again, without us":   {fsm.Summary{ClusterID: here}, of(here, thrice, 9, 1), descendant},
		"so often that it is forgotten": {fsm.Summary{ClusterID: here, Lineage: once}, of(here, lineage{7: 9}, 9, 8), descendant},
		"without a snapshot":            {fsm.Summary{}, of(here, once), descendant},
		"not recovered":                 {fsm.Summary{ClusterID: here}, of(here, lineage{}), sibling},
		"another cluster":               {fsm.Summary{ClusterID: here}, of([16]byte{8}, once), stranger},
		"recovered itself":              {fsm.Summary{ClusterID: here, Lineage: once}, of(here, lineage{}), ancestor},
		"recovered itself again":        {fsm.Summary{ClusterID: here, Lineage: thrice, Ancestors: descends}, of(here, once), ancestor},
		"of the same recovery":          {fsm.Summary{ClusterID: here, Lineage: once}, of(here, once), sibling},
		"both recovered, apart":         {fsm.Summary{ClusterID: here, Lineage: once}, of(here, other), cousin},
		"apart, and more often":         {fsm.Summary{ClusterID: here, Lineage: other}, of(here, thrice, 9, 1), cousin},
		"apart, and less often":         {fsm.Summary{ClusterID: here, Lineage: thrice, Ancestors: descends}, of(here, other), cousin},
	} {
		t.Run(name, func(t *testing.T) {
			if got := kinship(test.peer, test.own); got != test.want || leftBehind([]cluster.Status{test.peer}, test.own) != (got == descendant) {
				t.Errorf("family %d", got)
			}
		})
	}
}

// A new node joins those that went on, and waits as long as it cannot tell who that is.
func TestANewNodeJoinsTheNewestLineage(t *testing.T) {
	once, other, twice := lineage{7: 1, 15: 1}, lineage{7: 1, 15: 2}, lineage{7: 2}
	member := func(name string, l lineage) cluster.Status {
		return cluster.Status{Name: name, State: "Follower", Bootstrapped: true, Read: true, Lineage: l}
	}
	of := func(peer cluster.Status, from lineage) cluster.Status {
		peer.Ancestors = [][8]byte{[8]byte(from[8:])}
		return peer
	}
	starting, recovering, empty := member("c", lineage{}), member("d", lineage{}), cluster.Status{Name: "e", State: "Follower"}
	starting.State, starting.Read, recovering.State = "", false, stateRecovering
	reunited := member("g", once) // it has read its state, and asks the others
	reunited.State = ""
	for name, test := range map[string]struct {
		peers  []cluster.Status
		kin    string
		newest lineage
		reason string
	}{
		"nobody":                 {nil, "", lineage{}, ""},
		"none has any data":      {[]cluster.Status{empty, {Name: "f"}}, "ef", lineage{}, ""},
		"never recovered":        {[]cluster.Status{member("a", lineage{}), member("b", lineage{}), empty}, "abe", lineage{}, ""},
		"recovered":              {[]cluster.Status{member("a", lineage{}), member("b", once), empty}, "be", once, ""},
		"recovered, first":       {[]cluster.Status{member("a", twice), member("b", once), member("c", twice)}, "ac", twice, ""},
		"one is starting":        {[]cluster.Status{starting, member("b", once)}, "", once, "waiting for c, which is starting"},
		"one has read its state": {[]cluster.Status{reunited, member("b", lineage{})}, "g", once, ""},
		"all are starting":       {[]cluster.Status{starting, empty}, "", lineage{}, "waiting for c, which is starting"},
		"one is recovered now":   {[]cluster.Status{member("a", lineage{}), recovering}, "", lineage{}, "waiting for d, from which"},
		"two, apart":             {[]cluster.Status{member("a", once), member("b", other)}, "", once, "a and b were both recovered, each alone"},
		"two, and one in common": {[]cluster.Status{member("a", once), member("b", other), of(member("c", twice), once)}, "", twice, "c and b were both recovered, each alone"},
		"two, one after another": {[]cluster.Status{of(member("c", twice), once), member("a", once), member("b", lineage{})}, "c", twice, ""},
	} {
		t.Run(name, func(t *testing.T) {
			kin, newest, reason := newestLineage(test.peers)
			names := ""
			for _, peer := range kin {
				names += peer.Name
			}
			if names != test.kin || newest != test.newest && reason == "" || !strings.HasPrefix(reason, test.reason) || (reason == "") != (test.reason == "") {
				t.Errorf("%q, %x, %q", names, newest, reason)
			}
		})
	}
}
