package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jeton/node/certs"
)

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

func TestWarningsOfTheEnd(t *testing.T) {
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
			got := r.Warnings(30 * day)
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

// Who gives clients the authority that the settings name has given them the right one,
// or is told.
func TestWarningOfAnHTTPSCertificateThatClientsRefuse(t *testing.T) {
	folder, other := newFolder(t), newFolder(t)
	issue(t, folder, requestFor("a"))
	for name, test := range map[string]struct {
		authorities []string
		warned      bool
	}{
		"none":            {nil, false},
		"its own":         {[]string{folder.HTTPCA().Certificate}, false},
		"among others":    {[]string{other.HTTPCA().Certificate, folder.HTTPCA().Certificate}, false},
		"another cluster": {[]string{other.HTTPCA().Certificate}, true},
		"the transport's": {[]string{folder.TransportCA().Certificate}, true},
	} {
		t.Run(name, func(t *testing.T) {
			files := folder.NodeHTTP("a")
			files.CertificateAuthorities = test.authorities
			r, err := certs.NewHTTP(files, newClock().now)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.Warnings(day), "\n")
			if warned := strings.Contains(got, "would be refused by clients who trust certificate_authorities"); warned != test.warned || !warned && got != "" {
				t.Errorf("warnings: %s", got)
			}
		})
	}
}

// While an authority is replaced, a file holds both.
func TestSummary(t *testing.T) {
	folder, other := newFolder(t), newFolder(t)
	issue(t, folder, requestFor("a"))
	for want, authorities := range map[string][]string{
		"until 2026-05-30":                {},
		"until 2026-05-30, 1 authority":   {folder.HTTPCA().Certificate},
		"until 2026-05-30, 2 authorities": {folder.HTTPCA().Certificate, other.HTTPCA().Certificate},
	} {
		files := folder.NodeHTTP("a")
		files.CertificateAuthorities = authorities
		r, err := certs.NewHTTP(files, newClock().now)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
