package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	clientPort = 9200
	peerPort   = 9300
	// clusterName is part of every certificate.
	clusterName = "lab"
	// refreshWindow is the product's default, said here because the load has to know it.
	refreshWindow = 30 * time.Second
	// readModeSetting and one of its values.
	readModeSetting, quorumReads = "read.mode", "quorum"
)

// setup is what a laboratory is built from.
type setup struct {
	out      string // folder of everything that is kept
	binary   string
	seed     uint64
	nodes    int
	settings map[string]string // of every node, beside those that follow from where it is
}

// baseSettings are those of every node: small enough that snapshots are taken and sent in a run of
// minutes, and otherwise the defaults.
func baseSettings(readMode, level string) map[string]string {
	return map[string]string{
		"cluster.name":                                         clusterName,
		readModeSetting:                                        readMode,
		"log.format":                                           "json",
		"log.level":                                            level,
		"raft.snapshot_threshold":                              "256kb",
		"raft.snapshot_interval":                               "2s",
		"autopilot.server_stabilization_time":                  "1s",
		"raft.trailing_logs":                                   "64",
		"request.timeout":                                      "5s",
		"shutdown.delay":                                       "0s",
		"xpack.security.http.ssl.enabled":                      "true",
		"xpack.security.authc.token.timeout":                   "10m",
		"xpack.security.authc.token.refresh_timeout":           "20m",
		"xpack.security.authc.token.refresh_window":            refreshWindow.String(),
		"xpack.security.authc.token.delete.interval":           "30s",
		"xpack.security.authc.password_hashing.algorithm":      "bcrypt4", // the load logs in often, and hashing is not what is tried
		"xpack.security.authc.token.key_path":                  "certs/cluster.key",
		"xpack.security.http.ssl.certificate":                  "certs/http.crt",
		"xpack.security.http.ssl.key":                          "certs/http.key",
		"xpack.security.transport.ssl.certificate":             "certs/transport.crt",
		"xpack.security.transport.ssl.key":                     "certs/transport.key",
		"xpack.security.transport.ssl.certificate_authorities": "[certs/transport-ca.crt]",
		"bootstrap.password_file":                              "password",
		"path.data":                                            "disk/data",
	}
}

// writeSettings writes jeton.yml as the node should have it now.
func (n *node) writeSettings() error {
	settings := maps.Clone(n.cluster.setup.settings)
	settings["node.name"] = cmp.Or(n.posesAs, n.name)
	settings["network.host"] = n.address.String()
	settings["discovery.seed_hosts"] = n.cluster.seeds()
	settings["cluster.initial_master_nodes"] = n.cluster.founders()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s: %s\n", name, settings[name])
	}
	return os.WriteFile(n.config(), []byte(text.String()), 0o600) //nolint:wrapcheck // names the file
}

// seeds are the addresses that the members had at first: one that moves has to be found by the others.
func (c *cluster) seeds() string {
	var hosts []string
	for _, n := range c.nodes {
		hosts = append(hosts, fmt.Sprintf("%s:%d", n.first, peerPort))
	}
	return "[" + strings.Join(hosts, ", ") + "]"
}

func (c *cluster) founders() string {
	var names []string
	for _, n := range c.nodes {
		names = append(names, n.name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// secondAddress is where a node is after it has moved. Its certificates name both.
func secondAddress(first netip.Addr) netip.Addr {
	b := first.As4()
	b[3] += 100
	return netip.AddrFrom4(b)
}
