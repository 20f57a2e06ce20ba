package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/scripts/lab/build"
	"jeton/scripts/lab/disk"
	"jeton/scripts/lab/network"
)

// cluster is all nodes, what they share, and the machines they run on.
type cluster struct {
	setup    setup
	journal  *journal
	network  *network.Network
	nodes    []*node // those that form the cluster
	spare    *node   // one more machine
	password string
	admin    *client
	record   *record
	weather  *weather
	proxy    *network.Proxy
	moved    func()                 // somebody has another address
	trusting func(*x509.CertPool)   // clients trust other authorities
	issued   atomic.Pointer[string] // the folder of the certificates

	stop    context.CancelFunc
	running sync.WaitGroup
}

// newCluster makes the machines. The caller closes it.
func newCluster(ctx context.Context, s setup, j *journal) (_ *cluster, err error) {
	c := &cluster{setup: s, journal: j, password: "Canary" + strings.ToLower(rand.Text()), record: newRecord(j), moved: func() {}}
	c.trusting = func(*x509.CertPool) {}
	c.issued.Store(new(filepath.Join(s.out, "certs")))
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := os.MkdirAll(filepath.Join(s.out, "logs"), 0o700); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	if c.network, err = network.New(s.seed); err != nil {
		return nil, err
	}
	removeAbandoned()
	lab := strings.ToLower(rand.Text())[:8]
	for number := 1; number <= s.nodes+1; number++ {
		n, err := c.newNode(lab, number)
		if err != nil {
			return nil, err
		}
		if number > s.nodes {
			c.spare = n
		} else {
			c.nodes = append(c.nodes, n)
		}
	}
	if c.proxy, err = c.network.AddProxy(proxyName); err != nil {
		return nil, err
	}
	c.weather = newWeather(c.network, append(c.hostNames(), network.Clients, proxyName))
	if err := c.issueCertificates(ctx, c.certificates(), c.machines()...); err != nil {
		return nil, err
	}
	for _, n := range c.machines() {
		if err := errors.Join(n.install(c.certificates()), write(n.file("password"), c.password)); err != nil {
			return nil, err
		}
	}
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	c.admin = newClient(roots, c.password, 10*time.Second)
	return c, nil
}

// machines are all nodes and the spare one.
func (c *cluster) machines() []*node { return append(slices.Clip(c.nodes), c.spare) }

func (c *cluster) newNode(lab string, number int) (_ *node, err error) {
	name := fmt.Sprintf("n%d", number)
	n := &node{
		cluster: c, name: name, number: number, folder: filepath.Join(c.setup.out, name),
		changed: make(chan struct{}), record: c.record, groups: newGroups(lab, name),
	}
	mount := n.file("disk")
	if err := os.MkdirAll(mount, 0o700); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	if n.host, err = c.network.AddHost(name); err != nil {
		return nil, err
	}
	n.first = n.host.Address()
	n.address = n.first
	n.disk, err = disk.Mount(mount, c.setup.seed+uint64(number)) //nolint:gosec // from 1
	if err != nil {
		return nil, err
	}
	n.clock, err = build.OpenClock(n.file("clock"))
	return n, err
}

// start starts the nodes and returns when all of them are ready.
func (c *cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	c.stop = cancel
	for _, n := range c.machines() {
		if err := write(n.logFile(), ""); err != nil {
			return err
		}
		if n == c.spare {
			_ = n.hold() // until it is needed
		}
		c.running.Go(func() { n.supervise(ctx) })
		c.running.Go(func() { n.watch(ctx) })
		c.running.Go(func() {
			if err := n.follow(ctx); err != nil {
				c.journal.violate("the log of %s cannot be read: %v", n.name, err)
			}
		})
	}
	return c.awaitReady(ctx, startPatience)
}

const (
	startPatience = 30 * time.Second
	lookInterval  = 20 * time.Millisecond
)

// awaitReady returns when every node of the cluster is ready.
func (c *cluster) awaitReady(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause(ctx, lookInterval) {
		if len(c.unready()) == 0 {
			return nil
		}
	}
	return fmt.Errorf("not ready after %v: %s", patience, strings.Join(c.unready(), ", "))
}

func (c *cluster) unready() (names []string) {
	for _, n := range c.nodes {
		if !n.ready.Load() {
			names = append(names, n.name)
		}
	}
	return names
}

// leader is who said last that it leads; it need not be true any more. Nil: it does not run.
func (c *cluster) leader() *node {
	var newest *node
	for _, n := range c.machines() {
		if term := n.leads.Load(); term > 0 && (newest == nil || term > newest.leads.Load()) {
			newest = n
		}
	}
	if newest == nil || newest.running() == nil {
		return nil
	}
	return newest
}

// others are the nodes but for one.
func (c *cluster) others(but ...*node) (others []*node) {
nodes:
	for _, n := range c.nodes {
		for _, b := range but {
			if n == b {
				continue nodes
			}
		}
		others = append(others, n)
	}
	return others
}

// halt ends all nodes for good: by SIGTERM, or if that takes too long at once.
func (c *cluster) halt(ctx context.Context) {
	var ending errgroup.Group
	for _, n := range c.machines() {
		_ = n.hold()
		ending.Go(func() error {
			if !n.end(ctx, 15 /* SIGTERM */, haltPatience) {
				c.journal.violate("%s does not end after SIGTERM", n.name)
				n.kill(ctx)
			}
			return nil
		})
	}
	_ = ending.Wait() // none fails
}

const haltPatience = 30 * time.Second

// close ends everything, and keeps the logs.
func (c *cluster) close() {
	if c.stop != nil {
		c.stop()
	}
	c.running.Wait()
	for _, n := range c.machines() {
		if n == nil {
			continue
		}
		if n.disk != nil {
			_ = n.disk.Close() // the mount ends with our namespace at the latest
		}
		n.groups.remove()
	}
	if c.network != nil {
		_ = c.network.Close() // it ends with our namespace at the latest
	}
}
