package certs

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Folder is where the authorities, the cluster key and the nodes' certificates of
// one cluster lie:
//
//	transport-ca.crt transport-ca.key   signs nodes; the key stays with the operator
//	http-ca.crt      http-ca.key        signs HTTPS servers; clients are given the .crt
//	cluster.key                         the same on every node
//	<node>/transport.crt transport.key http.crt http.key
//
// Folders are made with mode 0700, certificates with 0644, keys with 0600. Nothing is
// replaced silently.
type Folder struct {
	Path string
	Now  func() time.Time
}

// NodeRequest asks for the certificates of one node.
type NodeRequest struct {
	Identity
	Hosts    []string      // host names and IP addresses by which clients and peers reach the node; at least one
	Lifetime time.Duration // never beyond the authority's own end
	Replace  bool          // of certificates that exist: renewal
}

// Create makes both authorities and the cluster key. An error that is
// [fs.ErrExist] means that the folder has them already, and nothing was written.
func (f Folder) Create(cluster string, lifetime time.Duration) error {
	if err := CheckName(cluster); err != nil {
		return fmt.Errorf("cluster name %q: %w", cluster, err)
	}
	transport, http := f.TransportCA(), f.HTTPCA()
	if err := refuseExisting(transport.Certificate, transport.Key, http.Certificate, http.Key, f.ClusterKey()); err != nil {
		return err
	}
	if err := os.MkdirAll(f.Path, folderMode); err != nil {
		return fmt.Errorf("create the certificate folder: %w", err)
	}
	if err := f.createAuthority("Jeton transport CA of "+cluster, transport, lifetime); err != nil {
		return err
	}
	if err := f.createAuthority("Jeton HTTP CA of "+cluster, http, lifetime); err != nil {
		return err
	}
	return CreateClusterKey(f.ClusterKey())
}

func (f Folder) createAuthority(name string, files Files, lifetime time.Duration) error {
	authority, err := NewAuthority(name, f.Now(), lifetime)
	if err != nil {
		return err
	}
	pair, err := newPair(authority.certificate.Raw, authority.key)
	if err != nil {
		return err
	}
	return pair.write(files, false)
}

// IssueNode makes the transport and the HTTP certificate of one node.
func (f Folder) IssueNode(request NodeRequest) error {
	transportCA, err := LoadAuthority(f.TransportCA().Certificate, f.TransportCA().Key)
	if err != nil {
		return fmt.Errorf("load the transport authority: %w", err)
	}
	httpCA, err := LoadAuthority(f.HTTPCA().Certificate, f.HTTPCA().Key)
	if err != nil {
		return fmt.Errorf("load the HTTP authority: %w", err)
	}
	transport, err := transportCA.IssueNode(request.Identity, request.Hosts, f.Now(), request.Lifetime)
	if err != nil {
		return fmt.Errorf("issue the transport certificate of %s: %w", request.Node, err)
	}
	http, err := httpCA.IssueHTTP(request.Hosts, f.Now(), request.Lifetime)
	if err != nil {
		return fmt.Errorf("issue the HTTP certificate of %s: %w", request.Node, err)
	}
	transportFiles, httpFiles := f.NodeTransport(request.Node), f.NodeHTTP(request.Node)
	if !request.Replace {
		err := refuseExisting(transportFiles.Certificate, transportFiles.Key, httpFiles.Certificate, httpFiles.Key)
		if err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(transportFiles.Key), folderMode); err != nil {
		return fmt.Errorf("create the folder of %s: %w", request.Node, err)
	}
	return errors.Join(transport.write(transportFiles, request.Replace), http.write(httpFiles, request.Replace))
}

// TransportCA returns the files of the authority for nodes.
func (f Folder) TransportCA() Files {
	return Files{Certificate: f.file("transport-ca.crt"), Key: f.file("transport-ca.key")}
}

// HTTPCA returns the files of the authority for HTTPS servers.
func (f Folder) HTTPCA() Files {
	return Files{Certificate: f.file("http-ca.crt"), Key: f.file("http-ca.key")}
}

// ClusterKey returns the file of the cluster key.
func (f Folder) ClusterKey() string { return f.file("cluster.key") }

// NodeTransport returns the files of one node's transport context.
func (f Folder) NodeTransport(node string) Files {
	return Files{
		Certificate:            f.file(node, "transport.crt"),
		Key:                    f.file(node, "transport.key"),
		CertificateAuthorities: []string{f.TransportCA().Certificate},
	}
}

// NodeHTTP returns the files of one node's HTTP context.
func (f Folder) NodeHTTP(node string) Files {
	return Files{
		Certificate:            f.file(node, "http.crt"),
		Key:                    f.file(node, "http.key"),
		CertificateAuthorities: []string{f.HTTPCA().Certificate},
	}
}

func (f Folder) file(names ...string) string {
	return filepath.Join(append([]string{f.Path}, names...)...)
}

// write writes the key first: a certificate without its key is of no use.
func (p Pair) write(files Files, replace bool) error {
	if err := writeFile(files.Key, p.Key, secretMode, replace); err != nil {
		return err
	}
	return writeFile(files.Certificate, p.Certificate, publicMode, replace)
}

const clusterKeyBytes = 32 // as long as the output of the hash of the derivation (SHA-256)

// CreateClusterKey writes a new cluster key: 32 random bytes, in hexadecimal. An
// error that is [fs.ErrExist] means that there is one already, which is kept.
func CreateClusterKey(path string) error {
	key := make([]byte, clusterKeyBytes)
	_, _ = rand.Read(key) // never fails, see its documentation
	return writeFile(path, []byte(hex.EncodeToString(key)+"\n"), secretMode, false)
}

// LoadClusterKey reads the cluster key. The file must be as private as that of a private
// key, see [ReadPrivate]. No error tells anything of its content.
func LoadClusterKey(path string) ([]byte, error) {
	content, err := ReadSecret(path, "cluster key", func(content []byte) bool { return decodeClusterKey(content) != nil })
	if err != nil {
		return nil, fmt.Errorf("read the cluster key: %w", err)
	}
	key := decodeClusterKey(content)
	if key == nil {
		return nil, fmt.Errorf("read the cluster key: %s does not hold %d bytes in hexadecimal; "+
			"copy the file that `jeton certs` made for this cluster", path, clusterKeyBytes)
	}
	return key, nil
}

// decodeClusterKey returns nil if that is no cluster key.
func decodeClusterKey(content []byte) []byte {
	key, err := hex.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || len(key) != clusterKeyBytes {
		return nil
	}
	return key
}
