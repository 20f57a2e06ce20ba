package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// jeton runs the program with a node's settings and returns what it printed, and its
// complaint if it failed.
func (c *e2eCluster) jeton(n int, args ...string) (string, error) {
	config := filepath.Join(c.dir, c.nodes[n].Name, "jeton.yml")
	out, err := exec.Command("jeton", append(args, "--config", config)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("jeton %s: exit code %d: %s", strings.Join(args, " "), exit.ExitCode(), exit.Stderr)
	}
	return string(out), err
}

// backup saves the cluster's state to a file.
func (c *e2eCluster) backup(t *testing.T, name string, args ...string) (path string, found snapshotView) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	out, err := c.jeton(0, append([]string{"snapshot", "save", path, "--format", "json"}, args...)...)
	must(t, err)
	must(t, json.Unmarshal([]byte(out), &found))
	return path, found
}

// A backup brings users and roles back, and no token that ended: not by the restore, and
// not by a restore that keeps sessions.
func TestE2EBackupAndRestore(t *testing.T) {
	c := startDev(t, cheapHashes)
	first, second := c.nodes[0], c.nodes[1]
	_, err := first.want(http.StatusOK, http.MethodPut, "/_security/user/ann", c.elastic, `{"password":"open-sesame","roles":["superuser"]}`)
	must(t, err)
	issue := func() e2ePair {
		pair, err := first.token(c.elastic, asPassword("elastic", c.password))
		must(t, err)
		return pair
	}
	kept, ended, used := issue(), issue(), issue()
	file, saved := c.backup(t, "b.jeton")
	if saved.Counts.Users != 2 || saved.Counts.Pairs != 3 || !saved.Verified {
		t.Errorf("%+v", saved)
	}

	must(t, second.invalidate(c.elastic, ended))
	successor, err := second.token(c.elastic, asRefresh(used))
	must(t, err)
	late := issue()
	_, err = second.want(http.StatusOK, http.MethodDelete, "/_security/user/ann", c.elastic, "")
	must(t, err)
	_, err = second.want(http.StatusOK, http.MethodPut, "/_security/user/bob", c.elastic, `{"password":"open-sesame","roles":[]}`)
	must(t, err)

	out, err := c.jeton(2, "snapshot", "restore", file, "--keep-sessions", "--yes")
	must(t, err)
	if !strings.Contains(out, "The recovery epoch is 1 now") {
		t.Error(out)
	}
	c.leader(t).logged(t, 0, "the state was restored from a snapshot: .*outcome=done epoch=1 .*sessions_kept=true")
	content, err := os.ReadFile(file)
	must(t, err)
	for _, secret := range []string{kept.Access, kept.Refresh, c.password, "open-sesame"} {
		if strings.Contains(string(content), secret) {
			t.Error("the file holds a secret")
		}
	}
	must(t, c.allNodes(func(n *e2eNode) error {
		_, successorGone := n.want(http.StatusBadRequest, http.MethodPost, pathToken, c.elastic, asRefresh(successor))
		return errors.Join(
			n.accepts(bearer(kept.Access)), n.refuses(bearer(ended.Access)), n.refuses(bearer(successor.Access)), n.refuses(bearer(late.Access)),
			n.accepts(basic("ann", "open-sesame")), n.refuses(basic("bob", "open-sesame")), successorGone,
		)
	}))
	// What was used before the restore is not used again: somebody else has its successor.
	_, err = first.want(http.StatusBadRequest, http.MethodPost, pathToken, c.elastic, asRefresh(used))
	must(t, err)
	for _, pair := range []e2ePair{kept, ended} { // of the latter only the access token was invalidated
		_, err = first.token(c.elastic, asRefresh(pair))
		must(t, err)
	}

	// That file is of an epoch that has ended: its sessions do not come back again.
	_, err = c.jeton(0, "snapshot", "restore", file, "--keep-sessions", "--yes")
	checkProblem(t, err, "exit code 1: jeton: not restored: the cluster was restored or recovered since this snapshot was saved")
	out, err = c.jeton(0, "snapshot", "restore", file, "--yes")
	must(t, err)
	if !strings.Contains(out, "Every session ends") {
		t.Error(out)
	}
	must(t, c.allNodes(func(n *e2eNode) error {
		return errors.Join(n.refuses(bearer(kept.Access)), n.accepts(basic("ann", "open-sesame")), n.accepts(c.elastic))
	}))

	c.restartEverything(t)
	must(t, c.allNodes(func(n *e2eNode) error {
		return errors.Join(n.refuses(bearer(kept.Access)), n.refuses(bearer(ended.Access)), n.accepts(basic("ann", "open-sesame")))
	}))
}

// restartEverything kills all nodes and starts them again.
func (c *e2eCluster) restartEverything(t *testing.T) {
	t.Helper()
	for _, n := range c.nodes {
		n.kill(t)
	}
	bringBack(t, c.nodes...)
}

// Equal states have equal digests, whichever node is asked; and one that has no quorum can
// be asked for what it has.
func TestE2ESnapshotsOfEqualStatesAreEqual(t *testing.T) {
	c := startDev(t, cheapHashes)
	for range 20 {
		pair, err := c.nodes[0].token(c.elastic, asPassword("elastic", c.password))
		must(t, err)
		must(t, c.nodes[1].invalidate(c.elastic, pair))
	}
	until(t, "all nodes show the same state", func() error {
		digests := map[string]bool{}
		var index uint64
		for _, n := range c.nodes {
			_, found := c.backup(t, n.Name, "--node", n.Name, "--stale")
			if index == 0 {
				index = found.Index
			}
			if found.Index != index {
				return fmt.Errorf("index %d and %d", index, found.Index)
			}
			digests[found.Digest] = true
		}
		if len(digests) != 1 {
			t.Fatalf("%d states at index %d", len(digests), index)
		}
		return nil
	})
	c.nodes[1].kill(t)
	c.nodes[2].kill(t)
	path := filepath.Join(t.TempDir(), "alone")
	_, err := c.jeton(0, "snapshot", "save", path, "--node", c.nodes[0].Name)
	checkProblem(t, err, "cannot confirm now that its state is up to date (--node and --stale take it as it is)")
	_, err = os.Stat(path)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that was not saved: %v", err)
	}
	_, err = c.jeton(0, "snapshot", "save", path, "--node", c.nodes[0].Name, "--stale")
	must(t, err)
	bringBack(t, c.nodes[1], c.nodes[2])
}

// Another cluster's file is refused unless it is asked for by its ID, and then a new
// cluster with the same key takes the place of the lost one.
func TestE2ERestoreIntoAnotherCluster(t *testing.T) {
	lost := startDev(t, cheapHashes)
	_, err := lost.nodes[0].want(http.StatusOK, http.MethodPut, "/_security/user/ann", lost.elastic, `{"password":"open-sesame","roles":["superuser"]}`)
	must(t, err)
	pair, err := lost.nodes[0].token(lost.elastic, asPassword("elastic", lost.password))
	must(t, err)
	file, saved := lost.backup(t, "lost.jeton")

	other := startDev(t, cheapHashes)
	_, err = other.jeton(0, "snapshot", "restore", file, "--yes")
	checkProblem(t, err, "made with another cluster key")
	_, err = other.jeton(0, "snapshot", "inspect", file)
	checkProblem(t, err, `made with another cluster key: that of cluster "dev"`)

	// The same key, another cluster: everything of the first but its certificates is lost.
	for _, n := range lost.nodes {
		n.kill(t)
		must(t, os.RemoveAll(n.Data))
	}
	bringBack(t, lost.nodes...)
	_, err = lost.jeton(0, "snapshot", "restore", file, "--yes")
	checkProblem(t, err, "add --from-cluster "+saved.ClusterID.String())
	_, err = lost.jeton(0, "snapshot", "restore", file, "--yes", "--from-cluster", "00")
	checkProblem(t, err, "the snapshot is of the cluster with the ID "+saved.ClusterID.String())
	out, err := lost.jeton(0, "snapshot", "restore", file, "--yes", "--from-cluster", saved.ClusterID.String())
	must(t, err)
	if !strings.Contains(out, "Restored.") {
		t.Error(out)
	}
	must(t, lost.allNodes(func(n *e2eNode) error {
		return errors.Join(n.refuses(bearer(pair.Access)), n.accepts(lost.elastic), n.accepts(basic("ann", "open-sesame")))
	}))
	// A sealed file that somebody changed is refused whole.
	content, err := os.ReadFile(file)
	must(t, err)
	content[len(content)/2] ^= 0x20
	must(t, os.WriteFile(file, content, 0o600))
	_, err = lost.jeton(0, "snapshot", "restore", file, "--yes", "--from-cluster", saved.ClusterID.String())
	checkProblem(t, err, "the file is damaged, or was tampered with")
}
