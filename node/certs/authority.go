package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// backdate is how far before "now" a certificate begins, for the sake of nodes
// whose clock is behind.
const backdate = time.Hour

// Authority is a certificate authority: it issues the certificates of one purpose.
// The transport and the HTTP layer have one each, so that a client's or a web
// server's certificate never opens the port between the nodes.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes a self-signed authority that is valid for lifetime from now.
func NewAuthority(name string, now time.Time, lifetime time.Duration) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the key of %q: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it signs end certificates only
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %q: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate of %q: %w", name, err)
	}
	return &Authority{certificate, key}, nil
}

// LoadAuthority reads an authority that a [Folder] wrote. The key must be private
// to its owner, see [ReadPrivate].
func LoadAuthority(certificatePath, keyPath string) (*Authority, error) {
	certificate, err := readFile(certificatePath)
	if err != nil {
		return nil, err
	}
	secret, err := ReadPrivate(keyPath)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, secret)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certificatePath, keyPath, err)
	}
	if !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s: not the certificate of an authority", certificatePath)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: this key cannot sign", keyPath)
	}
	return &Authority{pair.Leaf, key}, nil
}

// IssueNode issues the transport certificate of one node: for both ends of a
// connection, and naming the node by its [Identity]. Hosts are for people and
// other tools; peers look at the identity alone, so that an address may change.
func (a *Authority) IssueNode(node Identity, hosts []string, now time.Time, lifetime time.Duration) (Pair, error) {
	if err := node.validate(); err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: node.Node, Organization: []string{node.Cluster}},
		URIs:        []*url.URL{node.uri()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	return a.issue(template, hosts, now, lifetime)
}

// IssueHTTP issues the certificate of an HTTPS server that clients know by hosts,
// which are host names and IP addresses; at least one.
func (a *Authority) IssueHTTP(hosts []string, now time.Time, lifetime time.Duration) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, errors.New("an HTTP certificate needs a host name or an IP address that clients use")
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return a.issue(template, hosts, now, lifetime)
}

// issue signs an end certificate for a fresh key. It never outlives the authority:
// what is signed by an expired authority is refused anyway, and would hide it.
func (a *Authority) issue(template *x509.Certificate, hosts []string, now time.Time, lifetime time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("generate a key: %w", err)
	}
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(lifetime)
	if end := a.certificate.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate of %q: %w", template.Subject.CommonName, err)
	}
	return newPair(der, key)
}

// Pair is a certificate and its private key, PEM encoded. The key is secret.
type Pair struct{ Certificate, Key []byte }

func newPair(der []byte, key crypto.Signer) (Pair, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a private key: %w", err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}
