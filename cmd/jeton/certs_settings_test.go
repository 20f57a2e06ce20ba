package main

import (
	"strings"
	"testing"

	"jeton/node/certs"
)

func TestSettingsOfNodesThatShareAHost(t *testing.T) {
	settings := func(hosts ...string) string {
		nodes := make([]nodeHosts, len(hosts))
		for i, host := range hosts {
			nodes[i] = nodeHosts{string(rune('a' + i)), []string{host}}
		}
		var out strings.Builder
		printNodeSettings(&out, certs.Folder{Path: "certs"}, "jeton", nodes, nil)
		return out.String()
	}
	const hint = "Nodes that share a host"
	apart := settings("10.0.0.1", "10.0.0.2", "::1")
	if !strings.Contains(apart, `discovery.seed_hosts: [10.0.0.1, 10.0.0.2, "::1"]`) || strings.Contains(apart, hint) {
		t.Errorf("of three hosts:\n%s", apart)
	}
	together := settings("127.0.0.1", "127.0.0.1", "127.0.0.1")
	if !strings.Contains(together, "discovery.seed_hosts: [127.0.0.1]\n") ||
		!strings.Contains(together, "cluster.initial_master_nodes: [a, b, c]\n") || !strings.Contains(together, hint) {
		t.Errorf("of one host:\n%s", together)
	}
}
