package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jeton/node/certs"
)

func urls(t *testing.T, texts []string) []*url.URL {
	t.Helper()
	var parsed []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, u)
	}
	return parsed
}

// manualClock is a clock that the test turns.
type manualClock struct{ nanos atomic.Int64 }

func newClock() *manualClock {
	c := &manualClock{}
	c.set(start)
	return c
}

func (c *manualClock) set(to time.Time) { c.nanos.Store(to.UnixNano()) }

func (c *manualClock) now() time.Time { return time.Unix(0, c.nanos.Load()).UTC() }

func openTransport(t *testing.T, files certs.Files, node string, now func() time.Time) *certs.Reloader {
	t.Helper()
	r, err := certs.NewTransport(files, certs.Identity{Cluster: "jeton", Node: node}, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dialling adds to a client configuration what package cluster does: the chain is
// verified, the host name is not.
func dialling(config *tls.Config) *tls.Config {
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: config.RootCAs, CurrentTime: config.Time(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	return config
}

// handshake connects the two ends and returns the certificate that the client saw.
func handshake(server, client *tls.Config) (seen *x509.Certificate, err error) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	answered := make(chan error, 1)
	go func() {
		end := tls.Server(far, server)
		err := end.Handshake()
		if err == nil {
			_, err = end.Write([]byte("y")) // TLS 1.3: only now the client knows that it was accepted
		} else {
			far.Close()
		}
		answered <- err
	}()
	end := tls.Client(near, client)
	err = end.Handshake()
	if err == nil {
		_, err = end.Read(make([]byte, 1))
	}
	near.Close()
	err = errors.Join(err, <-answered)
	if err != nil {
		return nil, err
	}
	return end.ConnectionState().PeerCertificates[0], nil
}

func TestPeersOfOneAuthorityConnect(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	issue(t, folder, requestFor("b"))
	a := openTransport(t, folder.NodeTransport("a"), "a", folder.Now)
	b := openTransport(t, folder.NodeTransport("b"), "b", folder.Now)
	seen, err := handshake(a.TransportServer(), dialling(b.TransportClient()))
	if err != nil {
		t.Fatal(err)
	}
	if identity, ok := certs.IdentityOf(seen); !ok || identity.Node != "a" {
		t.Errorf("the peer is %v", identity)
	}
}

func TestTransportRefuses(t *testing.T) {
	ours, theirs := newFolder(t), newFolder(t)
	for _, folder := range []certs.Folder{ours, theirs} {
		issue(t, folder, requestFor("a"))
	}
	clock := newClock()
	server := openTransport(t, ours.NodeTransport("a"), "a", clock.now)
	own := openTransport(t, ours.NodeTransport("a"), "a", ours.Now)
	stranger := openTransport(t, theirs.NodeTransport("a"), "a", theirs.Now)
	trusting := own.TransportClient().RootCAs

	withCertificate := func(files certs.Files) *tls.Config {
		pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
		if err != nil {
			t.Fatal(err)
		}
		config := own.TransportClient()
		config.Certificates = []tls.Certificate{pair}
		return config
	}
	foreign := stranger.TransportClient()
	foreign.RootCAs = trusting
	anonymous := own.TransportClient()
	anonymous.Certificates = nil
	old := own.TransportClient()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for name, test := range map[string]struct {
		client *tls.Config
		at     time.Time
	}{
		"a node of another authority":      {foreign, start},
		"no certificate":                   {anonymous, start},
		"a certificate of the HTTP layer":  {withCertificate(ours.NodeHTTP("a")), start},
		"TLS 1.2":                          {old, start},
		"an expired certificate":           {own.TransportClient(), start.Add(91 * day)},
		"a certificate that is not yet on": {own.TransportClient(), start.Add(-2 * day)},
	} {
		t.Run(name, func(t *testing.T) {
			clock.set(test.at)
			if _, err := handshake(server.TransportServer(), dialling(test.client)); err == nil {
				t.Error("accepted")
			}
		})
	}
	clock.set(start)
	if _, err := handshake(stranger.TransportServer(), dialling(own.TransportClient())); err == nil {
		t.Error("a client accepted the node of another authority")
	}
	if _, err := handshake(server.TransportServer(), own.TransportClient()); err == nil {
		t.Error("a client configuration that verifies nothing yet was usable")
	}
}

func TestNewTransportRefusesWhatPeersWould(t *testing.T) {
	folder, other := newFolder(t), newFolder(t)
	issue(t, folder, requestFor("a"))
	files := folder.NodeTransport("a")
	with := func(change func(*certs.Files)) certs.Files {
		changed := files
		change(&changed)
		return changed
	}
	empty := filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		files    certs.Files
		identity certs.Identity
		at       time.Time
		problem  string
	}{
		"another node": {
			files,
			certs.Identity{Cluster: "jeton", Node: "b"},
			start,
			"is that of jeton://jeton/node/a, but this node is jeton://jeton/node/b; issue one with `jeton certs --node b=HOST`",
		},
		"another cluster": {files, certs.Identity{Cluster: "other", Node: "a"}, start, "this node is jeton://other/node/a"},
		"no identity": {
			with(func(f *certs.Files) {
				f.Certificate, f.Key = folder.NodeHTTP("a").Certificate, folder.NodeHTTP("a").Key
			}),
			certs.Identity{Cluster: "jeton", Node: "a"},
			start, "carries no node identity",
		},
		"another authority": {
			with(func(f *certs.Files) { f.CertificateAuthorities = []string{other.TransportCA().Certificate} }),
			certs.Identity{Cluster: "jeton", Node: "a"},
			start, "would be refused by the other nodes",
		},
		"no authority": {
			with(func(f *certs.Files) { f.CertificateAuthorities = nil }),
			certs.Identity{Cluster: "jeton", Node: "a"},
			start, "would be refused by the other nodes",
		},
		"an empty authority file": {
			with(func(f *certs.Files) { f.CertificateAuthorities = []string{empty} }),
			certs.Identity{Cluster: "jeton", Node: "a"},
			start, "holds no certificate",
		},
		"another key": {
			with(func(f *certs.Files) { f.Key = folder.NodeHTTP("a").Key }),
			certs.Identity{Cluster: "jeton", Node: "a"},
			start, "private key does not match",
		},
		"expired":     {files, certs.Identity{Cluster: "jeton", Node: "a"}, start.Add(91 * day), "expired at 2026-05-30T12:00:00Z"},
		"not yet on":  {files, certs.Identity{Cluster: "jeton", Node: "a"}, start.Add(-day), "is not valid before"},
		"a bad name":  {files, certs.Identity{Cluster: "jeton", Node: "a b"}, start, "node name"},
		"a lost file": {with(func(f *certs.Files) { f.Key += ".old" }), certs.Identity{Cluster: "jeton", Node: "a"}, start, "transport.key.old"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := certs.NewTransport(test.files, test.identity, func() time.Time { return test.at })
			if err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error %v, want one with %q", err, test.problem)
			}
		})
	}
}

func TestPrivateKeyOthersCanReadIsRefused(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	files := folder.NodeHTTP("a")
	if err := os.Chmod(files.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := certs.NewHTTP(files, folder.Now)
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("error %v, want one that tells the remedy", err)
	}
}
