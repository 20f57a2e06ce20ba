package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"
)

// A node that was away so long that the others no longer have the entries it
// missed gets a snapshot, and then is a member as good as any.
func TestE2ENodeThatWasAwayGetsASnapshot(t *testing.T) {
	c := startDev(t, "raft.snapshot_threshold: 32kb\nraft.snapshot_interval: 1s\nraft.trailing_logs: 16\n")
	leader := c.leader(t)
	away, stays := c.others(leader)[0], c.others(leader)[1]
	away.kill(t)

	client := &e2eClient{nodes: []*e2eNode{leader, stays}}
	load := startLoad(c, 8, client.anywhere)
	taken := regexp.MustCompile("jeton: snapshot taken")
	until(t, "the leader has taken two snapshots", func() error {
		load.healthy(t)
		log, err := os.ReadFile(leader.Log)
		if count := len(taken.FindAll(log, -1)); err == nil && count < 2 {
			err = fmt.Errorf("%d", count)
		}
		return err
	})
	load.stop(t)
	before := away.logSize(t)
	bringBack(t, away)
	away.logged(t, before, "Installed remote snapshot")
	load.verify(t)

	// It counts: with another one dead the quorum needs it, and it keeps what it got.
	stays.kill(t)
	pair, err := away.token(c.elastic, asPassword("elastic", c.password))
	must(t, err)
	away.kill(t)
	bringBack(t, away, stays)
	must(t, c.allNodes(func(n *e2eNode) error { return n.accepts(bearer(pair.Access)) }))
	_, err = away.want(http.StatusOK, http.MethodGet, "/readyz", "", "")
	must(t, err)
	load.verify(t)
}
