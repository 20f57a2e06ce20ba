package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Every node in turn is ended with SIGTERM under load, behind a load balancer. No
// request fails, the process ends with exit code 0, and when it is back it gets
// requests again.
func TestE2ETermOfEachNodeFailsNoRequest(t *testing.T) {
	c := startDev(t, "shutdown.delay: 1s\n")
	balancer := balance(t, c.nodes)
	load := startLoad(c, 12, balancer.send)
	for range countFrom(t, "JETON_E2E_ROLLS", 1) {
		for i, n := range c.nodes {
			n.signal(t, syscall.SIGTERM)
			n.gone(t)
			until(t, n.Name+" has ended with exit code 0", func() error {
				if ended := fmt.Sprintf("%s (process %d) ended: exit status 0", n.Name, n.PID); !strings.Contains(c.dev.output(), ended) {
					return fmt.Errorf("dev does not say %q:\n%s", ended, c.dev.output())
				}
				return nil
			})
			load.healthy(t)
			bringBack(t, n)
			served := balancer.served[i].Load()
			until(t, n.Name+" serves again", func() error {
				if balancer.served[i].Load() < served+20 {
					return fmt.Errorf("%d requests", balancer.served[i].Load()-served)
				}
				return nil
			})
		}
	}
	load.stop(t)
	load.verify(t)
}

// Two rolling restarts with the restart command, and a client that does nothing
// but authenticate: not one request fails.
func TestE2ERollingRestarts(t *testing.T) {
	c := startDev(t, "shutdown.delay: 1s\n")
	balancer := balance(t, c.nodes)
	pair, err := balancer.nodes[0].token(c.elastic, asPassword("elastic", c.password))
	must(t, err)
	load := startLoad(c, 0, balancer.send)
	for i := range 16 {
		authorization := bearer(pair.Access)
		if i%4 == 0 {
			authorization = c.elastic
		}
		load.run(func() error {
			answer, err := balancer.send(http.MethodGet, pathWhoAmI, authorization, "")
			if err == nil && answer.status != http.StatusOK {
				err = fmt.Errorf("authenticate: %v", answer)
			}
			return err
		})
	}
	for range 2 {
		for i, n := range c.nodes {
			bringBack(t, n)
			balancer.awaitTraffic(t, i)
			load.healthy(t)
		}
	}
	load.stop(t)
	for i, n := range c.nodes {
		t.Logf("%s served %d requests", n.Name, balancer.served[i].Load())
	}
}

// The same without anybody who balances load: clients ask one node until it refuses
// to be connected to. Whoever got a connection gets answers.
func TestE2ETermWithoutDelayFailsNoRequest(t *testing.T) {
	c := startDev(t, "shutdown.delay: 0s\n"+cheapHashes)
	for range countFrom(t, "JETON_E2E_ROLLS", 1) {
		for _, n := range c.nodes {
			var answers atomic.Int64
			var clients errgroup.Group
			for range 24 {
				clients.Go(func() error {
					for {
						answer, err := n.ask(http.MethodPost, pathToken, c.elastic, asPassword("elastic", c.password))
						switch {
						case errors.Is(err, syscall.ECONNREFUSED):
							return nil
						case err != nil:
							return err
						case answer.status != http.StatusOK:
							return fmt.Errorf("token: %v", answer)
						}
						answers.Add(1)
					}
				})
			}
			until(t, n.Name+" is busy", func() error {
				if answers.Load() < 500 {
					return fmt.Errorf("%d answers", answers.Load())
				}
				return nil
			})
			n.signal(t, syscall.SIGTERM)
			must(t, clients.Wait())
			n.gone(t)
			t.Logf("%s ended after %d answers", n.Name, answers.Load())
			bringBack(t, n)
		}
	}
}
