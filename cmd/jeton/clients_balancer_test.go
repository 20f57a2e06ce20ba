package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// shortLife is how long tokens live behind the listener short-lived.
	shortLife = "2s"
	// roundsEach is how many rounds every client goes on for in each state of the
	// cluster: with all nodes, with one killed, with one ended in order.
	roundsEach = 2

	// Each way to write credentials has its own way to get these wrong.
	appPassword, userPassword = "secret: 100% of the+app & more?", "Geheimnis für Übung + 100% & mehr"
)

// balancer is HAProxy, as scripts/clients/haproxy.cfg says, and what is behind it.
type balancer struct {
	folder            string
	nodes, shortLived *e2eCluster
	urls              map[string]string // by name of the listener
	rounds            *rounds
	roundsURL         string
}

// startBalancer starts two clusters behind HAProxy, with a user and an application
// of its own for each client. The listeners are opened here, so that their ports
// are known to the clusters, and are HAProxy's from its start.
func startBalancer(t *testing.T, chosen []realClient) *balancer {
	t.Helper()
	b := &balancer{folder: t.TempDir(), urls: map[string]string{}, rounds: newRounds()}
	names := []string{"as-is", "repeating", "short-lived"}
	files := make([]*os.File, 0, len(names))
	for _, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		b.urls[name] = fmt.Sprintf("https://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
		file, err := listener.(*net.TCPListener).File()
		must(t, errors.Join(err, listener.Close()))
		files = append(files, file)
	}
	// Health checks need a moment to see that a node is about to go.
	b.nodes = startDev(t, cheapHashes+"shutdown.delay: 1s\noauth2.issuer: "+b.urls["repeating"]+"\n")
	b.shortLived = startDev(t, cheapHashes+"oauth2.issuer: "+b.urls["short-lived"]+"\nxpack.security.authc.token.timeout: "+shortLife+"\n")
	for _, c := range []*e2eCluster{b.nodes, b.shortLived} {
		for _, client := range chosen {
			c.enroll(t, client)
		}
	}
	b.startHAProxy(t, files)
	server := httptest.NewServer(b.rounds)
	t.Cleanup(server.Close)
	b.roundsURL = server.URL
	return b
}

// enroll makes the application that obtains tokens and the user they are for.
func (c *e2eCluster) enroll(t *testing.T, client realClient) {
	t.Helper()
	for _, put := range [][2]string{
		{"role/application", `{"cluster":["manage_token","monitor"]}`},
		{"role/user", `{"cluster":["monitor"]}`},
		{"user/app-" + client.key, `{"password":"` + appPassword + `","roles":["application"]}`},
		{"user/user-" + client.key, `{"password":"` + userPassword + `","roles":["user"]}`},
	} {
		_, err := c.nodes[0].want(http.StatusOK, http.MethodPut, "/_security/"+put[0], c.elastic, put[1])
		must(t, err)
	}
}

// startHAProxy hands the listeners over, as file descriptors from 4 on.
func (b *balancer) startHAProxy(t *testing.T, listeners []*os.File) {
	t.Helper()
	config, err := filepath.Abs(filepath.Join("..", "..", "scripts", "clients", "haproxy.cfg"))
	must(t, err)
	env := map[string]string{
		"AS_IS_FD": "4", "REPEATING_FD": "5", "SHORT_LIVED_FD": "6",
		"CERTIFICATE": b.certificate(t), "CLUSTER_CA": b.nodes.cacert, "SHORT_LIVED_CA": b.shortLived.cacert,
		"STATISTICS": b.statistics(),
	}
	for prefix, c := range map[string]*e2eCluster{"NODE_": b.nodes, "SHORT_LIVED_": b.shortLived} {
		for i, n := range c.nodes {
			env[fmt.Sprintf("%s%d", prefix, i+1)] = strings.TrimPrefix(n.URL, "https://")
		}
	}
	program := exec.Command("haproxy", "-db", "-f", config)
	for name, value := range env {
		program.Env = append(program.Env, name+"="+value)
	}
	program.ExtraFiles = append([]*os.File{nil}, listeners...) // 3 is the shell's
	proxy := startTied(t, program, filepath.Join(b.folder, "haproxy.log"))
	proxy.mortal = true
	for _, listener := range listeners {
		must(t, listener.Close())
	}
	client := trusting(t, b.nodes.cacert)
	for name, url := range b.urls {
		until(t, "HAProxy serves "+name, func() error {
			if !proxy.running() {
				t.Fatalf("HAProxy ended:\n%s", proxy.output())
			}
			answer, err := (&e2eNode{Name: name, URL: url, client: client}).want(http.StatusOK, http.MethodGet, "/readyz", "", "")
			if err == nil && answer.header.Get("X-Served-By") == "" {
				err = errors.New("HAProxy does not say which node served")
			}
			return err
		})
	}
}

// certificate makes HAProxy's own, signed by the authority that clients of the
// cluster trust anyway, and returns the file that holds it and its key.
func (b *balancer) certificate(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(b.nodes.dir, "certs")
	must(t, command(t.Context(), b.folder, "jeton", "certs", "--out", folder, "--node", "haproxy=localhost,127.0.0.1"))
	var both []byte
	for _, name := range []string{"http.crt", "http.key"} {
		content, err := os.ReadFile(filepath.Join(folder, "haproxy", name))
		must(t, err)
		both = append(both, content...)
	}
	path := filepath.Join(b.folder, "haproxy.pem")
	must(t, os.WriteFile(path, both, 0o600))
	return path
}

// statistics is HAProxy's socket for them.
func (b *balancer) statistics() string { return filepath.Join(b.folder, "statistics") }

// servedByAll wants all nodes to have had their share of the requests.
func (b *balancer) servedByAll(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("unix", b.statistics())
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("show stat\n"))
	must(t, err)
	rows, err := csv.NewReader(conn).ReadAll()
	must(t, err)
	total := slices.Index(rows[0], "stot")
	served := map[string][]int{} // by listener
	for _, row := range rows[1:] {
		if strings.HasPrefix(row[1], "node-") {
			requests, err := strconv.Atoi(row[total])
			must(t, err)
			served[row[0]] = append(served[row[0]], requests)
		}
	}
	for name, requests := range served {
		if slices.Max(requests) > 1 && slices.Min(requests) == 0 { // 1: only our own look at it
			t.Errorf("the nodes behind %s served %d requests", name, requests)
		}
	}
}

// environment is what a client is told: URL, credentials, authority.
func (b *balancer) environment(client realClient, results string) []string {
	return []string{
		"JETON_URL=" + b.urls["as-is"],
		"JETON_REPEATING_URL=" + b.urls["repeating"],
		"JETON_SHORT_LIVED_URL=" + b.urls["short-lived"],
		"JETON_CACERT=" + b.nodes.cacert,
		"NODE_EXTRA_CA_CERTS=" + b.nodes.cacert, // the authority of clients that use fetch
		"JETON_APP_USER=app-" + client.key, "JETON_USER=user-" + client.key,
		"JETON_APP_PASSWORD=" + appPassword, "JETON_PASSWORD=" + userPassword,
		"JETON_ROUNDS_URL=" + b.roundsURL + "/" + client.key,
		"JETON_RESULTS=" + results,
	}
}

// loseNodes waits until all clients go in rounds, then kills the leader, brings it
// back, and restarts another node in order, while the clients go on. The error is
// that of a client that stays behind.
func (b *balancer) loseNodes(t *testing.T, chosen []realClient) error {
	t.Helper()
	defer b.rounds.end()
	if err := b.rounds.moreOfEach(chosen); err != nil {
		return fmt.Errorf("with all nodes: %w", err)
	}
	leader := b.nodes.leader(t)
	leader.kill(t)
	if err := b.rounds.moreOfEach(chosen); err != nil {
		return fmt.Errorf("without %s, which led and was killed: %w", leader.Name, err)
	}
	bringBack(t, leader)
	next := b.nodes.leader(t)
	bringBack(t, next) // ends it by SIGTERM first
	if err := b.rounds.moreOfEach(chosen); err != nil {
		return fmt.Errorf("after the restart of %s, which led: %w", next.Name, err)
	}
	return nil
}

// rounds counts the rounds of the clients that go on while nodes are lost. It may
// be used concurrently.
type rounds struct {
	mu    sync.Mutex
	done  map[string]int
	left  map[string]bool
	ended bool
}

func newRounds() *rounds { return &rounds{done: map[string]int{}, left: map[string]bool{}} }

// ServeHTTP tells the client that the path names whether another round is wanted.
func (r *rounds) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[strings.TrimPrefix(req.URL.Path, "/")]++
	answer := "another"
	if r.ended {
		answer = "enough"
	}
	_, _ = w.Write([]byte(answer)) // a client that is gone needs no answer
}

// end lets all clients end.
func (r *rounds) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// leave says that a client has ended, whatever for.
func (r *rounds) leave(client string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[client] = true
}

// moreOfEach returns when every client has done some more rounds.
func (r *rounds) moreOfEach(chosen []realClient) error {
	r.mu.Lock()
	base := maps.Clone(r.done)
	r.mu.Unlock()
	behind := func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var errs []error
		for _, client := range chosen {
			if more := r.done[client.key] - base[client.key]; more <= roundsEach {
				errs = append(errs, fmt.Errorf("%s has done %d more rounds, ended: %t", client.name, more, r.left[client.key]))
			}
		}
		return errors.Join(errs...)
	}
	for deadline := time.Now().Add(clientsPatience); ; time.Sleep(e2eInterval) {
		err := behind()
		if err == nil || time.Now().After(deadline) || r.gone(chosen) {
			return err
		}
	}
}

// gone says whether a client has ended already.
func (r *rounds) gone(chosen []realClient) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, client := range chosen {
		if r.left[client.key] {
			return true
		}
	}
	return false
}
