package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Identity is whom a transport certificate stands for. It is carried as the URI
// subject alternative name jeton://<cluster>/node/<node>.
type Identity struct {
	Cluster string // cluster.name
	Node    string // node.name
}

// String is the URI.
func (i Identity) String() string { return i.uri().String() }

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: "jeton", Host: i.Cluster, Path: "/node/" + i.Node}
}

func (i Identity) validate() error {
	if err := CheckName(i.Cluster); err != nil {
		return fmt.Errorf("cluster name %q: %w", i.Cluster, err)
	}
	if err := CheckName(i.Node); err != nil {
		return fmt.Errorf("node name %q: %w", i.Node, err)
	}
	return nil
}

const maxNameBytes = 128 // a fully qualified host name in practice; it is carried in certificates and file names

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// CheckName says why a name cannot be the name of a cluster or a node. Such names
// stand in certificates, URIs and file names, so their letters are few.
func CheckName(name string) error {
	if len(name) > maxNameBytes {
		return fmt.Errorf("longer than %d bytes", maxNameBytes)
	}
	if !namePattern.MatchString(name) {
		return errors.New("must be letters, digits, '-' and '_', in parts separated by single dots")
	}
	return nil
}

// IdentityOf returns the identity in a transport certificate. ok is false if it
// carries none, or more than one.
func IdentityOf(certificate *x509.Certificate) (identity Identity, ok bool) {
	for _, uri := range certificate.URIs {
		if uri.Scheme != "jeton" {
			continue
		}
		node, isNode := strings.CutPrefix(uri.Path, "/node/")
		found := Identity{Cluster: uri.Host, Node: node}
		if ok || !isNode || found.validate() != nil || found.String() != uri.String() {
			return Identity{}, false
		}
		identity, ok = found, true
	}
	return identity, ok
}
