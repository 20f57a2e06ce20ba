package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// The leader is killed, again and again, under load through all nodes. Nothing
// that was acknowledged is lost; no answer is anything but success or 503.
func TestE2ELeaderKilledUnderLoad(t *testing.T) {
	c := startDev(t, "")
	client := &e2eClient{nodes: c.nodes}
	load := startLoad(c, 12, client.anywhere)
	for range countFrom(t, "JETON_E2E_KILLS", 3) {
		leader := c.leader(t)
		load.goesOn(t, 300)
		leader.kill(t)
		killed := time.Now()
		var recovery errgroup.Group
		var read, write time.Duration
		recovery.Go(func() error {
			defer func() { read = time.Since(killed) }()
			return c.others(leader)[0].accepts(c.elastic)
		})
		recovery.Go(func() error {
			defer func() { write = time.Since(killed) }()
			_, err := c.others(leader)[1].token(c.elastic, asPassword("elastic", c.password))
			return err
		})
		must(t, recovery.Wait())
		t.Logf("%s, the leader, killed: a read after %v, a write after %v", leader.Name, read.Round(time.Millisecond), write.Round(time.Millisecond))
		load.goesOn(t, 300)
		bringBack(t, leader)
		must(t, leader.accepts(c.elastic))
	}
	load.stop(t)
	t.Logf("%d requests repeated because their node died, %d because of 503, the longest took %v",
		client.repeated.Load(), client.unavailable.Load(), time.Duration(client.longest.Load()).Round(time.Millisecond))
	load.verify(t)
}

// A node is paused, the leader too, while a token is invalidated and another one
// issued elsewhere. Questions that reach it meanwhile are answered when it wakes
// up, before it can know what it missed: never wrongly.
func TestE2EPausedNodeDoesNotAnswerFromThePast(t *testing.T) {
	c := startDev(t, "")
	for i := range countFrom(t, "JETON_E2E_PAUSES", 2) * len(c.nodes) {
		dead, err := c.node(i).token(c.elastic, asPassword("elastic", c.password))
		must(t, err)
		must(t, c.allNodes(func(n *e2eNode) error { return n.accepts(bearer(dead.Access)) }))

		paused := c.node(i)
		if i%2 == 0 {
			paused = c.leader(t)
		}
		paused.signal(t, syscall.SIGSTOP)
		other := c.others(paused)[i%2]
		must(t, other.invalidate(c.elastic, dead))
		live, err := other.token(c.elastic, asPassword("elastic", c.password))
		must(t, err)

		var answers errgroup.Group
		for range 16 {
			answers.Go(paused.sent(t, bearer(dead.Access), http.StatusUnauthorized))
			answers.Go(paused.sent(t, bearer(live.Access), http.StatusOK))
		}
		paused.signal(t, syscall.SIGCONT)
		must(t, answers.Wait())
	}
}

// sent asks who this is, returns as soon as the question is on its way, and leaves
// the answer, which must have the given status, to the returned function.
func (n *e2eNode) sent(t *testing.T, authorization string, status int) (wait func() error) {
	t.Helper()
	written, result := make(chan struct{}), make(chan error, 1)
	onItsWay := sync.OnceFunc(func() { close(written) })
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { onItsWay() },
		ConnectDone:  func(string, string, error) { onItsWay() }, // no TLS with a process that sleeps
	})
	go func() {
		answer, err := n.askTraced(ctx, http.MethodGet, pathWhoAmI, authorization, "")
		if err == nil && answer.status != status {
			err = fmt.Errorf("%s, just woken up: want %d, got %v", n.Name, status, answer)
		}
		result <- err
	}()
	select {
	case <-written:
	case err := <-result:
		result <- err
	}
	return func() error { return <-result }
}

// All processes are killed at once, and everything is still there.
func TestE2EAllKilled(t *testing.T) {
	c := startDev(t, "")
	client := &e2eClient{nodes: c.nodes}
	load := startLoad(c, 8, client.anywhere)
	const user, password = "survivor", "a-long-password"
	_, err := c.node(0).want(http.StatusOK, http.MethodPut, "/_security/role/token_manager", c.elastic, `{"cluster":["manage_token"]}`)
	must(t, err)
	_, err = c.node(0).want(http.StatusOK, http.MethodPut, "/_security/user/"+user, c.elastic,
		fmt.Sprintf(`{"password":%q,"roles":["token_manager"],"full_name":"Sur Vivor","email":"s@example.org","metadata":{"k":[1]}}`, password))
	must(t, err)
	before, err := c.node(1).want(http.StatusOK, http.MethodGet, pathWhoAmI, basic(user, password), "")
	must(t, err)
	for range 2 {
		load.goesOn(t, 300)
		for _, n := range c.nodes {
			n.down.Store(true) // before the first dies, for requests reach it through the others
		}
		for _, n := range c.nodes {
			n.kill(t)
		}
		bringBack(t, c.nodes...)
		load.goesOn(t, 300)
	}
	load.stop(t)
	load.verify(t)
	must(t, c.allNodes(func(n *e2eNode) error {
		after, err := n.want(http.StatusOK, http.MethodGet, pathWhoAmI, basic(user, password), "")
		if err == nil && after.body != before.body {
			err = fmt.Errorf("%s: the user was\n%s\nand is\n%s", n.Name, before.body, after.body)
		}
		_, issue := n.token(basic(user, password), `{"grant_type":"client_credentials"}`)
		return errors.Join(err, issue)
	}))
}

// Without a quorum a node says that it cannot know: 503 in time, never 401 or
// 400. And it says so to load balancers.
func TestE2ENoQuorum(t *testing.T) {
	const deadline = 2 * time.Second
	c := startDev(t, "request.timeout: 2s\n"+cheapHashes)
	for _, survivor := range c.nodes {
		live, err := survivor.token(c.elastic, asPassword("elastic", c.password))
		must(t, err)
		dead, err := survivor.token(c.elastic, asPassword("elastic", c.password))
		must(t, err)
		must(t, survivor.invalidate(c.elastic, dead))
		must(t, c.allNodes(func(n *e2eNode) error { return n.accepts(bearer(live.Access)) }))
		must(t, survivor.refuses(bearer(dead.Access)))

		for _, n := range c.others(survivor) {
			n.kill(t)
		}
		until(t, "the read lease of "+survivor.Name+" is over", func() error {
			_, err := survivor.want(http.StatusServiceUnavailable, http.MethodGet, pathWhoAmI, bearer(live.Access), "")
			return err
		})
		var group errgroup.Group
		for what, ask := range map[string][4]string{
			"authenticate by token":       {http.MethodGet, pathWhoAmI, bearer(live.Access)},
			"authenticate by password":    {http.MethodGet, pathWhoAmI, c.elastic},
			"a wrong password":            {http.MethodGet, pathWhoAmI, basic("elastic", "wrong-password")},
			"an unknown user":             {http.MethodGet, pathWhoAmI, basic("nobody", "wrong-password")},
			"authenticate, unknown token": {http.MethodGet, pathWhoAmI, bearer(unknownToken("jat_"))},
			"issue":                       {http.MethodPost, pathToken, c.elastic, asPassword("elastic", c.password)},
			"issue by token":              {http.MethodPost, pathToken, bearer(live.Access), `{"grant_type":"client_credentials"}`},
			"issue, wrong password":       {http.MethodPost, pathToken, c.elastic, asPassword("elastic", "wrong-password")},
			"refresh":                     {http.MethodPost, pathToken, c.elastic, asRefresh(live)},
			"refresh, unknown token":      {http.MethodPost, pathToken, c.elastic, asRefresh(e2ePair{Refresh: unknownToken("jrt_")})},
			"invalidate":                  {http.MethodDelete, pathToken, c.elastic, fmt.Sprintf(`{"token":%q}`, live.Access)},
			"invalidate, unknown token":   {http.MethodDelete, pathToken, c.elastic, fmt.Sprintf(`{"token":%q}`, unknownToken("jat_"))},
			"invalidate by user":          {http.MethodDelete, pathToken, c.elastic, `{"username":"elastic"}`},
			"put user":                    {http.MethodPut, "/_security/user/new", c.elastic, `{"password":"long-enough","roles":[]}`},
			"get users":                   {http.MethodGet, "/_security/user", c.elastic},
		} {
			group.Go(func() error {
				began := time.Now()
				answer, err := survivor.ask(ask[0], ask[1], ask[2], ask[3])
				took := time.Since(began)
				if err == nil && (answer.status != http.StatusServiceUnavailable || !isSeconds(answer.header.Get("Retry-After"))) {
					err = fmt.Errorf("%s: want 503 with Retry-After, got %v", what, answer)
				}
				if err == nil && took > deadline+time.Second {
					err = fmt.Errorf("%s: 503 only after %v", what, took)
				}
				return err
			})
		}
		must(t, group.Wait())
		must(t, survivor.refuses(bearer(dead.Access))) // that it knows: dead is dead
		// It may wait for two elections before it says so.
		until(t, survivor.Name+" is not ready", func() error {
			_, err := survivor.want(http.StatusServiceUnavailable, http.MethodGet, "/readyz", "", "")
			return err
		})
		_, err = survivor.want(http.StatusOK, http.MethodGet, "/livez", "", "")
		must(t, err)

		bringBack(t, c.others(survivor)...)
		for _, n := range c.nodes {
			until(t, n.Name+" works again", func() error {
				_, issue := n.token(c.elastic, asPassword("elastic", c.password))
				_, ready := n.want(http.StatusOK, http.MethodGet, "/readyz", "", "")
				return errors.Join(issue, ready)
			})
			must(t, errors.Join(n.accepts(c.elastic), n.refuses(bearer(dead.Access))))
		}
	}
}

// unknownToken is one that a node might have issued, but none has.
func unknownToken(prefix string) string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	sum := crc32.ChecksumIEEE(append([]byte(prefix), secret...))
	return prefix + base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(secret, sum))
}

func isSeconds(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0
}
