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
		{"the former format", `["a:1", "b:1"]`, "it is no list of members"},
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
		{"two of five", five, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "b"}, "seed:1": {ServerID: "b"}}, ""},
		{"a stranger where one was", three, map[raft.ServerAddress]cluster.Status{"b:1": {ServerID: "new"}}, ""},
		{"one without a vote", append(three[:3:3], guest), map[raft.ServerAddress]cluster.Status{"guest:1": {ServerID: "guest"}}, ""},
		{"from one without a vote", []raft.Server{{ID: "me", Suffrage: raft.Nonvoter}, voter("b")}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config.Default()
			c.Discovery.SeedHosts = []string{"seed:1", "127.0.0.1:9300"} // the other is its own
			n := &Node{config: c, log: hclog.NewNullLogger(), replica: &replica{id: "me", peers: hosts{statuses: test.statuses}}}
			err := n.mayRecover(t.Context(), raft.Configuration{Servers: test.members})
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
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

func TestANodeIsNotRecoveredByMistake(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	s.mustClose(n)
	path := s.survive(n.dir.identity.ServerID, false)
	for _, want := range []string{"1 of 1 voters are alive", "does not name this node"} {
		if _, err := s.open(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("opened: %v", err)
		}
		s.survive("somebody else", false)
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

// A member that was taken for lost and comes back with its data is told.
func TestWhoWasLeftBehindIsTold(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	own := n.status()
	recovered := own
	recovered.ServerID, recovered.State, recovered.Epoch = "other", "Leader", 1
	recovered.Members = []cluster.Member{{ID: "other", Voter: true}}
	for name, test := range map[string]struct {
		alter func(*cluster.Status)
		want  bool
	}{
		"recovered":         {func(*cluster.Status) {}, true},
		"not recovered":     {func(s *cluster.Status) { s.Epoch = 0 }, false},
		"does not lead":     {func(s *cluster.Status) { s.State = "Follower" }, false},
		"another cluster":   {func(s *cluster.Status) { s.ClusterID[0]++ }, false},
		"counts this one":   {func(s *cluster.Status) { s.Members = append(s.Members, own.Members...) }, false},
		"restored, as many": {func(s *cluster.Status) { s.Members = own.Members }, false},
	} {
		t.Run(name, func(t *testing.T) {
			peer := recovered
			test.alter(&peer)
			if got := n.leftBehind([]cluster.Status{own, peer}); got != test.want {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

// A member without a snapshot does not know, before it meets a leader, what it once applied.
// Two such members led a cluster that had been recovered without them.
func TestWhoWasLeftBehindWithoutASnapshotIsTold(t *testing.T) {
	n := &Node{replica: &replica{id: "own", state: fsm.New(nil)}}
	peer := cluster.Status{ServerID: "other", State: "Leader", ClusterID: [16]byte{7}, Epoch: 1, Members: []cluster.Member{{ID: "other"}}}
	if !n.leftBehind([]cluster.Status{peer}) {
		t.Error("it goes on")
	}
	peer.Members = append(peer.Members, cluster.Member{ID: "own"})
	if n.leftBehind([]cluster.Status{peer}) {
		t.Error("a member of the recovered cluster ends")
	}
}
