package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"jeton/node/certs"
)

const (
	// probePatience bounds one look at what a node shows.
	probePatience = time.Second
	// peerProtocol is what nodes ask each other by (ALPN): who accepts a connection speaks first.
	peerProtocol = "rpc/1"
)

// change is one replacement of both authorities.
type change struct {
	*trial
	hangUp     bool             // nodes are told by SIGHUP, or notice by themselves
	old, fresh string           // folders
	before     *x509.CertPool   // what clients trusted before
	former     *tls.Certificate // a node's for its peers
	refused    int
}

// rotateAuthority replaces both authorities in the background; undo waits for its end.
func rotateAuthority(ctx context.Context, t *trial) func(context.Context) {
	c := &change{trial: t, hangUp: t.rand.IntN(4) > 0}
	t.text = fmt.Sprintf("with SIGHUP: %t", c.hangUp)
	var changing sync.WaitGroup
	changing.Go(func() {
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			t.journal.violate("the authorities cannot be replaced: %v", err)
		}
	})
	return simply(changing.Wait)
}

// run replaces them in the order in which nobody is locked out.
func (c *change) run(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	// Everybody trusts both.
	if err := errors.Join(c.trustBoth(c.old, c.fresh), c.trustBoth(c.fresh, c.old)); err != nil {
		return err
	}
	if err := c.everywhere(ctx, func(s shown) bool { return s.trusts == 2 }); err != nil {
		return fmt.Errorf("both are trusted: %w", err)
	}
	// Everybody shows the new.
	c.issued.Store(&c.fresh)
	issuers, err := c.issuers()
	if err != nil {
		return err
	}
	if err := c.everywhere(ctx, func(s shown) bool { return s.issuers == issuers }); err != nil {
		return fmt.Errorf("the new certificates: %w", err)
	}
	// Nobody trusts the old.
	if err := c.trustOne(c.fresh); err != nil {
		return err
	}
	if err := c.everywhere(ctx, func(s shown) bool { return s.trusts == 1 }); err != nil {
		return fmt.Errorf("the old is not trusted any more: %w", err)
	}
	for _, n := range c.nodes {
		c.mustRefuseFormer(ctx, n)
	}
	return nil
}

// prepare makes the new authorities and certificates, and keeps what was trusted before.
func (c *change) prepare(ctx context.Context) (err error) {
	c.old = c.certificates()
	if c.before, err = c.roots(); err != nil {
		return err
	}
	if c.fresh, err = os.MkdirTemp(c.setup.out, "certs-"); err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	node := certs.Folder{Path: c.old}.NodeTransport(c.nodes[0].name)
	former, err := tls.LoadX509KeyPair(node.Certificate, node.Key)
	if err != nil {
		return fmt.Errorf("read a node's certificate: %w", err)
	}
	c.former = &former
	if err := c.issueCertificates(ctx, c.fresh, c.machines()...); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(c.old, "cluster.key")) // which stays
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	return replaceFile(filepath.Join(c.fresh, "cluster.key"), key)
}

// authorityFiles are the certificates of the authorities in a folder.
func authorityFiles() []string { return []string{"transport-ca.crt", "http-ca.crt"} }

// trustBoth adds another folder's authorities to those of a folder. The folder's own come first.
func (c *change) trustBoth(folder, other string) error {
	for _, name := range authorityFiles() {
		own, err := firstBlock(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		another, err := firstBlock(filepath.Join(other, name))
		if err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(folder, name), append(pem.EncodeToMemory(own), pem.EncodeToMemory(another)...)); err != nil {
			return err
		}
	}
	return nil
}

// trustOne leaves a folder its own authorities only.
func (c *change) trustOne(folder string) error {
	for _, name := range authorityFiles() {
		own, err := firstBlock(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(folder, name), pem.EncodeToMemory(own)); err != nil {
			return err
		}
	}
	return nil
}

func firstBlock(path string) (*pem.Block, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return block, nil
}

// issuers are the keys of the authorities for peers and for clients in the folder that is in use.
func (c *change) issuers() (keys [2]string, err error) {
	for i, name := range authorityFiles() {
		block, err := firstBlock(filepath.Join(c.certificates(), name))
		if err != nil {
			return keys, err
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return keys, fmt.Errorf("parse an authority: %w", err)
		}
		keys[i] = string(authority.SubjectKeyId)
	}
	return keys, nil
}

// everywhere gives clients and nodes what is in the folder that is in use, one node after the other, and returns when
// every node has taken it over: one that starts meanwhile reads it then.
func (c *change) everywhere(ctx context.Context, taken func(shown) bool) error {
	roots, err := c.roots()
	if err != nil {
		return err
	}
	c.admin.trust(roots)
	c.trusting(roots)
	running := map[*node]*process{}
	for _, n := range c.machines() {
		if err := n.install(c.certificates()); err != nil {
			return err
		}
		running[n] = n.running()
		if c.hangUp {
			n.hangUp()
		}
		pause(ctx, lookInterval)
	}
	for n, p := range running {
		if err := n.awaitShown(ctx, p, taken); err != nil {
			return err
		}
	}
	return nil
}

// awaitShown waits until a process that runs shows what it is to show, or has ended.
func (n *node) awaitShown(ctx context.Context, p *process, taken func(shown) bool) error {
	var seen shown
	var err error
	for began := time.Now(); p != nil && time.Since(began) < recoveryBound && pause(ctx, lookInterval); {
		select {
		case <-p.done:
			return nil
		default:
		}
		if seen, err = n.shown(ctx); err == nil && taken(seen) {
			return nil
		}
	}
	if p == nil || ctx.Err() != nil {
		return ctx.Err() //nolint:wrapcheck // the run was ended
	}
	return fmt.Errorf("%s has not taken over its files within %v: %+v, %w", n.name, recoveryBound, seen, err)
}

// shown is what a node presents, and whom it trusts, as anybody can see who connects to it.
type shown struct {
	issuers [2]string // the keys of those who signed what it shows peers, and clients
	trusts  int       // how many authorities it accepts peers of
}

// shown looks at both ports of a node.
func (n *node) shown(ctx context.Context) (s shown, err error) {
	for i, port := range [...]uint16{peerPort, clientPort} {
		look := &tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, //nolint:gosec // whatever it shows is to be seen
			VerifyConnection: func(state tls.ConnectionState) error {
				s.issuers[i] = string(state.PeerCertificates[0].AuthorityKeyId)
				return nil
			},
			GetClientCertificate: func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				s.trusts = len(asked.AcceptableCAs)
				return new(tls.Certificate), nil
			},
		}
		if port == peerPort {
			look.NextProtos = []string{peerProtocol}
		}
		conn, err := n.connect(ctx, port, look)
		if err != nil {
			return s, err
		}
		_ = conn.Close() // nothing was said
	}
	return s, nil
}

// connect completes our side of a handshake with a node.
func (n *node) connect(ctx context.Context, port uint16, config *tls.Config) (net.Conn, error) {
	n.mu.Lock()
	address := n.address
	n.mu.Unlock()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: probePatience}, Config: config}
	return dialer.DialContext(ctx, "tcp4", netip.AddrPortFrom(address, port).String()) //nolint:wrapcheck // names the address
}

// mustRefuseFormer finds out whether a node accepts a peer with a certificate of the former authority, and whether a client
// who trusts the former authority accepts the node. One that gives no answer just now accepts nobody.
func (c *change) mustRefuseFormer(ctx context.Context, n *node) {
	peer := &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, //nolint:gosec // it is not the node that is looked at here
		NextProtos:           []string{peerProtocol},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.former, nil },
	}
	if conn, err := n.connect(ctx, peerPort, peer); err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(probePatience)) // of one that is closed: the read says so
		spoken, err := conn.Read(make([]byte, 1))
		_ = conn.Close()
		switch {
		case spoken > 0:
			c.journal.violate("%s accepts a peer with a certificate of the former authority", n.name)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			c.refused++
		}
	}
	conn, err := n.connect(ctx, clientPort, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.before})
	if err == nil {
		_ = conn.Close()
		c.journal.violate("%s shows clients a certificate of the former authority", n.name)
		return
	}
	if _, refused := errors.AsType[*tls.CertificateVerificationError](err); refused {
		c.refused++
	}
}
