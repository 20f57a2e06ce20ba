package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const (
	asFollower  = "[INFO]  raft: entering follower state: follower=\"Node at 127.0.0.1:9300\"\n"
	asCandidate = "[WARN]  raft: heartbeat timeout reached, starting election\n[INFO]  raft: entering candidate state: term=2\n"
	asLeader    = "[INFO]  raft: entering leader state: leader=\"Node at 127.0.0.1:9300\"\n"
)

// clusterOf makes the environment that `jeton dev` leaves behind, with one node for each log.
func clusterOf(t *testing.T, logs ...string) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nodes := ""
	for i, log := range logs {
		path := file(fmt.Sprintf("%d.log", i), log)
		nodes += fmt.Sprintf(`,{"name":"node-%d","url":"https://127.0.0.1:%d","log":%q}`, i, 9200+i, path)
	}
	_, ca, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("JETON_NODES", file("nodes.json", "["+nodes[1:]+"]"))
	t.Setenv("JETON_CACERT", file("ca.crt", string(ca)))
}

func TestLeaderAndFollowerAreFound(t *testing.T) {
	clusterOf(t, asFollower+asCandidate+asLeader+asFollower, asFollower+asCandidate+asLeader, asFollower+asCandidate)
	nodes, err := clusterFromEnvironment(theCluster)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"leader": "https://127.0.0.1:9201", "follower": "https://127.0.0.1:9200",
		"https://127.0.0.1:9202": "https://127.0.0.1:9202",
	}
	for which, url := range want {
		if got, err := nodes.pick(which); err != nil || got.url != url {
			t.Errorf("%s: %s, %v", which, got.url, err)
		}
	}
	if _, err := nodes.pick("https://127.0.0.1:1"); err == nil {
		t.Error("a node nobody has was picked")
	}
}

func TestNoLeaderIsAnError(t *testing.T) {
	clusterOf(t, asFollower, asFollower+asCandidate)
	nodes, err := clusterFromEnvironment(theCluster)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nodes.pick("leader"); err == nil {
		t.Error("a leader was found where none is")
	}
}
