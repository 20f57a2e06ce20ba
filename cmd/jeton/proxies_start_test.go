package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// proxiesFolder holds the configurations that docs/behind-a-proxy.md shows.
const proxiesFolder = "../../scripts/proxies"

// proxiedApplication is an application behind every proxy there is, which lets through
// whom a cluster knows.
type proxiedApplication struct {
	*e2eCluster

	backend *httptest.Server
	proxies []*runningProxy
}

// runningProxy is a proxy in front of the application.
type runningProxy struct {
	name     string
	address  string
	balancer string // address as the cluster's load balancer, of HAProxy
}

// proxyProgram is what is run, and how it is told its configuration.
type proxyProgram struct {
	name, config string
	command      []string // before the configuration's path
}

// trust is what a proxy expects of the nodes' certificates.
type trust struct{ cacert, name string }

var proxyPrograms = []proxyProgram{
	{"nginx", "nginx.conf", []string{"nginx", "-e", "stderr", "-g", "daemon off; pid nginx.pid;", "-p", ".", "-c"}},
	{"Caddy", "Caddyfile", []string{"caddy", "run", "--adapter", "caddyfile", "--config"}},
	{"HAProxy", "haproxy.cfg", []string{"haproxy", "-db", "-f"}},
}

// startProxies starts three nodes, an application, and the proxies between.
func startProxies(t *testing.T) *proxiedApplication {
	t.Helper()
	if os.Getenv("JETON_PROXIES") == "" {
		t.Skip("runs nginx, Caddy and HAProxy in front of three nodes; to run it: JETON_PROXIES=1 (scripts/check.sh proxies)")
	}
	for _, p := range proxyPrograms {
		if _, err := exec.LookPath(p.command[0]); err != nil {
			t.Fatalf("%s is not installed: %v", p.name, err)
		}
	}
	t.Setenv("JETON_E2E", "1")
	a := &proxiedApplication{
		// Proxies need a moment to see that a node stops.
		e2eCluster: startDev(t, cheapHashes+"shutdown.delay: 2s\n"),
		backend:    httptest.NewServer(http.HandlerFunc(echoRequest)),
	}
	t.Cleanup(a.backend.Close)
	for _, program := range proxyPrograms {
		a.proxies = append(a.proxies, a.startProxy(t, program, trust{a.cacert, "localhost"}))
	}
	for _, p := range a.proxies {
		until(t, p.name+" serves", func() error {
			answer, err := p.get("/", "Authorization: "+a.elastic)
			if err == nil && answer.status != http.StatusForbidden { // elastic has another role than is demanded
				err = fmt.Errorf("not yet: %v", answer)
			}
			return err
		})
	}
	return a
}

// echoed is what the application saw.
type echoed struct {
	Method, Target, Body string
	Header               http.Header
}

func echoRequest(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if err := json.NewEncoder(w).Encode(echoed{r.Method, r.RequestURI, string(body), r.Header}); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// startProxy runs a proxy with its configuration, of which nothing but names of places
// is replaced; each must be there.
func (a *proxiedApplication) startProxy(t *testing.T, program proxyProgram, trusted trust) *runningProxy {
	t.Helper()
	folder, application := t.TempDir(), quietPort(t)
	places := [][2]string{
		{"10.0.0.11:9200", strings.TrimPrefix(a.nodes[0].URL, "https://")},
		{"10.0.0.12:9200", strings.TrimPrefix(a.nodes[1].URL, "https://")},
		{"10.0.0.13:9200", strings.TrimPrefix(a.nodes[2].URL, "https://")},
		{"/etc/jeton/http-ca.crt", trusted.cacert},
		{"jeton.example.org", trusted.name},
		{"127.0.0.1:8000", a.backend.Listener.Addr().String()},
	}
	p := &runningProxy{name: program.name, address: application}
	switch program.name {
	case "nginx":
		places = append(places, [2]string{"listen 8080;", "listen " + application + ";"}, [2]string{"http {\n", "http {\n" + nginxFolders()})
	case "Caddy":
		_, port, _ := strings.Cut(application, ":")
		places = append(places, [2]string{"http://:8080 {", "http://:" + port + " {\n\tbind 127.0.0.1"})
	case "HAProxy":
		p.balancer = quietPort(t)
		socket := [2]string{"/run/haproxy/jeton.sock", filepath.Join(folder, "jeton.sock")}
		places = append(places, socket,
			[2]string{"bind :8080", "bind " + application},
			[2]string{"bind :9200", "bind " + p.balancer},
			[2]string{"/etc/haproxy/jeton.pem", a.ownCertificate(t)},
			[2]string{"/etc/haproxy/jeton.lua", place(t, folder, "jeton.lua", socket)})
	}
	command := exec.Command(program.command[0], append(program.command[1:], place(t, folder, program.config, places...))...)
	command.Dir = folder
	command.Env = append(os.Environ(), "HOME="+folder)
	running := startTied(t, command, filepath.Join(folder, "log"))
	running.mortal = true
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s ends with:\n%s", p.name, running.output())
		}
	})
	return p
}

// nginxFolders are where nginx, started by anybody, may write.
func nginxFolders() string {
	var b strings.Builder
	b.WriteString("access_log off;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s;\n", kind, "nginx-"+kind)
	}
	return b.String()
}

// place writes one of the configurations, with other names of places, and returns where.
func place(t *testing.T, folder, config string, places ...[2]string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(proxiesFolder, config))
	must(t, err)
	text := string(content)
	for _, p := range places {
		if !strings.Contains(text, p[0]) {
			t.Fatalf("%s says nothing of %s", config, p[0])
		}
		text = strings.ReplaceAll(text, p[0], p[1])
	}
	path := filepath.Join(folder, config)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// ownCertificate makes HAProxy's own, signed by the authority that the cluster's clients
// trust anyway, and returns the file that holds it and its key.
func (a *proxiedApplication) ownCertificate(t *testing.T) string {
	t.Helper()
	certs := filepath.Join(a.dir, "certs")
	path := filepath.Join(certs, "haproxy.pem")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	must(t, command(t.Context(), a.dir, "jeton", "certs", "--out", certs, "--node", "haproxy=localhost,127.0.0.1"))
	var both []byte
	for _, file := range []string{"http.crt", "http.key"} {
		content, err := os.ReadFile(filepath.Join(certs, "haproxy", file))
		must(t, err)
		both = append(both, content...)
	}
	must(t, os.WriteFile(path, both, 0o600))
	return path
}

// quietPort returns an address below those that the system gives to connections, so that
// none takes it until the proxy does.
func quietPort(t *testing.T) string {
	t.Helper()
	const lowest, highest, attempts = 20000, 30000, 100
	for range attempts {
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest))
		if l, err := net.Listen("tcp", address); err == nil {
			must(t, l.Close())
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// proxyAnswer is an answer through a proxy; seen, what the application got, is nil if
// the request did not get there.
type proxyAnswer struct {
	e2eAnswer

	seen *echoed
}

func (p *runningProxy) get(target string, header ...string) (proxyAnswer, error) {
	return p.send("GET", target, "", header...)
}

// send writes a request as it is told, and on a connection of its own: no client
// library puts its header in order.
func (p *runningProxy) send(method, target, body string, header ...string) (answer proxyAnswer, err error) {
	conn, err := net.DialTimeout("tcp", p.address, e2ePatience)
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: app.example.org\r\nConnection: close\r\n", method, target)
	if body != "" {
		fmt.Fprintf(&request, "Content-Length: %d\r\n", len(body))
	}
	for _, line := range header {
		fmt.Fprintf(&request, "%s\r\n", line)
	}
	fmt.Fprintf(&request, "\r\n%s", body)
	if _, err := request.WriteTo(conn); err != nil {
		return answer, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	answer.e2eAnswer = e2eAnswer{response.StatusCode, response.Header, string(content)}
	if err == nil && response.StatusCode == http.StatusOK {
		answer.seen = new(echoed)
		err = json.Unmarshal(content, answer.seen)
	}
	return answer, err
}
