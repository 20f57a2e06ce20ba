package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// devCluster runs the nodes of a dev cluster as child processes. Its methods
// may be called concurrently.
type devCluster struct {
	dir     devDir
	state   *devState // not changed while nodes run
	binary  string
	environ []string
	ready   *readyClient
	// patience is how long a node may take to end by itself.
	patience time.Duration
	screen   *devScreen

	lifeRead, lifeWrite *os.File // see childSpec.life

	mu       sync.Mutex
	children []*child // one a node, the newest; nil until started
	busy     []sync.Mutex
	closed   bool // no start after stop began
}

// openDevCluster prepares a cluster; nothing runs until start.
func openDevCluster(c *devCluster) (*devCluster, error) {
	var err error
	if c.lifeRead, c.lifeWrite, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	c.children = make([]*child, len(c.state.Nodes))
	c.busy = make([]sync.Mutex, len(c.state.Nodes))
	return c, nil
}

// start starts all nodes and returns when every one of them is ready. When it
// fails, nodes may be running: stop ends them.
func (c *devCluster) start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx) // when one fails, the others need not be waited for
	for i, node := range c.state.Nodes {
		group.Go(func() error {
			started, err := c.launch(i)
			if err != nil {
				return err
			}
			return c.await(ctx, node, started, func(ctx context.Context) (int, error) {
				return c.ready.readiness(ctx, node.URL())
			})
		})
	}
	return group.Wait()
}

// await returns when the probe of a started node succeeds. From then on, and
// also if it does not but the process lives, its end is reported.
func (c *devCluster) await(ctx context.Context, node devNode, started *child, probe func(context.Context) (int, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-started.done:
			cancel(errNodeEnded)
		case <-ctx.Done():
		}
	}()
	err := c.ready.poll(ctx, probe)
	ended := errors.Is(context.Cause(ctx), errNodeEnded)
	if err == nil || !ended {
		go c.watch(node, started)
	}
	if err == nil {
		return nil
	}
	if ended {
		err = fmt.Errorf("%w: %s", errNodeEnded, exitText(started.err))
	}
	log := c.dir.nodeLog(node.Name)
	return fmt.Errorf("%s did not become ready: %w\n%s ends with:\n%s", node.Name, err, log, lastLines(log, 15))
}

var errNodeEnded = errors.New("its process ended")

func (c *devCluster) launch(i int) (*child, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the cluster is ending")
	}
	name := c.state.Nodes[i].Name
	started, err := startChild(childSpec{
		binary: c.binary, config: c.dir.nodeConfig(name), log: c.dir.nodeLog(name),
		environ: c.environ, life: c.lifeRead,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.children[i] = started
	return started, nil
}

// watch reports the end of a process that nobody asked to end.
func (c *devCluster) watch(node devNode, process *child) {
	<-process.done
	if process.news() {
		c.screen.nodeEnded(c.entry(node, process.pid), process.err)
	}
}

// restart ends the named node if it runs, and starts it again. It returns its
// process when the node is ready; or when it is alive, but so few of the others
// run that none can be ready: they are waiting to be restarted too.
func (c *devCluster) restart(ctx context.Context, name string) (pid int, ready bool, err error) {
	i, err := c.index(name)
	if err != nil {
		return 0, false, err
	}
	c.busy[i].Lock() // two restarts of one node take turns
	defer c.busy[i].Unlock()
	node := c.state.Nodes[i]
	if running := c.current(i); running != nil {
		if err := running.end(c.patience, ctx.Done()); err != nil && !running.news() {
			c.screen.warn(fmt.Sprintf("%s (process %d): %v", name, running.pid, err))
		}
	}
	started, err := c.launch(i)
	if err != nil {
		return 0, false, err
	}
	if err := c.publish(); err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errStartPatience)
	defer cancel()
	err = c.await(ctx, node, started, func(ctx context.Context) (int, error) {
		status, err := c.ready.readiness(ctx, node.URL())
		if ready = err == nil && status == http.StatusOK; !ready && c.runningNodes() <= len(c.state.Nodes)/2 {
			return c.ready.liveness(ctx, node.URL())
		}
		return status, err
	})
	if err != nil {
		return 0, false, err
	}
	c.screen.nodeStarted(name, started.pid, ready)
	return started.pid, ready, nil
}

func (c *devCluster) runningNodes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := 0
	for _, node := range c.children {
		if node != nil && node.running() {
			count++
		}
	}
	return count
}

func (c *devCluster) index(name string) (int, error) {
	for i, node := range c.state.Nodes {
		if node.Name == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no node %q: this cluster has %s to %s",
		name, c.state.Nodes[0].Name, c.state.Nodes[len(c.state.Nodes)-1].Name)
}

func (c *devCluster) current(i int) *child {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.children[i]
}

// entries describes the nodes as nodes.json does.
func (c *devCluster) entries() []nodeEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries := make([]nodeEntry, len(c.state.Nodes))
	for i, node := range c.state.Nodes {
		entries[i] = c.entry(node, c.children[i].pid)
	}
	return entries
}

func (c *devCluster) entry(node devNode, pid int) nodeEntry {
	return nodeEntry{
		Name: node.Name, URL: node.URL(), PID: pid,
		Data: c.dir.nodeData(node.Name), Log: c.dir.nodeLog(node.Name),
		Restart: shellCommand(c.binary, "dev", "restart", node.Name, "--data", string(c.dir)),
	}
}

// publish writes nodes.json and then dev.env, whose appearance says that the
// cluster is ready. Once the cluster is ending it writes nothing.
func (c *devCluster) publish() error {
	entries := c.entries()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if err := writeJSON(c.dir.nodes(), entries); err != nil {
		return err
	}
	return writeFileAtomic(c.dir.env(), []byte(devEnv(c.dir, c.dir.certs().HTTPCA().Certificate, c.state.Password, entries)))
}

// unpublish removes what publish wrote; from then on nothing is started.
func (c *devCluster) unpublish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return removeFiles(c.dir.env(), c.dir.nodes())
}

// stop ends all nodes at once and waits for them. Closing hurry kills those
// that still run. The error names each node that did not end well.
func (c *devCluster) stop(hurry <-chan struct{}) error {
	err := c.unpublish()
	errs := make([]error, len(c.state.Nodes))
	var group sync.WaitGroup
	for i, node := range c.state.Nodes {
		running := c.current(i)
		if running == nil {
			continue
		}
		group.Go(func() {
			if err := running.end(c.patience, hurry); err != nil {
				errs[i] = fmt.Errorf("%s (process %d): %w; its log ends with: %s",
					node.Name, running.pid, err, lastLines(c.dir.nodeLog(node.Name), 1))
			}
		})
	}
	group.Wait()
	return errors.Join(err, errors.Join(errs...), c.lifeWrite.Close(), c.lifeRead.Close())
}
