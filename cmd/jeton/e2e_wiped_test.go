package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// begin starts a node like launch, but for one that cannot get ready: it returns
// when there is a process.
func (b *byHand) begin(t *testing.T, n *e2eNode) *tiedProcess {
	t.Helper()
	written := n.Log + ".pid"
	must(t, os.Remove(written)) // it names the former process
	process := startTied(t, exec.Command("jeton", "server", "--config", b.configOf(n)), n.Log)
	until(t, n.Name+" has a process", func() error {
		pid, err := os.ReadFile(written)
		if err == nil {
			n.PID, err = strconv.Atoi(strings.TrimSpace(string(pid)))
		}
		return err
	})
	n.down.Store(false)
	return process
}

func (*byHand) configOf(n *e2eNode) string { return filepath.Join(filepath.Dir(n.Log), "jeton.yml") }

// wipe takes a node that is down its disk.
func (n *e2eNode) wipe(t *testing.T) {
	t.Helper()
	must(t, os.RemoveAll(n.Data))
}

// ready wants the node to say that it should get requests.
func (n *e2eNode) ready() error {
	_, err := n.want(http.StatusOK, http.MethodGet, "/readyz", "", "")
	return err
}

// logCount is how often the node has written what the pattern describes, after
// the given position.
func (n *e2eNode) logCount(t *testing.T, after int, pattern string) int {
	t.Helper()
	log, err := os.ReadFile(n.Log)
	must(t, err)
	return len(regexp.MustCompile(pattern).FindAll(log[after:], -1))
}

// An invalidation is acknowledged by two nodes. One of them loses its disk, the
// other one is down. Who comes back with an empty disk is a stranger at an old
// address: its voice must not make the third node, which has missed the
// invalidation, the leader.
func TestE2EAWipedNodeIsNotTheOldOne(t *testing.T) {
	t.Setenv("JETON_REQUEST_TIMEOUT", "2s")
	b := startByHand(t)
	a := b.leader(t)
	ignorant, wiped := b.others(a)[0], b.others(a)[1]
	dead, err := a.token(b.elastic, asPassword("elastic", b.password))
	must(t, err)
	must(t, b.allNodes(func(n *e2eNode) error { return n.accepts(bearer(dead.Access)) }))
	ignorant.kill(t)
	must(t, a.invalidate(b.elastic, dead))
	a.kill(t)
	wiped.kill(t)
	wiped.wipe(t)

	began := map[*e2eNode]int{}
	for _, n := range []*e2eNode{ignorant, wiped} {
		began[n] = n.logSize(t)
		b.begin(t, n)
	}
	for n := range began {
		until(t, n.Name+" listens", func() error {
			_, err := n.want(http.StatusOK, http.MethodGet, "/livez", "", "")
			return err
		})
	}
	until(t, ignorant.Name+" has stood for election several times", func() error {
		must(t, findsNobodyToAsk(ignorant, dead, b.elastic))
		must(t, findsNobodyToAsk(wiped, dead, b.elastic))
		for n, after := range began {
			if n.logCount(t, after, `jeton: leading:`) > 0 {
				t.Fatalf("%s leads with the voice of a node that knows nothing", n.Name)
			}
		}
		if stood := ignorant.logCount(t, began[ignorant], `entering candidate state`); stood < 3 {
			return fmt.Errorf("%d times", stood)
		}
		return nil
	})

	bringBack(t, a)
	until(t, ignorant.Name+" is ready", ignorant.ready)
	for _, n := range []*e2eNode{a, ignorant} {
		_, err := n.token(b.elastic, asPassword("elastic", b.password))
		must(t, errors.Join(err, n.refuses(bearer(dead.Access))))
	}
	b.replaced(t, wiped, a)
	must(t, b.allNodes(func(n *e2eNode) error { return n.refuses(bearer(dead.Access)) }))
}

// findsNobodyToAsk sends a node what it cannot answer alone: a token that the
// cluster has invalidated, and a write.
func findsNobodyToAsk(n *e2eNode, dead e2ePair, elastic string) error {
	var asking errgroup.Group
	asking.Go(func() error {
		answer, err := n.ask(http.MethodGet, pathWhoAmI, bearer(dead.Access), "")
		if err == nil && answer.status != http.StatusServiceUnavailable && answer.status != http.StatusUnauthorized {
			err = fmt.Errorf("%s was asked who brings a dead token: %v", n.Name, answer)
		}
		return err
	})
	asking.Go(func() error {
		_, err := n.want(http.StatusServiceUnavailable, http.MethodPut, "/_security/user/new", elastic, `{"password":"long-enough","roles":[]}`)
		return err
	})
	asking.Go(func() error {
		_, err := n.want(http.StatusServiceUnavailable, http.MethodGet, "/readyz", "", "")
		return err
	})
	return asking.Wait()
}

// A node that lost its disk says what to do; the operator does it; and then it is
// a member as good as any.
func TestE2ELostNodeIsReplaced(t *testing.T) {
	b := startByHand(t)
	lost := b.others(b.leader(t))[0]
	before, err := lost.token(b.elastic, asPassword("elastic", b.password))
	must(t, err)
	lost.kill(t)
	lost.wipe(t)
	b.begin(t, lost)
	b.replaced(t, lost, b.others(lost)[0])
	must(t, lost.accepts(bearer(before.Access)))

	// It has a vote: without it there would be no leader now, and no write.
	b.leader(t)
	b.others(lost)[0].kill(t)
	for _, n := range []*e2eNode{lost, b.others(lost)[1]} {
		until(t, n.Name+" works", func() error {
			_, err := n.token(b.elastic, asPassword("elastic", b.password))
			return err
		})
		must(t, n.accepts(bearer(before.Access)))
	}
}

// replaced does for a node that came back without its disk what its log demands,
// at the machine of another node, and waits until it is ready and votes.
func (b *byHand) replaced(t *testing.T, lost, at *e2eNode) {
	t.Helper()
	demand := regexp.MustCompile(`address (127\.0\.0\.1:\d+) belongs to member ([0-9a-f-]{36});.* remove it first: jeton (operator raft remove-peer) ([0-9a-f-]{36})`)
	var said []string
	until(t, lost.Name+" says what to do", func() error {
		log, err := os.ReadFile(lost.Log)
		if said = demand.FindStringSubmatch(string(log)); err == nil && said == nil {
			err = errors.New("not yet")
		}
		return err
	})
	address, old := said[1], said[2]
	if said[4] != old {
		t.Errorf("%s belongs to %s, but %s is to be removed", address, old, said[4])
	}
	peers := b.peers(t, at)
	if former := peers[old]; former.Address != address || former.Reachable || !former.Voter {
		t.Errorf("list-peers shows of the lost member %+v", former)
	}
	if _, err := operator(b.configOf(at), append(strings.Fields(said[3]), old, "--yes")...); err != nil {
		t.Fatal(err)
	}
	until(t, lost.Name+" is ready", lost.ready)
	until(t, lost.Name+" votes", func() error {
		peers := b.peers(t, at)
		_, remembered := peers[old]
		for _, peer := range peers {
			if len(peers) == len(b.nodes) && !remembered && peer.Node == lost.Name && peer.Address == address && peer.Voter {
				return nil
			}
		}
		return fmt.Errorf("the members are %+v", peers)
	})
}

// peers are the members by ID, as list-peers shows them.
func (b *byHand) peers(t *testing.T, at *e2eNode) map[string]peerView {
	t.Helper()
	out, err := operator(b.configOf(at), "operator", "raft", "list-peers", "--format", "json")
	must(t, err)
	var seen clusterView
	must(t, json.Unmarshal(out, &seen))
	peers := map[string]peerView{}
	for _, peer := range seen.Peers {
		peers[peer.ID] = peer
	}
	return peers
}

// operator runs a command of the operator's with the settings of a node.
func operator(config string, args ...string) ([]byte, error) {
	cmd := exec.Command("jeton", append(args, "--config", config)...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", cmd, err, out, complaints.String())
	}
	return out, err
}

// A member whose log is gone has forgotten whom it voted for. It does not start,
// and says which file is missing and what can be done.
func TestE2EAnEmptiedLogIsRefused(t *testing.T) {
	b := startByHand(t)
	n := b.nodes[0]
	log := filepath.Join(n.Data, "raft.db")
	n.kill(t)
	for _, lost := range []struct {
		how  string
		lose func() error
	}{
		{"emptied", func() error { return os.Truncate(log, 0) }},
		{"started once more", func() error { return nil }}, // the first start must not mend it
		{"missing", func() error { return os.Remove(log) }},
	} {
		how := lost.how
		must(t, lost.lose())
		after := n.logSize(t)
		process := b.begin(t, n)
		select {
		case <-process.done:
		case <-time.After(e2ePatience):
			t.Fatalf("%s: it runs\n%s", how, process.output())
		}
		n.down.Store(true)
		if exit := (*exec.ExitError)(nil); !errors.As(process.exit, &exit) || exit.ExitCode() != exitFailed {
			t.Errorf("%s: it ended with %v", how, process.exit)
		}
		if n.logCount(t, after, `its log raft\.db is missing or empty: restore the file, or remove this member from the cluster \(jeton operator raft remove-peer\)`) == 0 {
			t.Errorf("%s: it does not say what is wrong and what to do:\n%s", how, process.output())
		}
	}
	for _, other := range b.others(n) {
		until(t, other.Name+" works", func() error { return other.accepts(b.elastic) })
	}
}
