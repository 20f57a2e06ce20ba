package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"jeton/node/certs"
)

// byHand is a cluster as an operator sets it up on three machines, with `jeton
// certs` and `jeton server`.
type byHand struct {
	*e2eCluster
	folder   string
	settings []map[string]string // of each node
	servers  []*tiedProcess
}

const byHandCluster = "by-hand"

// startByHand makes three machines and starts their nodes.
func startByHand(t *testing.T) *byHand {
	t.Helper()
	b := newByHand(t)
	bringBack(t, b.nodes...)
	return b
}

// newByHand makes three machines: folders with a settings file and the
// certificates that the node needs.
func newByHand(t *testing.T) *byHand {
	t.Helper()
	needE2E(t)
	const password = "chosen-by-the-operator"
	b := &byHand{
		e2eCluster: &e2eCluster{password: password, elastic: basic("elastic", password)},
		folder:     t.TempDir(), servers: make([]*tiedProcess, 3),
	}
	said := b.makeCertificates(t, "certs")
	b.cacert = filepath.Join(b.folder, "certs", "http-ca.crt")
	client := trusting(t, b.cacert)
	var seeds []string
	for i := range b.servers {
		name, transport, http := fmt.Sprintf("n%d", i+1), freePort(t), freePort(t)
		seeds = append(seeds, "127.0.0.1:"+transport)
		settings := saidSettings(said, name)
		maps.Copy(settings, map[string]string{
			"path.data": "data", "http.port": http, "transport.port": transport, "shutdown.delay": "0s",
			"bootstrap.password_file": "password", "cluster.initial_master_nodes": "[n1, n2, n3]",
		})
		b.settings = append(b.settings, settings)
		b.install(t, "certs", i)
		must(t, os.WriteFile(b.path(i, "password"), []byte(password), 0o600))
		n := &e2eNode{Name: name, URL: "https://127.0.0.1:" + http, Log: b.path(i, "log"), Data: b.path(i, "data"), client: client}
		n.launch = func(ctx context.Context) (int, error) { return b.launch(ctx, t, i) }
		b.nodes = append(b.nodes, n)
	}
	for i := range b.settings {
		b.settings[i]["discovery.seed_hosts"] = "[" + strings.Join(seeds, ", ") + "]"
	}
	t.Cleanup(func() { b.tellLogs(t) })
	return b
}

// path is where a file of node i lies.
func (b *byHand) path(i int, name string) string {
	return filepath.Join(b.folder, fmt.Sprintf("machine-%d", i+1), name)
}

// makeCertificates runs `jeton certs` and returns what it says.
func (b *byHand) makeCertificates(t *testing.T, folder string) string {
	t.Helper()
	out, err := exec.Command("jeton", "certs", "--out", filepath.Join(b.folder, folder), "--cluster-name", byHandCluster,
		"--node", "n1=127.0.0.1", "--node", "n2=127.0.0.1", "--node", "n3=127.0.0.1").CombinedOutput()
	if err != nil {
		t.Fatalf("jeton certs: %v\n%s", err, out)
	}
	return string(out)
}

// saidSettings are the settings that `jeton certs` says a node needs, for the node
// with the given name.
func saidSettings(said, node string) map[string]string {
	settings := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^  ([a-z_.]+): (.*)$`).FindAllStringSubmatch(said, -1) {
		settings[line[1]] = regexp.MustCompile(`\bn1\b`).ReplaceAllString(line[2], node)
	}
	return settings
}

// install copies to node i what it needs of the certificates in a folder.
func (b *byHand) install(t *testing.T, folder string, i int) {
	t.Helper()
	target := b.path(i, "certs")
	must(t, os.MkdirAll(target, 0o700))
	must(t, os.CopyFS(filepath.Join(target, b.nodeName(i)), os.DirFS(filepath.Join(b.folder, folder, b.nodeName(i)))))
	for _, name := range []string{"transport-ca.crt", "http-ca.crt", "cluster.key"} {
		b.replace(t, i, name, b.read(t, folder, name))
	}
	must(t, filepath.WalkDir(target, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	}))
}

func (*byHand) nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

func (b *byHand) read(t *testing.T, folder, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(b.folder, folder, name))
	must(t, err)
	return content
}

// replace puts a file among the certificates of node i, at once.
func (b *byHand) replace(t *testing.T, i int, name string, content []byte) {
	t.Helper()
	path := b.path(i, filepath.Join("certs", name))
	must(t, os.WriteFile(path+".new", content, 0o600))
	must(t, os.Rename(path+".new", path))
}

// launch runs `jeton server` for node i and returns when it is ready.
func (b *byHand) launch(ctx context.Context, t *testing.T, i int) (pid int, err error) {
	t.Helper()
	var file bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(b.settings[i])) {
		fmt.Fprintf(&file, "%s: %s\n", name, b.settings[i][name])
	}
	config := b.path(i, "jeton.yml")
	if err := os.WriteFile(config, file.Bytes(), 0o600); err != nil {
		return 0, err
	}
	b.servers[i] = startTied(t, exec.Command("jeton", "server", "--config", config), b.nodes[i].Log)
	for ready := false; !ready; time.Sleep(e2eInterval) {
		answer, err := b.nodes[i].askTraced(ctx, http.MethodGet, "/readyz", "", "")
		ready = err == nil && answer.status == http.StatusOK
		if ctx.Err() != nil || !b.servers[i].running() {
			return 0, fmt.Errorf("%s is not ready: %v, %w\n%s", b.nodes[i].Name, answer, err, b.servers[i].output())
		}
	}
	written, err := os.ReadFile(b.nodes[i].Log + ".pid")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(written)))
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

// A cluster by hand: a node comes back at another address, peers without the right
// certificate are refused, and all certificates are replaced while it runs.
func TestE2EByHand(t *testing.T) {
	b := startByHand(t)
	t.Run("a node moves", b.moves)
	t.Run("strangers are refused", b.refusesStrangers)
	t.Run("certificates are replaced", b.rotates)
}

// moves gives a node another transport port, and then lets the cluster depend on
// it. Nobody else's settings change.
func (b *byHand) moves(t *testing.T) {
	client := &e2eClient{nodes: b.nodes}
	load := startLoad(b.e2eCluster, 4, client.anywhere)
	mover, killed := b.nodes[1], b.nodes[0]
	mover.kill(t)
	b.settings[1]["transport.port"] = freePort(t)
	bringBack(t, mover)
	load.healthy(t)

	killed.kill(t)
	_, err := mover.token(b.elastic, asPassword("elastic", b.password))
	must(t, err)
	bringBack(t, killed)
	load.stop(t)
	load.verify(t)
}

// refusesStrangers knocks at the transport port with certificates that are not
// a node's of this cluster.
func (b *byHand) refusesStrangers(t *testing.T) {
	folder := certs.Folder{Path: filepath.Join(b.folder, "certs"), Now: time.Now}
	authority := func(files certs.Files) *certs.Authority {
		a, err := certs.LoadAuthority(files.Certificate, files.Key)
		must(t, err)
		return a
	}
	transport, web := authority(folder.TransportCA()), authority(folder.HTTPCA())
	identity := func(cluster string) certs.Identity { return certs.Identity{Cluster: cluster, Node: "n1"} }
	hosts := []string{"127.0.0.1"}
	for name, issue := range map[string]func() (certs.Pair, error){
		"": func() (certs.Pair, error) { // the control: a node is welcome
			return transport.IssueNode(identity(byHandCluster), hosts, time.Now(), time.Hour)
		},
		"a node's name, signed by the HTTP authority": func() (certs.Pair, error) {
			return web.IssueNode(identity(byHandCluster), hosts, time.Now(), time.Hour)
		},
		"no node's role, signed by the transport authority": func() (certs.Pair, error) {
			return transport.IssueHTTP(hosts, time.Now(), time.Hour)
		},
		"another cluster's node": func() (certs.Pair, error) {
			return transport.IssueNode(identity("another"), hosts, time.Now(), time.Hour)
		},
		"expired": func() (certs.Pair, error) {
			return transport.IssueNode(identity(byHandCluster), hosts, time.Now().Add(-48*time.Hour), time.Hour)
		},
	} {
		pair, err := issue()
		must(t, err)
		certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
		must(t, err)
		b.knocks(t, name, &certificate)
	}
	b.knocks(t, "no certificate", nil)
}

func (b *byHand) knocks(t *testing.T, stranger string, certificate *tls.Certificate) {
	t.Helper()
	for i, n := range b.nodes {
		for _, protocol := range []string{"raft/1", "rpc/1"} {
			err := b.knock(i, protocol, certificate)
			if welcome := err == nil; welcome != (stranger == "") {
				t.Errorf("%s, %s: %q: %v", n.Name, protocol, stranger, err)
			}
		}
	}
}

// knock returns nil when the node greets us.
func (b *byHand) knock(i int, protocol string, certificate *tls.Certificate) error {
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	conn, err := tls.Dial("tcp", "127.0.0.1:"+b.settings[i]["transport.port"], config)
	if err != nil {
		return err
	}
	defer conn.Close()
	// With TLS 1.3 a client learns only by reading that its certificate was refused.
	if err := conn.SetReadDeadline(time.Now().Add(e2ePatience)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// rotates replaces authorities and certificates, in the order in which nobody is
// locked out, under load and without a restart.
func (b *byHand) rotates(t *testing.T) {
	b.makeCertificates(t, "renewed")
	both := func(name string) []byte { return slices.Concat(b.read(t, "certs", name), b.read(t, "renewed", name)) }
	must(t, os.WriteFile(filepath.Join(b.folder, "both.crt"), both("http-ca.crt"), 0o600))
	client := trusting(t, filepath.Join(b.folder, "both.crt"))
	keeping := client.Transport.(*http.Transport)
	forgetting := keeping.Clone()
	forgetting.DisableKeepAlives = true // every request meets the certificate
	client.Transport = forgetting
	for _, n := range b.nodes {
		n.client = client
	}
	load := startLoad(b.e2eCluster, 4, (&e2eClient{nodes: b.nodes}).anywhere)

	b.everywhere(t, false, func(i int) { // which they notice by themselves
		for _, name := range []string{"transport-ca.crt", "http-ca.crt"} {
			b.replace(t, i, name, both(name))
		}
	})
	b.everywhere(t, true, func(i int) {
		for _, name := range []string{"transport.crt", "transport.key", "http.crt", "http.key"} {
			name = filepath.Join(b.nodeName(i), name)
			b.replace(t, i, name, b.read(t, "renewed", name))
		}
	})
	b.everywhere(t, true, func(i int) {
		for _, name := range []string{"transport-ca.crt", "http-ca.crt"} {
			b.replace(t, i, name, b.read(t, "renewed", name))
		}
	})
	load.stop(t)
	client.Transport = keeping
	load.verify(t)

	old, err := tls.LoadX509KeyPair(filepath.Join(b.folder, "certs", "n1", "transport.crt"), filepath.Join(b.folder, "certs", "n1", "transport.key"))
	must(t, err)
	b.knocks(t, "a node's former certificate", &old)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.read(t, "renewed", "http-ca.crt"))
	for _, n := range b.nodes {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(n.URL, "https://"), &tls.Config{RootCAs: roots})
		must(t, err)
		must(t, conn.Close())
	}
	// And the peers, too, show what is new.
	for i := range b.nodes {
		if issuer := b.peerIssuer(t, i); !bytes.Equal(issuer, authorityOf(t, b.read(t, "renewed", "transport-ca.crt"))) {
			t.Errorf("%s shows its peers a certificate of another authority", b.nodes[i].Name)
		}
	}
}

// everywhere replaces files of every node, perhaps says so with SIGHUP, and
// returns when every node has read them.
func (b *byHand) everywhere(t *testing.T, hangUp bool, replace func(i int)) {
	t.Helper()
	sizes := make([]int, len(b.nodes))
	for i, n := range b.nodes {
		sizes[i] = n.logSize(t)
		replace(i)
		if hangUp {
			n.signal(t, syscall.SIGHUP)
		}
	}
	for i, n := range b.nodes {
		// In one line or in two: it may look between one file and the next.
		n.logged(t, sizes[i], `certificates reloaded: .*transport="until`)
		n.logged(t, sizes[i], `certificates reloaded: .*http="until`)
	}
}

// peerIssuer is the key id of the authority of the certificate that node i shows
// on the transport port.
func (b *byHand) peerIssuer(t *testing.T, i int) []byte {
	t.Helper()
	var issuer []byte
	config := &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"rpc/1"},
		VerifyConnection: func(state tls.ConnectionState) error {
			issuer = state.PeerCertificates[0].AuthorityKeyId
			return nil
		},
	}
	conn, err := tls.Dial("tcp", "127.0.0.1:"+b.settings[i]["transport.port"], config)
	if err == nil {
		err = conn.Close()
	}
	must(t, err)
	return issuer
}

func authorityOf(t *testing.T, encoded []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(encoded)
	certificate, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return certificate.SubjectKeyId
}
