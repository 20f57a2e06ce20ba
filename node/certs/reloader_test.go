package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
			files, certs.Identity{Cluster: "jeton", Node: "b"}, start,
			"is that of jeton://jeton/node/a, but this node is jeton://jeton/node/b; issue one with `jeton certs --node b=HOST`",
		},
		"another cluster": {files, certs.Identity{Cluster: "other", Node: "a"}, start, "this node is jeton://other/node/a"},
		"no identity": {
			with(func(f *certs.Files) {
				f.Certificate, f.Key = folder.NodeHTTP("a").Certificate, folder.NodeHTTP("a").Key
			}),
			certs.Identity{Cluster: "jeton", Node: "a"}, start, "carries no node identity",
		},
		"another authority": {
			with(func(f *certs.Files) { f.CertificateAuthorities = []string{other.TransportCA().Certificate} }),
			certs.Identity{Cluster: "jeton", Node: "a"}, start, "would be refused by the other nodes",
		},
		"no authority": {
			with(func(f *certs.Files) { f.CertificateAuthorities = nil }),
			certs.Identity{Cluster: "jeton", Node: "a"}, start, "would be refused by the other nodes",
		},
		"an empty authority file": {
			with(func(f *certs.Files) { f.CertificateAuthorities = []string{empty} }),
			certs.Identity{Cluster: "jeton", Node: "a"}, start, "holds no certificate",
		},
		"another key": {
			with(func(f *certs.Files) { f.Key = folder.NodeHTTP("a").Key }),
			certs.Identity{Cluster: "jeton", Node: "a"}, start, "private key does not match",
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

func TestRotationWhileHandshakesRun(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	issue(t, folder, requestFor("b"))
	server := openTransport(t, folder.NodeTransport("a"), "a", folder.Now)
	client := openTransport(t, folder.NodeTransport("b"), "b", folder.Now)
	first, err := handshake(server.TransportServer(), dialling(client.TransportClient()))
	if err != nil {
		t.Fatal(err)
	}

	listening := server.TransportServer() // made once, before the rotation, as a listener has it
	rotated := make(chan struct{})
	var peers sync.WaitGroup
	for range 4 {
		peers.Go(func() {
			for done := false; !done; {
				select {
				case <-rotated:
					done = true // once more, afterwards
				default:
				}
				seen, err := handshake(listening, dialling(client.TransportClient()))
				if err != nil {
					t.Error(err)
					return
				}
				if done && seen.Equal(first) {
					t.Error("the old certificate is still presented")
				}
			}
		})
	}
	for range 3 {
		renewal := requestFor("a")
		renewal.Replace = true
		issue(t, folder, renewal)
		if changed, err := server.Poll(); !changed || err != nil {
			t.Errorf("Poll after the renewal = %v, %v", changed, err)
		}
	}
	close(rotated)
	peers.Wait()
}

func TestAuthorityRotationThroughABundle(t *testing.T) {
	before, after := newFolder(t), newFolder(t)
	issue(t, before, requestFor("a"))
	issue(t, after, requestFor("b"))
	bundle := filepath.Join(t.TempDir(), "transport-ca.crt")
	trust := func(folders ...certs.Folder) {
		var all []byte
		for _, folder := range folders {
			all = append(all, content(t, folder.TransportCA().Certificate)...)
		}
		if err := os.WriteFile(bundle, all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust(before)
	files := before.NodeTransport("a")
	files.CertificateAuthorities = []string{bundle}
	server := openTransport(t, files, "a", before.Now)
	listening := server.TransportServer()
	newcomer := openTransport(t, after.NodeTransport("b"), "b", after.Now).TransportClient()
	newcomer.RootCAs = server.TransportClient().RootCAs

	if _, err := handshake(listening, dialling(newcomer)); err == nil {
		t.Fatal("the new authority is trusted too early")
	}
	trust(before, after)
	if changed, err := server.Poll(); !changed || err != nil {
		t.Fatalf("Poll = %v, %v", changed, err)
	}
	if _, err := handshake(listening, dialling(newcomer)); err != nil {
		t.Errorf("the new authority is not trusted: %v", err)
	}
	trust(after) // while our own certificate is still of the old authority
	if changed, err := server.Poll(); changed || err == nil {
		t.Errorf("Poll = %v, %v; want the refusal to lock ourselves out", changed, err)
	}
}

func TestPollKeepsWhatWorksAndReportsOnce(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	files := folder.NodeTransport("a")
	good := content(t, files.Certificate)
	r := openTransport(t, files, "a", folder.Now)
	poll := func(wantChanged bool, wantProblem string) {
		t.Helper()
		changed, err := r.Poll()
		if changed != wantChanged {
			t.Errorf("changed = %v, want %v", changed, wantChanged)
		}
		if (err == nil) != (wantProblem == "") || err != nil && !strings.Contains(err.Error(), wantProblem) {
			t.Errorf("error %v, want %q", err, wantProblem)
		}
		if _, err := handshake(r.TransportServer(), dialling(r.TransportClient())); err != nil {
			t.Errorf("what worked is gone: %v", err)
		}
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(files.Certificate, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	poll(false, "")
	write([]byte("nonsense"))
	poll(false, "keep the certificate")
	poll(false, "")
	if err := os.Remove(files.Certificate); err != nil {
		t.Fatal(err)
	}
	poll(false, "no such file")
	poll(false, "")
	write(good)
	poll(false, "") // as before: no change
	write([]byte("nonsense"))
	poll(false, "keep the certificate") // reported again: it was good in between
	if err := os.Remove(files.Certificate); err != nil {
		t.Fatal(err)
	}
	renewal := requestFor("a")
	renewal.Replace = true
	issue(t, folder, renewal)
	poll(true, "")
	poll(false, "")
}

func TestPollDoesNotTakeOverAnotherNodesCertificate(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	issue(t, folder, requestFor("b"))
	a, b := folder.NodeTransport("a"), folder.NodeTransport("b")
	r := openTransport(t, a, "a", folder.Now)
	if err := errors.Join(os.Rename(b.Key, a.Key), os.Rename(b.Certificate, a.Certificate)); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Poll(); changed || err == nil {
		t.Errorf("Poll = %v, %v", changed, err)
	}
}

// Kubernetes mounts a secret as symbolic links through a folder that is itself a
// link and is swapped as a whole.
func TestPollFollowsSwappedLinks(t *testing.T) {
	folder, mount := newFolder(t), t.TempDir()
	issue(t, folder, requestFor("a"))
	publish := func(version string) {
		t.Helper()
		target, link := filepath.Join(mount, version), filepath.Join(mount, "..new")
		err := errors.Join(
			os.Mkdir(target, 0o700),
			os.WriteFile(filepath.Join(target, "tls.crt"), content(t, folder.NodeHTTP("a").Certificate), 0o600),
			os.WriteFile(filepath.Join(target, "tls.key"), content(t, folder.NodeHTTP("a").Key), 0o600),
			os.Symlink(version, link),
			os.Rename(link, filepath.Join(mount, "..data")),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	publish("v1")
	files := certs.Files{Certificate: filepath.Join(mount, "tls.crt"), Key: filepath.Join(mount, "tls.key")}
	if err := errors.Join(os.Symlink("..data/tls.crt", files.Certificate), os.Symlink("..data/tls.key", files.Key)); err != nil {
		t.Fatal(err)
	}
	r, err := certs.NewHTTP(files, folder.Now)
	if err != nil {
		t.Fatal(err)
	}
	renewal := requestFor("a")
	renewal.Replace = true
	issue(t, folder, renewal)
	publish("v2")
	if changed, err := r.Poll(); !changed || err != nil {
		t.Errorf("Poll = %v, %v", changed, err)
	}
}

func TestHTTPServerFollowsRotationAndNeedsNoClientCertificate(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	r, err := certs.NewHTTP(folder.NodeHTTP("a"), folder.Now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(content(t, folder.HTTPCA().Certificate))
	client := func(version uint16) *tls.Config {
		return &tls.Config{RootCAs: pool, ServerName: "localhost", Time: folder.Now, MinVersion: version, MaxVersion: version}
	}
	listening := r.HTTPServer()
	first, err := handshake(listening, client(tls.VersionTLS13))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(listening, client(tls.VersionTLS12)); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	if _, err := handshake(listening, client(tls.VersionTLS11)); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	renewal := requestFor("a")
	renewal.Replace = true
	issue(t, folder, renewal)
	if changed, err := r.Poll(); !changed || err != nil {
		t.Fatalf("Poll = %v, %v", changed, err)
	}
	second, err := handshake(listening, client(tls.VersionTLS13))
	if err != nil || second.Equal(first) {
		t.Errorf("after the rotation: same certificate %v, error %v", second.Equal(first), err)
	}
	if want := []string{"h2", "http/1.1"}; !slices.Equal(listening.NextProtos, want) {
		t.Errorf("NextProtos = %v, want %v", listening.NextProtos, want)
	}
}

func TestExpiring(t *testing.T) {
	folder := newFolder(t)
	issue(t, folder, requestFor("a"))
	clock := newClock()
	r := openTransport(t, folder.NodeTransport("a"), "a", clock.now)
	for name, test := range map[string]struct {
		at   time.Time
		want []string // parts of the warnings
	}{
		"fresh":           {start, nil},
		"31 days before":  {start.Add(59 * day), nil},
		"29 days before":  {start.Add(61 * day), []string{"transport.crt"}},
		"after":           {start.Add(91 * day), []string{"transport.crt"}},
		"authority's end": {start.Add(10*year - day), []string{"transport.crt", "transport-ca.crt"}},
	} {
		t.Run(name, func(t *testing.T) {
			clock.set(test.at)
			got := r.Expiring(30 * day)
			if len(got) != len(test.want) {
				t.Fatalf("warnings %q, want %d", got, len(test.want))
			}
			for i, part := range test.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("warning %q, want one with %q", got[i], part)
				}
			}
		})
	}
}
