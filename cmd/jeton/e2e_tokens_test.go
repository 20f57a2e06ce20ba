package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Whatever a node acknowledged, every other node knows at once: without a
// repetition or a pause anywhere in these stories.
func TestE2EAcknowledgedIsKnownEverywhereAtOnce(t *testing.T) {
	c := startDev(t, cheapHashes)

	t.Run("a pair's life", func(t *testing.T) {
		repeat(t, countFrom(t, "JETON_E2E_ROUNDS", 400), 8, func(i int) error { return c.lifeOfAPair(i) })
	})
	for name, end := range map[string]userEnd{
		"user disabled": {
			method: http.MethodPut, path: "/_security/user/%s/_disable",
		},
		"user deleted": {
			method: http.MethodDelete, path: "/_security/user/%s",
		},
		"password changed": {
			method: http.MethodPost, path: "/_security/user/%s/_password", body: `{"password":"another-secret"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			kind := strings.ReplaceAll(name, " ", "-")
			repeat(t, countFrom(t, "JETON_E2E_ROUNDS", 100), 4, func(i int) error {
				return c.endOfAUser(i, fmt.Sprintf("%s-%d", kind, i), end)
			})
		})
	}
}

// lifeOfAPair tells: issued at one node, valid at the others; refreshed at the
// second, the successor valid at the third; invalidated at the third, refused by
// the others.
func (c *e2eCluster) lifeOfAPair(i int) error {
	first, second, third := c.node(i), c.node(i+1), c.node(i+2)
	pair, err := first.token(c.elastic, asPassword("elastic", c.password))
	if err != nil {
		return err
	}
	if err := errors.Join(second.accepts(bearer(pair.Access)), third.accepts(bearer(pair.Access))); err != nil {
		return fmt.Errorf("issued at %s: %w", first.Name, err)
	}
	successor, err := second.token(c.elastic, asRefresh(pair))
	if err != nil {
		return err
	}
	if err := errors.Join(third.accepts(bearer(successor.Access)), first.accepts(bearer(successor.Access))); err != nil {
		return fmt.Errorf("refreshed at %s: %w", second.Name, err)
	}
	if err := third.invalidate(c.elastic, successor); err != nil {
		return err
	}
	if err := errors.Join(first.refuses(bearer(successor.Access)), second.refuses(bearer(successor.Access))); err != nil {
		return fmt.Errorf("invalidated at %s: %w", third.Name, err)
	}
	return nil
}

// userEnd is a request that ends all tokens and the login of a user.
type userEnd struct{ method, path, body string }

func (c *e2eCluster) endOfAUser(i int, name string, end userEnd) error {
	const password = "open-sesame"
	first, second, third := c.node(i), c.node(i+1), c.node(i+2)
	user := fmt.Sprintf(`{"password":%q,"roles":["superuser"]}`, password)
	if _, err := first.want(http.StatusOK, http.MethodPut, "/_security/user/"+name, c.elastic, user); err != nil {
		return err
	}
	if err := c.allNodes(func(n *e2eNode) error { return n.accepts(basic(name, password)) }); err != nil {
		return fmt.Errorf("created at %s: %w", first.Name, err)
	}
	pair, err := second.token(basic(name, password), asPassword(name, password))
	if err != nil {
		return err
	}
	if err := c.allNodes(func(n *e2eNode) error { return n.accepts(bearer(pair.Access)) }); err != nil {
		return err
	}
	if _, err := third.want(http.StatusOK, end.method, fmt.Sprintf(end.path, name), c.elastic, end.body); err != nil {
		return err
	}
	err = c.allNodes(func(n *e2eNode) error {
		_, refresh := n.want(http.StatusBadRequest, http.MethodPost, pathToken, c.elastic, asRefresh(pair))
		return errors.Join(n.refuses(bearer(pair.Access)), n.refuses(basic(name, password)), refresh)
	})
	if err != nil {
		return fmt.Errorf("ended at %s: %w", third.Name, err)
	}
	return nil
}

// However many clients refresh one token at once, at whatever nodes, there is one
// successor.
func TestE2EManyRefreshesGiveOnePair(t *testing.T) {
	c := startDev(t, "")
	bursts := countFrom(t, "JETON_E2E_BURSTS", 50)
	repeat(t, bursts, 1, func(i int) error {
		pair, err := c.node(i).token(c.elastic, asPassword("elastic", c.password))
		if err != nil {
			return err
		}
		first, err := c.burst(pair, func(n *e2eNode) (e2eAnswer, error) {
			return n.want(http.StatusOK, http.MethodPost, pathToken, c.elastic, asRefresh(pair))
		})
		if err != nil {
			return err
		}
		var successor e2ePair
		if err := json.Unmarshal([]byte(first), &successor); err != nil {
			return err
		}
		return c.allNodes(func(n *e2eNode) error {
			again, err := n.want(http.StatusOK, http.MethodPost, pathToken, c.elastic, asRefresh(pair))
			if err == nil && again.body != first {
				err = fmt.Errorf("%s repeats the refresh with other bytes:\n%s\n%s", n.Name, again.body, first)
			}
			return errors.Join(err, n.accepts(bearer(successor.Access)))
		})
	})
	t.Logf("%d bursts of %d refreshes", bursts, burstSize)
}

const burstSize = 64

// burst has 64 clients make the same request at once, spread over the nodes. All
// answers must be the same, byte for byte.
func (c *e2eCluster) burst(pair e2ePair, request func(*e2eNode) (e2eAnswer, error)) (string, error) {
	var (
		group   errgroup.Group
		answers [burstSize]e2eAnswer
		gun     = make(chan struct{})
	)
	for i := range answers {
		group.Go(func() (err error) {
			<-gun
			answers[i], err = request(c.node(i))
			return err
		})
	}
	close(gun)
	if err := group.Wait(); err != nil {
		return "", err
	}
	for _, answer := range answers {
		if answer.body != answers[0].body {
			return "", fmt.Errorf("two successors of one pair %v:\n%s\n%s", pair, answers[0].body, answer.body)
		}
	}
	return answers[0].body, nil
}

// The same, and the leader is killed meanwhile: the clients repeat what failed
// with the connection, and still get one pair.
func TestE2EManyRefreshesGiveOnePairWhileTheLeaderDies(t *testing.T) {
	c := startDev(t, "")
	for i := range countFrom(t, "JETON_E2E_KILLS", 3) {
		pair, err := c.node(i).token(c.elastic, asPassword("elastic", c.password))
		must(t, err)
		leader := c.leader(t)
		leader.down.Store(true)
		client := &e2eClient{nodes: c.nodes}
		var answered atomic.Int32
		refresh := func(n *e2eNode) (e2eAnswer, error) {
			answer, err := client.do(n, http.MethodPost, pathToken, c.elastic, asRefresh(pair))
			answered.Add(1)
			if err == nil && answer.status != http.StatusOK {
				err = fmt.Errorf("refresh: %v", answer)
			}
			return answer, err
		}
		var first string
		var burst errgroup.Group
		burst.Go(func() (err error) {
			first, err = c.burst(pair, refresh)
			return err
		})
		until(t, "the burst has begun", func() error {
			if answered.Load() == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		leader.kill(t)
		must(t, burst.Wait())
		again, err := c.burst(pair, refresh)
		must(t, err)
		bringBack(t, leader)
		last, err := c.burst(pair, refresh)
		must(t, err)
		if again != first || last != first {
			t.Fatalf("repeated refreshes differ:\n%s\n%s\n%s", first, again, last)
		}
	}
}
