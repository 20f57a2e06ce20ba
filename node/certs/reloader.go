package certs

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Files are the PEM files of one SSL context.
type Files struct {
	// Certificate is the certificate, followed by its chain if there is one.
	Certificate string
	// Key is the private key of Certificate; see [ReadPrivate] for who may read it.
	Key string
	// CertificateAuthorities are the authorities whose certificates are trusted.
	CertificateAuthorities []string
}

// Reloader holds one SSL context in its newest usable form.
type Reloader struct {
	files    Files
	identity Identity
	now      func() time.Time
}

// NewTransport opens the transport context of one node.
func NewTransport(files Files, self Identity, now func() time.Time) (*Reloader, error) {
	return &Reloader{files: files, identity: self, now: now}, nil
}

// NewHTTP opens the HTTP context of one node.
func NewHTTP(files Files, now func() time.Time) (*Reloader, error) {
	return &Reloader{files: files, now: now}, nil
}

// Poll looks whether the files have changed.
func (r *Reloader) Poll() (changed bool, err error) { return false, nil }

// TransportServer returns the configuration for accepting peers.
func (r *Reloader) TransportServer(protocols ...string) *tls.Config { return nil }

// TransportClient returns the configuration for one dial of a peer.
func (r *Reloader) TransportClient(protocols ...string) *tls.Config { return nil }

// HTTPServer returns the configuration for HTTPS.
func (r *Reloader) HTTPServer() *tls.Config { return nil }

// Pool returns the trusted authorities; nil if none are configured.
func (r *Reloader) Pool() *x509.CertPool { return nil }

// Expiring returns a warning for each certificate that ends within the given time.
func (r *Reloader) Expiring(within time.Duration) []string { return nil }
