package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// The end-to-end tests tell stories about clusters of real processes. They know
// them as users do: by commands, files of `jeton dev`, HTTP over TLS, signals
// and logs. Longer runs than CI's:
//
//	JETON_E2E_BURSTS  bursts of 64 refreshes of one token (50)
//	JETON_E2E_KILLS   leaders killed, for each story (3)
//	JETON_E2E_ROUNDS  lives of pairs (400) and of users (100)
//	JETON_E2E_PAUSES  times that each node is paused (2)
//	JETON_E2E_ROLLS   times that each node is ended by SIGTERM (1)
//	JETON_E2E_TRANSFERS  transfers of the leadership (50)

const (
	// readyPromise is how long a cluster may take to be ready.
	readyPromise = 15 * time.Second
	// e2ePatience bounds every single wait; nothing good takes so long.
	e2ePatience = 45 * time.Second
	e2eInterval = 10 * time.Millisecond

	// cheapHashes is a setting for stories in which passwords are hashed often, or
	// against a deadline.
	cheapHashes = "xpack.security.authc.password_hashing.algorithm: bcrypt4\n"

	pathToken  = "/_security/oauth2/token"
	pathWhoAmI = "/_security/_authenticate"
)

// e2eCluster is a running cluster. Nodes may be asked concurrently; killing and
// starting them is for the goroutine of the test.
type e2eCluster struct {
	dir      string
	cacert   string // file of the authority that clients trust
	nodes    []*e2eNode
	password string // of elastic
	elastic  string // the Authorization header of elastic
	dev      *tiedProcess
}

// e2eNode is one node: its entry in nodes.json, and what can be done with it.
type e2eNode struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	PID     int    `json:"pid"`
	Data    string `json:"data"`
	Log     string `json:"log"`
	Restart string `json:"restart"`

	launch func(context.Context) (pid int, err error) // returns when the node is ready
	client *http.Client
	// down is set while the process may be dead: only then may a connection fail.
	down atomic.Bool
}

// startDev runs `jeton dev` with the given server settings, and more flags, until the test
// ends.
func startDev(t *testing.T, settings string, flags ...string) *e2eCluster {
	t.Helper()
	needE2E(t)
	dir := filepath.Join(t.TempDir(), "c")
	args := append([]string{"jeton", "dev", "--data", dir, "--http-port", "0", "--transport-port", "0"}, flags...)
	if settings != "" {
		file := filepath.Join(filepath.Dir(dir), "settings.yml")
		must(t, os.WriteFile(file, []byte(settings), 0o600))
		args = append(args, "--settings", file)
	}
	began := time.Now()
	dev := startTied(t, exec.Command(args[0], args[1:]...), filepath.Join(filepath.Dir(dir), "dev.out"))
	until(t, "the cluster is ready", func() error {
		if !dev.running() {
			t.Fatalf("jeton dev ended:\n%s", dev.output())
		}
		_, err := os.Stat(filepath.Join(dir, "dev.env"))
		return err
	})
	took := time.Since(began)
	t.Logf("%.1f s from start to ready", took.Seconds())
	if took > readyPromise {
		t.Errorf("ready only after %v, not %v", took, readyPromise)
	}
	c := openDev(t, dir)
	c.dev = dev
	t.Cleanup(func() { c.tellLogs(t) })
	return c
}

func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("JETON_E2E") == "" {
		t.Skip("starts clusters of real processes; to run it: JETON_E2E=1 (scripts/check.sh e2e)")
	}
}

// openDev reads what `jeton dev` tells scripts, as a script does.
func openDev(t *testing.T, dir string) *e2eCluster {
	t.Helper()
	const script = `. "$1" && printf '%s\n' "$JETON_USER" "$JETON_PASSWORD" "$JETON_CACERT" "$JETON_NODES" "$JETON_URLS"`
	out, err := exec.Command("sh", "-c", script, "sh", filepath.Join(dir, "dev.env")).Output()
	must(t, err)
	env := strings.Split(string(out), "\n")
	c := &e2eCluster{dir: dir, cacert: env[2], password: env[1], elastic: basic(env[0], env[1])}
	c.nodes, err = readNodes(env[3])
	must(t, err)
	client := trusting(t, c.cacert)
	for i, n := range c.nodes {
		if urls := strings.Split(env[4], ","); urls[i] != n.URL {
			t.Fatalf("JETON_URLS %v and JETON_NODES %s differ", urls, n.URL)
		}
		n.client = client
		n.launch = func(ctx context.Context) (int, error) {
			if out, err := exec.CommandContext(ctx, "sh", "-c", n.Restart).CombinedOutput(); err != nil {
				return 0, fmt.Errorf("%s: %w\n%s", n.Restart, err, out)
			}
			now, err := readNodes(env[3])
			if err != nil {
				return 0, err
			}
			return now[i].PID, nil
		}
	}
	return c
}

func readNodes(path string) (nodes []*e2eNode, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return nodes, json.Unmarshal(content, &nodes)
}

// trusting returns a client that trusts the authorities in a file and nobody
// else, and keeps its connections, as a service does.
func trusting(t *testing.T, authorities string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(authorities)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 256,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: e2ePatience}
}

// tiedProcess is a program that ends with the test.
type tiedProcess struct {
	program *exec.Cmd
	log     string // everything it writes
	done    chan struct{}
	exit    error // once done is closed
	// mortal says that it may die of SIGTERM, as programs do that do nothing about it.
	mortal bool
}

// startTied runs a program until the test ends; then it is asked to end, and must
// do so with exit code 0. A shell between us and the program asks it also when
// this process dies, however it dies. Of program it takes the arguments, the
// environment, and extra files from descriptor 4 on; 3 is the shell's.
func startTied(t *testing.T, program *exec.Cmd, log string) *tiedProcess {
	t.Helper()
	const script = `exec 3<&0; "$@" 3<&- & pid=$!; echo $pid >"$0.pid"; (cat <&3 >/dev/null; kill -TERM $pid 2>/dev/null) & wait $pid`
	p := &tiedProcess{program: program, log: log, done: make(chan struct{})}
	shell := exec.Command("sh", append([]string{"-c", script, log}, program.Args...)...)
	shell.Env, shell.ExtraFiles = program.Env, program.ExtraFiles
	life, err := shell.StdinPipe()
	must(t, err)
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	shell.Stdout, shell.Stderr = file, file
	must(t, shell.Start())
	must(t, file.Close())
	go func() {
		p.exit = shell.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		asked := p.running() // if it ended before, the test knows why
		_ = life.Close()     // closed already if it ended before
		select {
		case <-p.done:
			if asked && !p.endedWell() {
				t.Errorf("%s: %v\n%s", program, p.exit, p.output())
			}
		case <-time.After(e2ePatience):
			t.Errorf("%s did not end within %v\n%s", program, e2ePatience, p.output())
		}
	})
	return p
}

func (p *tiedProcess) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// endedWell says whether a process that was asked to end did so as it should.
func (p *tiedProcess) endedWell() bool {
	exit, ok := errors.AsType[*exec.ExitError](p.exit)
	return p.exit == nil || p.mortal && ok && exit.ExitCode() == 128+int(syscall.SIGTERM)
}

// exitCode waits for the end of the process.
func (p *tiedProcess) exitCode() int {
	<-p.done
	if exit, ok := errors.AsType[*exec.ExitError](p.exit); ok {
		return exit.ExitCode()
	}
	return exitOK
}

func (p *tiedProcess) output() string { return lastLines(p.log, 40) }

// tellLogs shows what the nodes said last when a test has failed.
func (c *e2eCluster) tellLogs(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	for _, n := range c.nodes {
		t.Logf("%s, process %d, ends with:\n%s", n.Name, n.PID, lastLines(n.Log, 40))
	}
}

// signal sends a signal to the node's process.
func (n *e2eNode) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	must(t, syscall.Kill(n.PID, s))
}

// kill is kill -9; it returns when the process is gone.
func (n *e2eNode) kill(t *testing.T) {
	t.Helper()
	n.down.Store(true)
	n.signal(t, syscall.SIGKILL)
	n.gone(t)
}

// gone waits until the process has ended.
func (n *e2eNode) gone(t *testing.T) {
	t.Helper()
	until(t, n.Name+" has ended", func() error {
		if errors.Is(syscall.Kill(n.PID, 0), syscall.ESRCH) {
			return nil
		}
		return fmt.Errorf("process %d is there", n.PID)
	})
}

// bringBack starts nodes with their restart commands, all at once, and returns
// when all are ready.
func bringBack(t *testing.T, nodes ...*e2eNode) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	ctx, cancel := context.WithTimeout(ctx, e2ePatience)
	defer cancel()
	for _, n := range nodes {
		group.Go(func() (err error) {
			n.PID, err = n.launch(ctx)
			n.down.Store(err != nil)
			return err
		})
	}
	must(t, group.Wait())
}

// leader returns the node that says so in its log and still runs.
func (c *e2eCluster) leader(t *testing.T) (leader *e2eNode) {
	t.Helper()
	state := regexp.MustCompile(`entering (leader|follower|candidate) state|jeton: (leading):`)
	until(t, "a node leads", func() error {
		leading := 0
		for _, n := range c.nodes {
			log, err := os.ReadFile(n.Log)
			if err != nil {
				return err
			}
			states := state.FindAllStringSubmatch(string(log), -1)
			if !n.down.Load() && len(states) > 0 && states[len(states)-1][2] == "leading" {
				leader = n
				leading++
			}
		}
		if leading != 1 {
			return fmt.Errorf("%d nodes lead", leading)
		}
		return nil
	})
	return leader
}

// others returns the nodes that are not n, in their order.
func (c *e2eCluster) others(n *e2eNode) (others []*e2eNode) {
	for _, other := range c.nodes {
		if other != n {
			others = append(others, other)
		}
	}
	return others
}

// node counts from 0 and starts again.
func (c *e2eCluster) node(i int) *e2eNode { return c.nodes[i%len(c.nodes)] }

// e2eAnswer is what a node answered.
type e2eAnswer struct {
	status int
	header http.Header
	body   string
}

func (a e2eAnswer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.header, a.body) }

// ask sends one request. The error is one of the connection.
func (n *e2eNode) ask(method, path, authorization, body string) (e2eAnswer, error) {
	return n.askTraced(context.Background(), method, path, authorization, body)
}

func (n *e2eNode) askTraced(ctx context.Context, method, path, authorization, body string) (e2eAnswer, error) {
	var content io.Reader = http.NoBody
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, n.URL+path, content)
	if err != nil {
		return e2eAnswer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return e2eAnswer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return e2eAnswer{resp.StatusCode, resp.Header, string(read)}, err
}

// want sends one request; any answer with another status is an error.
func (n *e2eNode) want(status int, method, path, authorization, body string) (e2eAnswer, error) {
	answer, err := n.ask(method, path, authorization, body)
	if err == nil && answer.status != status {
		err = fmt.Errorf("%s: %s %s: want %d, got %v", n.Name, method, path, status, answer)
	}
	return answer, err
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func bearer(token string) string { return "Bearer " + token }

// e2ePair is an access token and its refresh token.
type e2ePair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// Bodies of requests.

func asPassword(user, password string) string {
	return fmt.Sprintf(`{"grant_type":"password","username":%q,"password":%q}`, user, password)
}

func asRefresh(p e2ePair) string {
	return fmt.Sprintf(`{"grant_type":"refresh_token","refresh_token":%q}`, p.Refresh)
}

// token asks for a pair.
func (n *e2eNode) token(authorization, grant string) (pair e2ePair, err error) {
	answer, err := n.want(http.StatusOK, http.MethodPost, pathToken, authorization, grant)
	if err != nil {
		return pair, err
	}
	return pair, json.Unmarshal([]byte(answer.body), &pair)
}

// accepts asks who this is, and wants an answer.
func (n *e2eNode) accepts(authorization string) error {
	_, err := n.want(http.StatusOK, http.MethodGet, pathWhoAmI, authorization, "")
	return err
}

// refuses asks who this is, and wants none.
func (n *e2eNode) refuses(authorization string) error {
	_, err := n.want(http.StatusUnauthorized, http.MethodGet, pathWhoAmI, authorization, "")
	return err
}

// invalidate ends an access token.
func (n *e2eNode) invalidate(authorization string, p e2ePair) error {
	_, err := n.want(http.StatusOK, http.MethodDelete, pathToken, authorization, fmt.Sprintf(`{"token":%q}`, p.Access))
	return err
}

// allNodes says the same of every node.
func (c *e2eCluster) allNodes(say func(*e2eNode) error) error {
	for _, n := range c.nodes {
		if err := say(n); err != nil {
			return err
		}
	}
	return nil
}

// repeat tells a story count times, several at once, and stops at the first that
// ends badly.
func repeat(t *testing.T, count, atOnce int, story func(i int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(atOnce)
	for i := range count {
		group.Go(func() error {
			err := ctx.Err()
			if err == nil {
				err = story(i)
			}
			if err != nil {
				err = fmt.Errorf("round %d: %w", i, err)
			}
			return err
		})
	}
	must(t, group.Wait())
}

// until waits for something to come true.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(e2ePatience); ; time.Sleep(e2eInterval) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s: %v", e2ePatience, what, err)
		}
	}
}

// logSize is where the node's log ends now.
func (n *e2eNode) logSize(t *testing.T) int {
	t.Helper()
	info, err := os.Stat(n.Log)
	must(t, err)
	return int(info.Size())
}

// logged waits until the node has written to its log what the pattern describes,
// after the given position.
func (n *e2eNode) logged(t *testing.T, after int, pattern string) {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	until(t, fmt.Sprintf("%s logs %q", n.Name, pattern), func() error {
		log, err := os.ReadFile(n.Log)
		if err == nil && !expression.Match(log[after:]) {
			err = errors.New("not yet")
		}
		return err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// countFrom reads a count from the environment, for runs longer than CI's.
func countFrom(t *testing.T, variable string, usual int) int {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		return usual
	}
	count, err := strconv.Atoi(value)
	must(t, err)
	return count
}
