package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"jeton/node/certs"
)

// nodesIn returns the nodes that have certificates in the folder, each with the
// host that it was given first.
func nodesIn(folder certs.Folder) ([]nodeHosts, error) {
	entries, err := os.ReadDir(folder.Path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	var nodes []nodeHosts
	for _, entry := range entries {
		path := folder.NodeHTTP(entry.Name()).Certificate
		if !entry.IsDir() || !allExist(path) {
			continue
		}
		certificate, err := readCertificate(path)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, nodeHosts{entry.Name(), []string{certificate.Subject.CommonName}})
	}
	return nodes, nil
}

// printNodeSettings says what comes next, as settings to paste: those of the first
// of the added nodes. Where no node was present, they found the cluster together;
// else they join those that were.
func printNodeSettings(out io.Writer, folder certs.Folder, cluster string, added, present []nodeHosts) {
	base := func(path string) string {
		relative, err := filepath.Rel(folder.Path, path)
		if err != nil {
			return path
		}
		return filepath.Join("certs", relative)
	}
	node, others := added[0], make([]string, 0, len(added))
	for _, n := range added[1:] {
		others = append(others, n.name)
	}
	transport, http := folder.NodeTransport(node.name), folder.NodeHTTP(node.name)
	lines := [][2]string{
		{"cluster.name", cluster},
		{"node.name", node.name},
		{"path.data", "data"},
		{"network.host", node.hosts[0]},
	}
	founders := added
	if len(present) > 0 {
		founders = present
	}
	lines = append(lines, [2]string{"discovery.seed_hosts", yamlList(founders, nodeHosts.first)})
	if len(present) == 0 {
		lines = append(lines, [2]string{"cluster.initial_master_nodes", yamlList(founders, func(n nodeHosts) string { return n.name })})
	}
	for _, line := range [][2]string{
		{"transport.ssl.certificate", base(transport.Certificate)},
		{"transport.ssl.key", base(transport.Key)},
		{"transport.ssl.certificate_authorities", base(folder.TransportCA().Certificate)},
		{"http.ssl.enabled", "true"},
		{"http.ssl.certificate", base(http.Certificate)},
		{"http.ssl.key", base(http.Key)},
		{"http.ssl.certificate_authorities", base(folder.HTTPCA().Certificate)},
		{"authc.token.key_path", base(folder.ClusterKey())},
	} {
		lines = append(lines, [2]string{"xpack.security." + line[0], line[1]})
	}
	fmt.Fprintf(out, "\nCopy to each node its own folder, %s, %s and %s. In its settings, for %s:\n\n",
		filepath.Base(folder.TransportCA().Certificate), filepath.Base(folder.HTTPCA().Certificate),
		filepath.Base(folder.ClusterKey()), node.name)
	for _, line := range lines {
		fmt.Fprintf(out, "  %s: %s\n", line[0], line[1])
	}
	if len(others) > 0 {
		fmt.Fprintf(out, "\nFor %s: the same with their own node.name, network.host and folder.\n", strings.Join(others, ", "))
	}
	if all := slices.Concat(present, added); len(distinct(all, nodeHosts.first)) < len(all) {
		fmt.Fprint(out, "\nNodes that share a host each need their own http.port, transport.port and path.data, and\n"+
			"discovery.seed_hosts needs their transport ports: host:port.\n")
	}
}

func (n nodeHosts) first() string { return n.hosts[0] }

// distinct returns each text once, in the order of the nodes.
func distinct(nodes []nodeHosts, text func(nodeHosts) string) []string {
	var texts []string
	for _, node := range nodes {
		if one := text(node); !slices.Contains(texts, one) {
			texts = append(texts, one)
		}
	}
	return texts
}

// yamlList writes a list of names or hosts; those with a colon, IPv6 addresses,
// need quotes.
func yamlList(nodes []nodeHosts, text func(nodeHosts) string) string {
	items := distinct(nodes, text)
	for i := range items {
		if strings.Contains(items[i], ":") {
			items[i] = `"` + items[i] + `"`
		}
	}
	return "[" + strings.Join(items, ", ") + "]"
}
