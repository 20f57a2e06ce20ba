package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Files are the PEM files of one SSL context.
type Files struct {
	// Certificate is the certificate, followed by its chain if there is one.
	Certificate string
	// Key is the private key of Certificate; see [ReadPrivate] for who may read it.
	Key string
	// CertificateAuthorities are the authorities that are trusted. A file may hold
	// several, as it must while an authority is replaced.
	CertificateAuthorities []string
}

// Reloader holds one SSL context: what this node presents, and whom it trusts. The
// configurations that it gives out follow its files as of the last Poll; only new
// handshakes notice. Safe for concurrent use.
type Reloader struct {
	files    Files
	identity Identity // zero in an HTTP context
	now      func() time.Time
	current  atomic.Pointer[material]

	mu       sync.Mutex // one Poll at a time
	reported string     // the error that the last Poll met
}

// material is one state of the files, checked; immutable.
type material struct {
	digest      [sha256.Size]byte // of the content of all files
	pair        tls.Certificate
	authorities []authorityFile
	pool        *x509.CertPool
}

type authorityFile struct {
	path         string
	certificates []*x509.Certificate
}

// NewTransport opens the transport context of the node self. It refuses what peers
// would refuse: a certificate that names another node, is not signed by the
// authorities, or is not valid at this time. Now is the clock of every check,
// those in handshakes included.
func NewTransport(files Files, self Identity, now func() time.Time) (*Reloader, error) {
	if err := self.validate(); err != nil {
		return nil, err
	}
	return newReloader(&Reloader{files: files, identity: self, now: now})
}

// NewHTTP opens the HTTP context of a node. CertificateAuthorities, whom clients
// trust, may be empty; see [Reloader.Warnings].
func NewHTTP(files Files, now func() time.Time) (*Reloader, error) {
	return newReloader(&Reloader{files: files, now: now})
}

func newReloader(r *Reloader) (*Reloader, error) {
	loaded, err := r.load()
	if err != nil {
		return nil, err
	}
	r.current.Store(loaded)
	return r, nil
}

// Poll takes over the files if their content has changed and can be used; changed
// says that it did. An error says why the new content cannot be used. It is
// returned once, not by every Poll, and what was in use stays in use.
func (r *Reloader) Poll() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	loaded, err := r.load()
	if err != nil {
		text := err.Error()
		if text == r.reported {
			return false, nil
		}
		r.reported = text
		return false, fmt.Errorf("keep the certificate of %s that is in use: %w", r.files.Certificate, err)
	}
	r.reported = ""
	if loaded == r.current.Load() {
		return false, nil
	}
	r.current.Store(loaded)
	return true, nil
}

// load reads and checks the files. If they are as before, it returns what is in use.
func (r *Reloader) load() (*material, error) {
	certificate, err := readFile(r.files.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := ReadPrivate(r.files.Key)
	if err != nil {
		return nil, err
	}
	parts := [][]byte{certificate, key}
	loaded := &material{pool: x509.NewCertPool()}
	for _, path := range r.files.CertificateAuthorities {
		content, err := readFile(path)
		if err != nil {
			return nil, err
		}
		parts = append(parts, content)
		parsed, err := parseAuthorities(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		loaded.authorities = append(loaded.authorities, authorityFile{path, parsed})
		for _, authority := range parsed {
			loaded.pool.AddCert(authority)
		}
	}
	loaded.digest = digestOf(parts)
	if before := r.current.Load(); before != nil && before.digest == loaded.digest {
		return before, nil
	}
	if loaded.pair, err = tls.X509KeyPair(certificate, key); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", r.files.Certificate, r.files.Key, err)
	}
	if err := r.check(loaded); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", r.files.Certificate, err)
	}
	return loaded, nil
}

func digestOf(parts [][]byte) [sha256.Size]byte {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:", len(part))
		hash.Write(part)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

func parseAuthorities(content []byte) ([]*x509.Certificate, error) {
	var parsed []*x509.Certificate
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d of the file: %w", len(parsed)+1, err)
		}
		parsed = append(parsed, certificate)
	}
	if len(parsed) == 0 {
		return nil, errors.New("holds no certificate in PEM form")
	}
	return parsed, nil
}

// check refuses at once what the other side would refuse in every handshake.
func (r *Reloader) check(loaded *material) error {
	leaf, now := loaded.pair.Leaf, r.now()
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("expired at %s; issue a new one with `jeton certs`", leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("is not valid before %s; is this machine's clock right?", leaf.NotBefore.Format(time.RFC3339))
	case r.identity == Identity{}:
		return nil
	}
	return errors.Join(r.checkIdentity(leaf), loaded.verifyForPeers(now))
}

func (r *Reloader) checkIdentity(leaf *x509.Certificate) error {
	switch identity, ok := IdentityOf(leaf); {
	case !ok:
		return fmt.Errorf("carries no node identity, but this node is %s; issue one with `jeton certs --node %s=HOST`",
			r.identity, r.identity.Node)
	case identity != r.identity:
		return fmt.Errorf("is that of %s, but this node is %s; issue one with `jeton certs --node %s=HOST`, "+
			"or correct cluster.name and node.name", identity, r.identity, r.identity.Node)
	}
	return nil
}

// verifyForPeers checks the chain as both ends of a connection will.
func (m *material) verifyForPeers(now time.Time) error {
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := m.verify(usage, now); err != nil {
			return fmt.Errorf("would be refused by the other nodes, who trust certificate_authorities: %w", err)
		}
	}
	return nil
}

// verify checks the chain as somebody does who trusts the authorities.
func (m *material) verify(usage x509.ExtKeyUsage, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, der := range m.pair.Certificate[1:] {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse the chain: %w", err)
		}
		intermediates.AddCert(certificate)
	}
	_, err := m.pair.Leaf.Verify(x509.VerifyOptions{
		Roots: m.pool, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err //nolint:wrapcheck // the callers know for whom
}

// TransportServer returns the configuration for accepting peers: TLS 1.3 only, and
// a certificate of the transport authority is required. Protocols (ALPN) and the
// check of the peer's [Identity] are the caller's, to be added to what
// GetConfigForClient returns.
func (r *Reloader) TransportServer() *tls.Config {
	config := r.transportServer()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return r.transportServer(), nil
	}
	return config
}

func (r *Reloader) transportServer() *tls.Config {
	config := r.transport()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = r.current.Load().pool
	return config
}

// TransportClient returns the configuration for one dial of a peer; ask for a new
// one for each, since it holds what is in use now. It names no server, so that no
// handshake succeeds with it as it is: a peer's host name means nothing, and the
// caller must verify the chain against RootCAs and the peer's [Identity].
func (r *Reloader) TransportClient() *tls.Config {
	config := r.transport()
	config.RootCAs = r.current.Load().pool
	return config
}

func (r *Reloader) transport() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{r.current.Load().pair},
		MinVersion:   tls.VersionTLS13,
		Time:         r.now,
		// A resumed session would trust what was verified before a change of authorities.
		SessionTicketsDisabled: true,
	}
}

// HTTPServer returns the configuration for HTTPS: TLS 1.2 or newer, HTTP/2 or 1.1,
// no client certificates.
func (r *Reloader) HTTPServer() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &r.current.Load().pair, nil
		},
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		Time:       r.now,
	}
}

// Summary says until when the certificate in use is valid, and how many authorities are
// trusted or, of HTTPS, are said to be those that clients trust.
func (r *Reloader) Summary() string {
	current, authorities := r.current.Load(), 0
	for _, file := range current.authorities {
		authorities += len(file.certificates)
	}
	text := "until " + current.pair.Leaf.NotAfter.Format(time.DateOnly)
	switch authorities {
	case 0:
		return text
	case 1:
		return text + ", 1 authority"
	default:
		return fmt.Sprintf("%s, %d authorities", text, authorities)
	}
}

// Warnings returns a sentence for each certificate in use, authorities included, that
// ends within the given time or has ended, and one if clients who trust the authorities
// of an HTTP context would refuse its certificate.
func (r *Reloader) Warnings(within time.Duration) []string {
	var warnings []string
	limit := r.now().Add(within)
	warn := func(path string, certificate *x509.Certificate, remedy string) {
		if certificate.NotAfter.Before(limit) {
			warnings = append(warnings, fmt.Sprintf("certificate %s (%s) ends at %s; %s",
				path, certificate.Subject, certificate.NotAfter.Format(time.RFC3339), remedy))
		}
	}
	current := r.current.Load()
	warn(r.files.Certificate, current.pair.Leaf, "issue a new one with `jeton certs`")
	for _, file := range current.authorities {
		for _, authority := range file.certificates {
			warn(file.path, authority, "add a new authority to the file before, on every node")
		}
	}
	if http := r.identity == (Identity{}); http && len(current.authorities) > 0 {
		if err := current.verify(x509.ExtKeyUsageServerAuth, r.now()); err != nil {
			warnings = append(warnings, fmt.Sprintf("certificate %s would be refused by clients who trust certificate_authorities: %v", r.files.Certificate, err))
		}
	}
	return warnings
}
