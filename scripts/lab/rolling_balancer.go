package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// balancerHost is the clients' own machine.
	balancerHost = "10.99.0.1"
	// balancerConfig is that of the tests with real clients, whose frontend "as-is" is used here.
	balancerConfig = "scripts/clients/haproxy.cfg"
)

// balancer is HAProxy, on the clients' machine, with the cluster behind it.
type balancer struct {
	url        string
	statistics string // its socket for them
	process    *exec.Cmd
	ended      chan struct{}
}

// startBalancer returns when the balancer serves. The caller closes it.
func startBalancer(ctx context.Context, c *cluster) (*balancer, error) {
	folder := filepath.Join(c.setup.out, "haproxy")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	certificate, err := balancerCertificate(ctx, c, folder)
	if err != nil {
		return nil, err
	}
	config, err := repositoryFile(ctx, balancerConfig)
	if err != nil {
		return nil, err
	}
	b := &balancer{statistics: filepath.Join(folder, "statistics"), ended: make(chan struct{})}
	authority := filepath.Join(c.certificates(), "http-ca.crt")
	b.process = exec.Command("haproxy", "-db", "-f", config) //nolint:gosec,noctx // our own file; close ends it
	b.process.Env = []string{
		"CERTIFICATE=" + certificate, "CLUSTER_CA=" + authority, "SHORT_LIVED_CA=" + authority, "STATISTICS=" + b.statistics,
	}
	for _, n := range c.nodes {
		where := netip.AddrPortFrom(n.address, clientPort).String()
		b.process.Env = append(b.process.Env, fmt.Sprintf("NODE_%d=%s", n.number, where), fmt.Sprintf("SHORT_LIVED_%d=%s", n.number, where))
	}
	if err := b.start(filepath.Join(c.setup.out, "logs", "haproxy.log")); err != nil {
		return nil, err
	}
	if err := b.awaitReady(ctx, c); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// start starts HAProxy with a listener for each of its frontends.
func (b *balancer) start(logFile string) error {
	log, err := os.Create(logFile)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	defer func() { _ = log.Close() }() // the process has its own
	b.process.Stdout, b.process.Stderr = log, log
	for i, frontend := range []string{"AS_IS_FD", "REPEATING_FD", "SHORT_LIVED_FD"} {
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(balancerHost)})
		if err != nil {
			return fmt.Errorf("listen for HAProxy: %w", err)
		}
		file, err := listener.File()
		_ = listener.Close() // file is the same listener
		if err != nil {
			return fmt.Errorf("listen for HAProxy: %w", err)
		}
		defer func() { _ = file.Close() }() // the process has its own
		if i == 0 {
			b.url = "https://" + listener.Addr().String()
		}
		b.process.ExtraFiles = append(b.process.ExtraFiles, file)
		b.process.Env = append(b.process.Env, fmt.Sprintf("%s=%d", frontend, 3+i))
	}
	if err := b.process.Start(); err != nil {
		return fmt.Errorf("start HAProxy: %w", err)
	}
	go func() {
		_ = b.process.Wait() // awaitReady says what its log says
		close(b.ended)
	}()
	return nil
}

// awaitReady returns when the balancer serves and has found all nodes.
func (b *balancer) awaitReady(ctx context.Context, c *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	last := errors.New("it does not answer")
	for pause(ctx, 5*lookInterval) {
		select {
		case <-b.ended:
			said, _ := os.ReadFile(filepath.Join(c.setup.out, "logs", "haproxy.log"))
			return fmt.Errorf("HAProxy does not run: %s", bytes.TrimSpace(said))
		default:
		}
		if last = b.ready(ctx, c); last == nil {
			return nil
		}
	}
	return fmt.Errorf("HAProxy does not serve after %v: %w", startPatience, last)
}

func (b *balancer) ready(ctx context.Context, c *cluster) error {
	if status := c.admin.status(ctx, b.url+"/readyz"); status != http.StatusOK {
		return fmt.Errorf("/readyz: %d", status)
	}
	for _, n := range c.nodes {
		up, err := b.uses(ctx, n)
		if err != nil {
			return err
		}
		if !up {
			return fmt.Errorf("it takes %s for down", n.name)
		}
	}
	return nil
}

func (b *balancer) close() {
	_ = b.process.Process.Kill() // it may have ended
	<-b.ended
}

// uses reports whether the balancer sends requests to the node.
func (b *balancer) uses(ctx context.Context, n *node) (bool, error) {
	status, err := b.statistic(ctx, "nodes", fmt.Sprintf("node-%d", n.number), "status")
	return status == "UP", err
}

// connections is how many the clients had to the balancer at once, at most.
func (b *balancer) connections(ctx context.Context) (int, error) {
	text, err := b.statistic(ctx, "as-is", "FRONTEND", "smax")
	if err != nil {
		return 0, err
	}
	most, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("HAProxy's statistics: %w", err)
	}
	return most, nil
}

// statistic asks the balancer for one of its figures.
func (b *balancer) statistic(ctx context.Context, proxy, server, column string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", b.statistics)
	if err != nil {
		return "", fmt.Errorf("HAProxy's statistics: %w", err)
	}
	defer func() { _ = conn.Close() }() // read to its end
	if err := conn.SetDeadline(time.Now().Add(startPatience)); err != nil {
		return "", fmt.Errorf("HAProxy's statistics: %w", err)
	}
	if _, err := conn.Write([]byte("show stat\n")); err != nil {
		return "", fmt.Errorf("HAProxy's statistics: %w", err)
	}
	rows, err := csv.NewReader(conn).ReadAll()
	if err != nil || len(rows) == 0 {
		return "", fmt.Errorf("HAProxy's statistics: %d rows: %w", len(rows), err)
	}
	i := slices.Index(rows[0], column)
	for _, row := range rows[1:] {
		if i >= 0 && row[0] == proxy && row[1] == server {
			return row[i], nil
		}
	}
	return "", fmt.Errorf("HAProxy's statistics have no %s of %s/%s", column, proxy, server)
}

// balancerCertificate has the product make the balancer's own, and returns the file with it and its key.
func balancerCertificate(ctx context.Context, c *cluster, folder string) (string, error) {
	const name = "haproxy"
	err := c.jeton(ctx, nil, "certs", "--out", c.certificates(), "--cluster-name", clusterName, "--node", name+"="+balancerHost)
	if err != nil {
		return "", err
	}
	var both []byte
	for _, file := range []string{"http.crt", "http.key"} {
		content, err := os.ReadFile(filepath.Join(c.certificates(), name, file))
		if err != nil {
			return "", err //nolint:wrapcheck // names the file
		}
		both = append(both, content...)
	}
	path := filepath.Join(folder, "certificate.pem")
	return path, os.WriteFile(path, both, 0o600) //nolint:wrapcheck // names the file
}

// repositoryFile is where a file of the repository is, from wherever within it the laboratory was started.
func repositoryFile(ctx context.Context, name string) (string, error) {
	module, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(module))), name), nil
}
