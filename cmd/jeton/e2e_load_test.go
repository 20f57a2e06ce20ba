package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// e2eClient is a client of the cluster as they are told to be: it repeats a
// request at another node when the connection to a dead node failed, and when a
// node said 503. It may be used concurrently.
type e2eClient struct {
	nodes       []*e2eNode
	repeated    atomic.Int64 // after a connection failed
	unavailable atomic.Int64 // after 503
	longest     atomic.Int64 // nanoseconds a request took, repetitions included
}

// do sends a request to the given node first. It returns the first answer that is
// not 503. A connection may fail only if the node was down; a 503 must say when
// to come again.
func (c *e2eClient) do(first *e2eNode, method, path, authorization, body string) (e2eAnswer, error) {
	began := time.Now()
	defer func() { c.took(time.Since(began)) }()
	for n := first; time.Since(began) < e2ePatience; n = c.nodes[rand.IntN(len(c.nodes))] {
		wasDown := n.down.Load()
		answer, err := n.ask(method, path, authorization, body)
		switch {
		case err != nil && !wasDown && !n.down.Load():
			return answer, fmt.Errorf("%s is up: %w", n.Name, err)
		case err != nil:
			c.repeated.Add(1)
		case answer.status == http.StatusServiceUnavailable && answer.header.Get("Retry-After") == "":
			return answer, fmt.Errorf("%s: 503 without Retry-After: %v", n.Name, answer)
		case answer.status == http.StatusServiceUnavailable:
			c.unavailable.Add(1)
		default:
			return answer, nil
		}
	}
	return e2eAnswer{}, fmt.Errorf("%s %s: no answer within %v", method, path, e2ePatience)
}

// anywhere sends a request to a random node first.
func (c *e2eClient) anywhere(method, path, authorization, body string) (e2eAnswer, error) {
	return c.do(c.nodes[rand.IntN(len(c.nodes))], method, path, authorization, body)
}

func (c *e2eClient) took(d time.Duration) {
	for {
		longest := c.longest.Load()
		if int64(d) <= longest || c.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// sendFunc sends a request to some node.
type sendFunc func(method, path, authorization, body string) (e2eAnswer, error)

// e2eLoad is mixed load: workers that issue, authenticate, refresh and invalidate
// tokens of their own, and so know of each what the answer must be.
type e2eLoad struct {
	cluster *e2eCluster
	send    sendFunc
	workers []*e2eWorker
	stopped chan struct{}
	running sync.WaitGroup
	failed  atomic.Pointer[error]
}

// e2eWorker is one client and what was acknowledged to it.
type e2eWorker struct {
	load   *e2eLoad
	tokens []*e2eToken
	done   [4]atomic.Int64 // acknowledged: issued, authenticated, refreshed, invalidated
}

// e2eToken is a pair and what was acknowledged about it.
type e2eToken struct {
	e2ePair
	dead, refreshed bool
}

// startLoad begins; stop ends it.
func startLoad(c *e2eCluster, workers int, send sendFunc) *e2eLoad {
	l := &e2eLoad{cluster: c, send: send, stopped: make(chan struct{})}
	for range workers {
		w := &e2eWorker{load: l}
		l.workers = append(l.workers, w)
		l.run(w.act)
	}
	return l
}

// run adds a worker that acts until the load is stopped or has failed.
func (l *e2eLoad) run(act func() error) {
	l.running.Go(func() {
		for l.failed.Load() == nil {
			select {
			case <-l.stopped:
				return
			default:
			}
			if err := act(); err != nil {
				l.failed.CompareAndSwap(nil, &err)
			}
		}
	})
}

// stop ends the load and fails the test with its first failure.
func (l *e2eLoad) stop(t *testing.T) {
	t.Helper()
	close(l.stopped)
	l.running.Wait()
	l.healthy(t)
}

// healthy fails the test at once if the load has failed.
func (l *e2eLoad) healthy(t *testing.T) {
	t.Helper()
	if err := l.failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// goesOn waits until the load has got so many answers more.
func (l *e2eLoad) goesOn(t *testing.T, answers int64) {
	t.Helper()
	total := func() int64 {
		sum := l.acknowledged()
		return sum[0] + sum[1] + sum[2] + sum[3]
	}
	before := total()
	until(t, "the load goes on", func() error {
		l.healthy(t)
		if now := total(); now < before+answers {
			return fmt.Errorf("%d answers", now-before)
		}
		return nil
	})
}

func (l *e2eLoad) acknowledged() (sum [4]int64) {
	for _, w := range l.workers {
		for i := range sum {
			sum[i] += w.done[i].Load()
		}
	}
	return sum
}

func (l *e2eLoad) String() string {
	sum := l.acknowledged()
	return fmt.Sprintf("%d issued, %d authenticated, %d refreshed, %d invalidated", sum[0], sum[1], sum[2], sum[3])
}

// act does one thing.
func (w *e2eWorker) act() error {
	if len(w.tokens) == 0 {
		return w.issue()
	}
	token := w.tokens[rand.IntN(len(w.tokens))]
	switch rand.IntN(8) {
	case 0, 1:
		return w.issue()
	case 2:
		return w.refresh(token)
	case 3:
		return w.invalidate(token)
	default:
		return w.authenticate(token)
	}
}

func (w *e2eWorker) post(grant string) (e2ePair, error) {
	var pair e2ePair
	answer, err := w.load.send(http.MethodPost, pathToken, w.load.cluster.elastic, grant)
	if err == nil && answer.status != http.StatusOK {
		err = fmt.Errorf("token: %v", answer)
	}
	if err != nil {
		return pair, err
	}
	return pair, json.Unmarshal([]byte(answer.body), &pair)
}

func (w *e2eWorker) issue() error {
	pair, err := w.post(asPassword("elastic", w.load.cluster.password))
	if err != nil {
		return err
	}
	w.tokens = append(w.tokens, &e2eToken{e2ePair: pair})
	w.done[0].Add(1)
	return nil
}

func (w *e2eWorker) authenticate(token *e2eToken) error {
	answer, err := w.load.send(http.MethodGet, pathWhoAmI, bearer(token.Access), "")
	if err != nil {
		return err
	}
	w.done[1].Add(1)
	return token.mustBe(answer)
}

// mustBe compares an answer with what was acknowledged.
func (token *e2eToken) mustBe(answer e2eAnswer) error {
	want := http.StatusOK
	if token.dead {
		want = http.StatusUnauthorized
	}
	if answer.status != want {
		return fmt.Errorf("a token that was acknowledged (invalidated: %t): want %d, got %v", token.dead, want, answer)
	}
	return nil
}

func (w *e2eWorker) refresh(token *e2eToken) error {
	if token.refreshed {
		return nil // again after the window would end the family
	}
	pair, err := w.post(asRefresh(token.e2ePair))
	if err != nil {
		return err
	}
	token.refreshed = true
	w.tokens = append(w.tokens, &e2eToken{e2ePair: pair})
	w.done[2].Add(1)
	return nil
}

func (w *e2eWorker) invalidate(token *e2eToken) error {
	if token.dead {
		return nil
	}
	answer, err := w.load.send(http.MethodDelete, pathToken, w.load.cluster.elastic, fmt.Sprintf(`{"token":%q}`, token.Access))
	if err == nil && answer.status != http.StatusOK {
		err = fmt.Errorf("invalidate: %v", answer)
	}
	if err != nil {
		return err
	}
	token.dead = true
	w.done[3].Add(1)
	return nil
}

// verify asks every node about everything that was acknowledged.
func (l *e2eLoad) verify(t *testing.T) {
	t.Helper()
	var tokens []*e2eToken
	for _, w := range l.workers {
		tokens = append(tokens, w.tokens...)
	}
	repeat(t, len(tokens), 16, func(i int) error {
		return l.cluster.allNodes(func(n *e2eNode) error {
			answer, err := n.ask(http.MethodGet, pathWhoAmI, bearer(tokens[i].Access), "")
			return errors.Join(err, tokens[i].mustBe(answer))
		})
	})
	t.Logf("%v; all %d tokens as acknowledged, at every node", l, len(tokens))
}

// e2eBalancer is a load balancer: it sends requests in turn to the nodes whose
// last health check was good, and never twice.
type e2eBalancer struct {
	nodes  []*e2eNode
	up     []atomic.Bool
	served []atomic.Int64
	turn   atomic.Int64
}

// balance checks the health of every node each 100 ms until the test ends.
func balance(t *testing.T, nodes []*e2eNode) *e2eBalancer {
	t.Helper()
	b := &e2eBalancer{nodes: nodes, up: make([]atomic.Bool, len(nodes)), served: make([]atomic.Int64, len(nodes))}
	stop := make(chan struct{})
	var checks sync.WaitGroup
	for i, n := range nodes {
		checks.Go(func() {
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			for {
				_, err := n.want(http.StatusOK, http.MethodGet, "/readyz", "", "")
				b.up[i].Store(err == nil)
				select {
				case <-ticker.C:
				case <-stop:
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		close(stop)
		checks.Wait()
	})
	for i := range nodes {
		b.awaitTraffic(t, i)
	}
	return b
}

// send sends a request to the next node that is up.
func (b *e2eBalancer) send(method, path, authorization, body string) (e2eAnswer, error) {
	for range b.nodes {
		i := int(b.turn.Add(1)) % len(b.nodes)
		if b.up[i].Load() {
			answer, err := b.nodes[i].ask(method, path, authorization, body)
			if err != nil {
				err = fmt.Errorf("%s, which was ready: %w", b.nodes[i].Name, err)
			}
			b.served[i].Add(1)
			return answer, err
		}
	}
	return e2eAnswer{}, errors.New("no node is ready")
}

// awaitTraffic returns when node i is up again.
func (b *e2eBalancer) awaitTraffic(t *testing.T, i int) {
	t.Helper()
	until(t, b.nodes[i].Name+" gets traffic", func() error {
		if !b.up[i].Load() {
			return errors.New("not ready yet")
		}
		return nil
	})
}
