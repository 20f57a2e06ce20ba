package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"jeton/node/certs"
)

const (
	// devLifetime of certificates: longer than any dev cluster.
	devLifetime    = 10 * 365 * 24 * time.Hour
	devClusterName = "dev"
	// releasePatience is how long ports may stay taken by the nodes of a dev
	// that was killed a moment ago.
	releasePatience = 2 * time.Second
	// endPatience is what a node may take beyond its own delay and drain.
	endPatience = 5 * time.Second
	// passwordPatience is how long a node that is ready may refuse the password.
	passwordPatience = 5 * time.Second
)

var errStartPatience = fmt.Errorf("waited %v", startPatience)

// prepare makes everything that the nodes need on disk, and checks everything
// that can be checked before they start.
func (o *devOptions) prepare(ctx context.Context, dir devDir, environ []string, screen *devScreen) (*devCluster, error) {
	given, err := readDevSettings(o.settings)
	if err != nil {
		return nil, err
	}
	existing, err := loadDevState(dir)
	if err != nil {
		return nil, err
	}
	if existing != nil && !existing.Formed {
		if err := dir.clear(); err != nil {
			return nil, err
		}
		existing = nil
	}
	state, err := o.decideState(existing, given)
	if err != nil {
		return nil, err
	}
	if state.Settings = o.settings; o.settings != "" {
		if state.Settings, err = filepath.Abs(o.settings); err != nil {
			return nil, fmt.Errorf("--settings: %w", err)
		}
	}
	if err := waitForPorts(ctx, state.Nodes, existing != nil); err != nil {
		return nil, err
	}
	if len(state.Nodes) == 2 {
		screen.warn("a cluster of 2 survives no loss, like a cluster of 1; use an odd number")
	}
	patience, err := writeClusterFiles(dir, state, o.settings, given, environ)
	if err != nil {
		return nil, err
	}
	ready, err := newReadyClient(dir.certs().HTTPCA().Certificate)
	if err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return openDevCluster(&devCluster{
		dir: dir, state: state, binary: binary, environ: environ, ready: ready, patience: patience, screen: screen,
	})
}

// decideState returns what the cluster shall be: what it was, or what the
// flags and settings ask for.
func (o *devOptions) decideState(existing *devState, given devSettings) (*devState, error) {
	password, err := o.givenPassword(given)
	if err != nil {
		return nil, err
	}
	name, err := given.text(settingClusterName)
	if err != nil {
		return nil, err
	}
	var state *devState
	if existing != nil {
		state, err = o.adopt(*existing, name)
	} else {
		state = &devState{ClusterName: cmp.Or(name, devClusterName), Password: newPassword()}
		state.Nodes, err = planNodes(o.nodes, o.httpPort, o.transportPort)
	}
	if err != nil {
		return nil, err
	}
	state.Password = cmp.Or(password, state.Password)
	return state, nil
}

// adopt brings a cluster back as it was, on other ports if flags ask for them.
// It refuses flags that contradict what it was.
func (o *devOptions) adopt(was devState, name string) (*devState, error) {
	if o.changed("nodes") && o.nodes != len(was.Nodes) {
		return nil, fmt.Errorf("%s holds a cluster of %s: leave --nodes out, or give another --data",
			o.data, plural(len(was.Nodes), "node"))
	}
	if name != "" && name != was.ClusterName {
		return nil, fmt.Errorf("%s holds the cluster %q: its %s cannot become %q", o.data, was.ClusterName, settingClusterName, name)
	}
	nodes, err := planNodes(len(was.Nodes), o.httpPort, o.transportPort)
	if err != nil {
		return nil, err
	}
	for i, node := range was.Nodes {
		if !o.changed("http-port") {
			nodes[i].HTTPPort = node.HTTPPort
		}
		if !o.changed("transport-port") {
			nodes[i].TransportPort = node.TransportPort
		}
	}
	was.Nodes = nodes
	return &was, nil
}

func (o *devOptions) givenPassword(given devSettings) (string, error) {
	set, err := given.text(settingPassword)
	if err != nil {
		return "", err
	}
	if set != "" && o.password != "" && set != o.password {
		return "", usageErrorf("--password and %s in --settings differ", settingPassword)
	}
	if set != "" {
		return set, nil
	}
	return o.password, nil
}

// waitForPorts takes the ports of a cluster that ran before with patience: the
// nodes of a dev that was killed need a moment to end.
func waitForPorts(ctx context.Context, nodes []devNode, ranBefore bool) error {
	deadline := time.Now()
	if ranBefore {
		deadline = deadline.Add(releasePatience)
	}
	for {
		err := chooseFreePorts(ctx, nodes)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(readyInterval):
		}
	}
}

// writeClusterFiles writes what the nodes read. The state comes first, so that
// the folder is known as dev's own whatever happens next. It returns how long a node may take to end.
func writeClusterFiles(dir devDir, state *devState, source string, given devSettings, environ []string) (time.Duration, error) {
	if err := removeFiles(dir.env(), dir.nodes()); err != nil { // of a dev that was killed
		return 0, err
	}
	if !state.Formed { // else: saved again when a changed password has proved right
		if err := state.save(dir); err != nil {
			return 0, err
		}
		if err := makeDevCertificates(dir.certs(), state); err != nil {
			return 0, err
		}
	}
	if err := writeFileAtomic(dir.password(), []byte(state.Password)); err != nil {
		return 0, err
	}
	var longest time.Duration
	for _, node := range state.Nodes {
		settings := nodeSettings(dir, state, node, given)
		loaded, err := settings.check(source, given, withoutJetonVariables(environ))
		if err != nil {
			return 0, fmt.Errorf("--settings is not valid for %s:\n%w", node.Name, err)
		}
		if err := writeNodeConfig(dir.nodeConfig(node.Name), settings); err != nil {
			return 0, err
		}
		longest = max(longest, loaded.Shutdown.Delay+loaded.Shutdown.Drain+endPatience)
	}
	return longest, nil
}

func makeDevCertificates(folder certs.Folder, state *devState) error {
	if err := folder.Create(state.ClusterName, devLifetime); err != nil {
		return fmt.Errorf("make the certificates: %w", err)
	}
	for _, node := range state.Nodes {
		if err := folder.IssueNode(certs.NodeRequest{
			Identity: certs.Identity{Cluster: state.ClusterName, Node: node.Name},
			Hosts:    []string{loopback, "localhost"},
			Lifetime: devLifetime,
		}); err != nil {
			return fmt.Errorf("make the certificates: %w", err)
		}
	}
	return nil
}

// serve starts the nodes, tells everybody how to reach them when all are ready,
// and ends them when ctx ends. formed says that they were ready.
func (c *devCluster) serve(ctx context.Context, kept bool, hurry <-chan struct{}) (formed bool, err error) {
	begun := time.Now()
	c.screen.starting(len(c.state.Nodes), c.dir)
	var control sync.WaitGroup
	defer func() {
		err = errors.Join(err, c.stop(hurry))
		control.Wait()
		if err == nil && formed {
			c.screen.stopped(kept, comeback(c.dir, c.state))
		}
	}()
	if err := c.form(ctx); err != nil {
		if ctx.Err() != nil {
			return false, nil // told to end: what fails then is no news
		}
		return false, err
	}
	listener, remove, err := listenControl(ctx, c.dir, os.TempDir(), "/tmp")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, listener.Close(), remove()) }()
	c.state.Formed, c.state.Socket = true, listener.Addr().String()
	if err := errors.Join(c.state.save(c.dir), c.publish()); err != nil {
		return true, err
	}
	control.Go(func() { serveControl(ctx, listener, c.restart) })
	c.screen.ready(devReady{
		took: time.Since(begun), dir: c.dir, kept: kept, cacert: c.dir.certs().HTTPCA().Certificate,
		config: c.dir.nodeConfig(c.state.Nodes[0].Name), password: c.state.Password, nodes: c.entries(),
	})
	<-ctx.Done()
	c.screen.stopping()
	return true, nil
}

// form starts all nodes and returns when each is ready and knows the password.
func (c *devCluster) form(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errStartPatience)
	defer cancel()
	if err := c.start(ctx); err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(ctx, passwordPatience)
	defer cancel()
	for _, node := range c.state.Nodes {
		err := c.ready.authenticate(ctx, node.URL(), c.state.Password)
		if errors.Is(err, errPasswordRefused) && c.state.Formed {
			return fmt.Errorf("%s: %w; it was changed since the cluster was made: give the present one with --password", node.Name, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
	}
	return nil
}
