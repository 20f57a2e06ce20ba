package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"jeton/node/certs"
)

// certificateFiles are what a node needs of the folder that `jeton certs` makes.
func certificateFiles(node string) map[string]string {
	return map[string]string{
		"transport-ca.crt": "transport-ca.crt",
		"cluster.key":      "cluster.key",
		"transport.crt":    filepath.Join(node, "transport.crt"),
		"transport.key":    filepath.Join(node, "transport.key"),
		"http.crt":         filepath.Join(node, "http.crt"),
		"http.key":         filepath.Join(node, "http.key"),
	}
}

// ownHosts are the addresses that the machine may have; hosts, those that it or a copy of it is asked for by.
func (n *node) ownHosts() []string {
	return []string{n.first.String(), secondAddress(n.first).String()}
}

func (n *node) hosts() []string {
	hosts := append(n.ownHosts(), "localhost") // a load balancer may ask for a name
	if spare := n.cluster.spare; n != spare {
		hosts = append(hosts, spare.first.String())
	}
	return hosts
}

// issueCertificates has the product make certificates, anew where there are some.
func (c *cluster) issueCertificates(ctx context.Context, folder string, nodes ...*node) error {
	args := []string{"certs", "--out", folder, "--cluster-name", clusterName, "--force"}
	for _, n := range nodes {
		args = append(args, "--node", n.name+"="+strings.Join(n.hosts(), ","))
	}
	return c.jeton(ctx, nil, args...)
}

// install gives the node its certificates from a folder: those of the node that it is at the moment.
func (n *node) install(folder string) error {
	n.mu.Lock()
	name := cmp.Or(n.posesAs, n.name)
	n.mu.Unlock()
	return n.installAs(name, folder)
}

// installAs gives it those of a node with that name.
func (n *node) installAs(name, folder string) error {
	if err := os.MkdirAll(n.file("certs"), 0o700); err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	sources := certificateFiles(name)
	for _, target := range slices.Sorted(maps.Keys(sources)) { // by name: a key follows its certificate at once, lest a node start in between
		if err := n.copyCertificate(filepath.Join(folder, sources[target]), target); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) copyCertificate(source, name string) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	return replaceFile(n.file("certs", name), content)
}

// installPeer gives the node only the certificate that it shows its peers.
func (n *node) installPeer(folder string) error {
	return errors.Join(
		n.copyCertificate(filepath.Join(folder, n.name, "transport.key"), "transport.key"),
		n.copyCertificate(filepath.Join(folder, n.name, "transport.crt"), "transport.crt"),
	)
}

// installExpired gives the node certificates of its own authorities that have ended.
func (n *node) installExpired(folder string) error {
	issued := certs.Folder{Path: folder, Now: time.Now}
	past, hour := time.Now().Add(-48*time.Hour), time.Hour
	transport, err := certs.LoadAuthority(issued.TransportCA().Certificate, issued.TransportCA().Key)
	if err != nil {
		return err
	}
	peer, err := transport.IssueNode(certs.Identity{Cluster: clusterName, Node: n.name}, n.hosts(), past, hour)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"transport.key": peer.Key, "transport.crt": peer.Certificate} {
		if err := replaceFile(n.file("certs", name), content); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile replaces a file at once.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	return os.Rename(path+".new", path) //nolint:wrapcheck // names the files
}

// roots are the authorities that clients trust.
func (c *cluster) roots() (*x509.CertPool, error) {
	path := filepath.Join(c.certificates(), "http-ca.crt")
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

// certificates is the folder of those in use.
func (c *cluster) certificates() string { return *c.issued.Load() }

// jeton runs one of the product's commands; what it prints goes to out, if that is not nil.
func (c *cluster) jeton(ctx context.Context, out *strings.Builder, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.setup.binary, args...) //nolint:gosec // our own build
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}          // ours would pass for settings
	var said strings.Builder
	cmd.Stderr = &said
	cmd.Stdout = &said
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("jeton %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return nil
}

const commandPatience = 20 * time.Second
