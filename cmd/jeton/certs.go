package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jeton/node/certs"
)

const (
	day             = 24 * time.Hour
	defaultCertDays = 730
	// authorityDays: replacing an authority touches every node and client.
	authorityDays = 3650
)

// certsOptions are the flags of `jeton certs`.
type certsOptions struct {
	out, cluster string
	nodes        []string // name=host,host
	days         int
	force        bool
}

func newCertsCommand() *cobra.Command {
	var o certsOptions
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates and the key of a cluster",
		Long: strings.TrimSpace(`
Makes what a cluster needs to trust its nodes and to be trusted:

  OUT/transport-ca.crt .key    authority of the port between the nodes
  OUT/http-ca.crt .key         authority of HTTPS; clients are given the .crt
  OUT/cluster.key              the same on every node; keep it, and a copy
  OUT/NODE/                    certificates and keys of one node

Run it again on the same folder to add nodes: authorities and cluster key are
kept, always. Existing certificates of a node are kept unless --force is given,
which renews them. Running nodes notice renewed files by themselves.

The keys of the authorities stay with the operator; nodes do not need them.`),
		Example: strings.Trim(`
  jeton certs --out certs --cluster-name prod \
      --node a=a.example.org,10.0.0.1 --node b=b.example.org,10.0.0.2
  jeton certs --out certs --node c=c.example.org          one more node
  jeton certs --out certs --node a=a.example.org --force  renewed`, "\n"),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.OutOrStdout(), time.Now, cmd.Flags().Changed("cluster-name"))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "out", "o", "certs", "folder to write to")
	flags.StringVar(&o.cluster, "cluster-name", "jeton", "cluster.name of the nodes; an existing folder knows its own")
	flags.StringArrayVar(&o.nodes, "node", nil, "a node and the names and addresses others reach it by, as `NAME=HOST,...`; may be repeated")
	flags.IntVar(&o.days, "days", defaultCertDays, "how long the nodes' certificates are valid")
	flags.BoolVar(&o.force, "force", false, "replace existing certificates of the given nodes")
	return cmd
}

// nodeHosts is one --node flag.
type nodeHosts struct {
	name  string
	hosts []string
}

func parseNodeHosts(flags []string) ([]nodeHosts, error) {
	seen := map[string]bool{}
	nodes := make([]nodeHosts, 0, len(flags))
	for _, flag := range flags {
		name, list, _ := strings.Cut(flag, "=")
		if err := certs.CheckName(name); err != nil {
			return nil, usageErrorf("--node %s: the name %w", flag, err)
		}
		if seen[name] {
			return nil, usageErrorf("--node %s is given twice", name)
		}
		seen[name] = true
		hosts := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		if len(hosts) == 0 {
			return nil, usageErrorf("--node %s: want NAME=HOST,... with at least one host name or IP address", flag)
		}
		nodes = append(nodes, nodeHosts{name, hosts})
	}
	return nodes, nil
}

func (o *certsOptions) run(out io.Writer, now func() time.Time, clusterGiven bool) error {
	nodes, err := parseNodeHosts(o.nodes)
	if err != nil {
		return err
	}
	if o.days < 1 || o.days > authorityDays {
		return usageErrorf("--days %d: want 1 to %d", o.days, authorityDays)
	}
	path, err := filepath.Abs(o.out)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	folder := certs.Folder{Path: path, Now: now}
	err = folder.Create(o.cluster, authorityDays*day)
	fresh := err == nil
	switch {
	case fresh:
		fmt.Fprintf(out, "made the authorities and the cluster key of %q in %s\n", o.cluster, path)
	case errors.Is(err, fs.ErrExist) && len(nodes) > 0:
		if err := o.adoptCluster(folder, clusterGiven); err != nil {
			return err
		}
		fmt.Fprintf(out, "using the authorities of %q in %s\n", o.cluster, path)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w\nTo add nodes, name them with --node", err)
	default:
		return err
	}
	for _, node := range nodes {
		if err := o.issue(folder, node); err != nil {
			return err
		}
		fmt.Fprintf(out, "made the certificates of %s (%s), valid for %d days\n", node.name, strings.Join(node.hosts, ", "), o.days)
	}
	if len(nodes) > 0 {
		printNodeSettings(out, folder, o.cluster, nodes, fresh)
	}
	return nil
}

func (o *certsOptions) issue(folder certs.Folder, node nodeHosts) error {
	err := folder.IssueNode(certs.NodeRequest{
		Identity: certs.Identity{Cluster: o.cluster, Node: node.name},
		Hosts:    node.hosts,
		Lifetime: time.Duration(o.days) * day,
		Replace:  o.force,
	})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w\nTo renew the certificates of %s, add --force", err, node.name)
	}
	return err
}

// adoptCluster takes the cluster's name from the folder.
func (o *certsOptions) adoptCluster(folder certs.Folder, given bool) error {
	name, err := clusterOf(folder)
	if err != nil {
		return err
	}
	if given && name != o.cluster {
		return fmt.Errorf("%s holds the authorities of the cluster %q, not of %q: give another --out", folder.Path, name, o.cluster)
	}
	o.cluster = name
	return nil
}

// clusterOf reads the cluster's name where [certs.Folder.Create] put it: at the
// end of the name of the authority.
func clusterOf(folder certs.Folder) (string, error) {
	path := folder.TransportCA().Certificate
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err //nolint:wrapcheck // names the file
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return "", fmt.Errorf("%s holds no certificate", path)
	}
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	_, name, ok := strings.Cut(authority.Subject.CommonName, " CA of ")
	if !ok {
		return "", fmt.Errorf("%s was not made by jeton certs: it does not name the cluster", path)
	}
	return name, nil
}

// printNodeSettings says what comes next, as settings to paste: all of them for
// the first node of a new cluster, else those that name files.
func printNodeSettings(out io.Writer, folder certs.Folder, cluster string, nodes []nodeHosts, fresh bool) {
	base := func(path string) string {
		relative, err := filepath.Rel(folder.Path, path)
		if err != nil {
			return path
		}
		return filepath.Join("certs", relative)
	}
	node := nodes[0]
	transport, http := folder.NodeTransport(node.name), folder.NodeHTTP(node.name)
	fmt.Fprintf(out, `
Copy to each node its own folder, %s, %s and %s. In its settings, for %s:

  cluster.name: %s
  node.name: %s
`,
		filepath.Base(folder.TransportCA().Certificate), filepath.Base(folder.HTTPCA().Certificate),
		filepath.Base(folder.ClusterKey()), node.name, cluster, node.name)
	if fresh {
		names, seeds := make([]string, len(nodes)), make([]string, len(nodes))
		for i, n := range nodes {
			names[i], seeds[i] = n.name, n.hosts[0]
		}
		fmt.Fprintf(out, "  path.data: data\n  network.host: %s\n  discovery.seed_hosts: [%s]\n  cluster.initial_master_nodes: [%s]\n",
			node.hosts[0], strings.Join(seeds, ", "), strings.Join(names, ", "))
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
		fmt.Fprintf(out, "  xpack.security.%s: %s\n", line[0], line[1])
	}
}
