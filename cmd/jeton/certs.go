package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
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
which renews them. Running nodes notice renewed files by themselves. When all that
is asked for is there already, nothing is changed and the exit code is 0; when what
is there has expired, or is for other hosts, that is an error.

It prints the settings of the first node that it added, complete, to paste.

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
		hosts := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
		if len(hosts) == 0 {
			return nil, usageErrorf("--node %s: want NAME=HOST,... with at least one host name or IP address", flag)
		}
		for _, host := range hosts {
			if net.ParseIP(host) == nil && strings.Trim(host, hostLetters) != "" {
				return nil, usageErrorf("--node %s: %q is no host name and no IP address; want NAME=HOST,HOST,... without spaces, ports and schemes", flag, host)
			}
		}
		nodes = append(nodes, nodeHosts{name, hosts})
	}
	return nodes, nil
}

// hostLetters are those of a host name, and of one that stands for several in a certificate.
const hostLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*"

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
	if err := o.authorities(folder, out, clusterGiven); err != nil {
		return err
	}
	present, err := nodesIn(folder)
	if err != nil {
		return err
	}
	var added []nodeHosts
	for _, node := range nodes {
		what, err := o.issue(folder, node)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, what)
		if !slices.ContainsFunc(present, func(n nodeHosts) bool { return n.name == node.name }) {
			added = append(added, node)
		}
	}
	if len(added) > 0 {
		printNodeSettings(out, folder, o.cluster, added, present)
	}
	return nil
}

// authorities makes the authorities and the cluster key, or keeps those that exist.
func (o *certsOptions) authorities(folder certs.Folder, out io.Writer, clusterGiven bool) error {
	transport, http := folder.TransportCA(), folder.HTTPCA()
	if allExist(transport.Certificate, transport.Key, http.Certificate, http.Key, folder.ClusterKey()) {
		if err := o.adoptCluster(folder, clusterGiven); err != nil {
			return err
		}
		fmt.Fprintf(out, "kept the authorities and the cluster key of %q in %s\n", o.cluster, folder.Path)
		return nil
	}
	if err := folder.Create(o.cluster, authorityDays*day); err != nil {
		return err
	}
	fmt.Fprintf(out, "made the authorities and the cluster key of %q in %s\n", o.cluster, folder.Path)
	return nil
}

// issue makes the certificates of a node, or keeps those that exist and are what is
// asked for; it says which.
func (o *certsOptions) issue(folder certs.Folder, node nodeHosts) (what string, err error) {
	transport, http := folder.NodeTransport(node.name), folder.NodeHTTP(node.name)
	if !o.force && allExist(transport.Certificate, transport.Key, http.Certificate, http.Key) {
		end, err := o.usable(folder, node)
		if err != nil {
			return "", fmt.Errorf("%w\nTo renew the certificates of %s, add --force", err, node.name)
		}
		return fmt.Sprintf("kept the certificates of %s, valid until %s", node.name, end.Format(time.DateOnly)), nil
	}
	err = folder.IssueNode(certs.NodeRequest{
		Identity: certs.Identity{Cluster: o.cluster, Node: node.name},
		Hosts:    node.hosts,
		Lifetime: time.Duration(o.days) * day,
		Replace:  o.force,
	})
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%w\nTo make the certificates of %s anew, add --force", err, node.name)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("made the certificates of %s (%s), valid for %d days", node.name, strings.Join(node.hosts, ", "), o.days), nil
}

// usable says why the existing certificates of a node are not what is asked for,
// else when the first of them ends.
func (o *certsOptions) usable(folder certs.Folder, node nodeHosts) (end time.Time, err error) {
	transport, http := folder.NodeTransport(node.name), folder.NodeHTTP(node.name)
	self := certs.Identity{Cluster: o.cluster, Node: node.name}
	if _, err := certs.NewTransport(transport, self, folder.Now); err != nil {
		return end, err
	}
	if _, err := certs.NewHTTP(http, folder.Now); err != nil {
		return end, err
	}
	for i, path := range []string{transport.Certificate, http.Certificate} {
		certificate, err := readCertificate(path)
		if err != nil {
			return end, err
		}
		for _, host := range node.hosts {
			if err := certificate.VerifyHostname(host); err != nil {
				return end, fmt.Errorf("%s exists, but not for %s: %w", path, host, err)
			}
		}
		if i == 0 || certificate.NotAfter.Before(end) {
			end = certificate.NotAfter
		}
	}
	return end, nil
}

func allExist(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool {
		_, err := os.Lstat(path)
		return err != nil
	})
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
	authority, err := readCertificate(path)
	if err != nil {
		return "", err
	}
	_, name, ok := strings.Cut(authority.Subject.CommonName, " CA of ")
	if !ok {
		return "", fmt.Errorf("%s was not made by jeton certs: it does not name the cluster", path)
	}
	return name, nil
}

// readCertificate reads the first certificate of a file.
func readCertificate(path string) (*x509.Certificate, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return certificate, nil
}
