package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jeton/httpapi/apitest"
)

// fuzzedSettings have tokens expire while they are fuzzed, and be collected at once.
// (What expired is remembered for a while, by design.)
const fuzzedSettings = cheapHashes + `
xpack.security.authc.token.timeout: 2s
xpack.security.authc.token.refresh_timeout: 5s
xpack.security.authc.token.session_timeout: 1m
xpack.security.authc.token.delete.interval: 1s
oauth2.issuer: https://tokens.example.org
oauth2.public_clients: true
`

const (
	fuzzClients = 8
	// maxFuzzMemory is what a node may have more at the end than it had before. It keeps
	// pairs and the ids of commands for twenty minutes after they are of no more use, some
	// 300 bytes for each, and a garbage collector lets half of the heap be garbage.
	maxFuzzMemory = 96 << 20
)

// Whatever is sent to the processes of a cluster, for as long as JETON_FUZZ_ROUTES
// says: none ends, no answer is a 5xx, each is one of those described, and memory,
// files, threads and goroutines do not pile up. What only looks like HTTP, and clients
// that leave in the middle, are among it. TestFuzzRoutes of package httpapi does the
// same in one process, quicker, and measures to the byte.
func TestFuzzRoutesOfProcesses(t *testing.T) {
	text := os.Getenv("JETON_FUZZ_ROUTES")
	if text == "" {
		t.Skip("fuzzes a cluster of real processes; to run it: scripts/check.sh fuzz-routes")
	}
	t.Setenv("JETON_E2E", "1")
	duration, err := time.ParseDuration(text)
	must(t, err)
	api, err := apitest.Load(openAPI)
	must(t, err)
	f := &processFuzz{e2eCluster: startDev(t, fuzzedSettings), t: t, api: api, logs: map[*e2eNode]int{}, seed: uint64(time.Now().UnixNano())}
	first := f.goroutines(f.nodes[0])
	f.run(min(duration/4, 20*time.Second)) // until everything has been needed once
	before := f.measure()
	for _, n := range f.nodes {
		f.logs[n] = n.logSize(t)
	}
	f.outages.Store(0)
	f.run(duration)
	after := f.measure()
	f.explainOutages()
	last := f.goroutines(f.nodes[0])
	t.Logf("%v, seed %d: %d requests, answers %v, %d connections cut or refused; goroutines of %s: %d at first, %d at last",
		duration, f.seed, f.sent.Load(), f.statuses(), f.cut.Load(), f.nodes[0].Name, first, last)
	for i, n := range f.nodes {
		t.Logf("%s before: %v\n\tafter: %v", n.Name, before[i], after[i])
		if after[i].memory > before[i].memory+maxFuzzMemory || after[i].files > before[i].files+16 || after[i].threads > before[i].threads+16 {
			t.Errorf("%s has grown", n.Name)
		}
	}
	if last > first+16 {
		t.Errorf("%d goroutines have become %d", first, last)
	}
}

type processFuzz struct {
	*e2eCluster
	t         *testing.T
	api       *apitest.API
	seed      uint64
	sent, cut atomic.Int64
	outages   atomic.Int64 // answers that there is no quorum
	answered  [600]atomic.Int64
	logs      map[*e2eNode]int // where each log ended before the run
}

func (f *processFuzz) statuses() map[int]int64 {
	counts := map[int]int64{}
	for status := range f.answered {
		if n := f.answered[status].Load(); n > 0 {
			counts[status] = n
		}
	}
	return counts
}

// footprint is what a process takes of the machine.
type footprint struct {
	memory  int64 // bytes that are no file's
	threads int64
	files   int64
}

func (p footprint) String() string {
	return fmt.Sprintf("%d MiB, %d threads, %d files", p.memory>>20, p.threads, p.files)
}

// measure looks at every node when the clients have gone.
func (f *processFuzz) measure() (all []footprint) {
	for _, n := range f.nodes {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.PID), "status"))
		must(f.t, err)
		number := func(name string) int64 {
			_, rest, _ := strings.Cut(string(status), "\n"+name+":")
			value, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must(f.t, err)
			return value
		}
		files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(n.PID), "fd"))
		must(f.t, err)
		all = append(all, footprint{memory: number("RssAnon") << 10, threads: number("Threads"), files: int64(len(files))})
	}
	return all
}

// explainOutages finds in the logs why there was no quorum. On a machine that is too
// busy a leader may lose the others for a moment; then 503 is the right answer, and
// without that it is a wrong one.
func (f *processFuzz) explainOutages() {
	unready := 0
	for _, n := range f.nodes {
		log, err := os.ReadFile(n.Log)
		must(f.t, err)
		unready += bytes.Count(log[f.logs[n]:], []byte("readiness changed: ready=false"))
		unready += bytes.Count(log[f.logs[n]:], []byte("failed to contact quorum"))
	}
	f.t.Logf("%d answers of 503; %d times a node was not ready or the leader without a quorum", f.outages.Load(), unready)
	if f.outages.Load() > 0 && unready == 0 {
		f.t.Error("503, although there was a quorum all the time")
	}
}

// goroutines has a node tell them all with its last breath, and starts it again.
func (f *processFuzz) goroutines(n *e2eNode) int {
	end := n.logSize(f.t)
	n.down.Store(true)
	n.signal(f.t, syscall.SIGQUIT)
	n.gone(f.t)
	log, err := os.ReadFile(n.Log)
	must(f.t, err)
	count := bytes.Count(log[end:], []byte("\ngoroutine "))
	if count == 0 {
		f.t.Errorf("%s did not tell its goroutines:\n%s", n.Name, lastLines(n.Log, 40))
	}
	bringBack(f.t, n)
	return count
}

// run sends requests from several clients for a while.
func (f *processFuzz) run(duration time.Duration) {
	f.t.Helper()
	for _, r := range apitest.Prepare(f.password) {
		c := f.connect(0)
		if err := f.exchange(c, &r); err != nil {
			f.t.Fatalf("%s: %v", &r, err)
		}
		c.close()
	}
	var clients sync.WaitGroup
	for i := range fuzzClients {
		clients.Go(func() {
			fuzzer := apitest.NewFuzzer(f.api, f.seed+uint64(i), f.password)
			c := f.connect(i)
			defer func() { c.close() }()
			for began := time.Now(); time.Since(began) < duration && !f.t.Failed(); {
				if !f.step(c, fuzzer) {
					c.close()
					c = f.connect(i)
				}
			}
		})
	}
	clients.Wait()
}

// step sends one request, and is false if the connection is of no more use.
func (f *processFuzz) step(c *fuzzConnection, fuzzer *apitest.Fuzzer) bool {
	r := fuzzer.Next()
	number := f.sent.Add(1)
	if number%50 == 0 {
		f.cut.Add(1)
		return c.leave(&r, number) // always false
	}
	if err := f.exchange(c, &r); err != nil {
		f.cut.Add(1)
		return false
	}
	fuzzer.Learn(c.body)
	for _, undo := range fuzzer.Undo(&r, c.status) {
		if c.closes {
			return false
		}
		if err := f.exchange(c, &undo); err != nil {
			f.t.Errorf("%s: %v", &undo, err)
		}
	}
	return !c.closes
}

// exchange sends a request, and looks at the answer. The error is one of the
// connection, which the node may close after an answer.
func (f *processFuzz) exchange(c *fuzzConnection, r *apitest.Request) error {
	if err := c.send(r); err != nil {
		return err
	}
	f.answered[c.status].Add(1)
	refused := c.closes && strings.HasPrefix(c.header.Get("Content-Type"), "text/plain") && c.header.Get("X-Elastic-Product") == ""
	if refused && (c.status == http.StatusBadRequest || c.status == http.StatusRequestHeaderFieldsTooLarge) {
		return nil // by net/http: it is not HTTP
	}
	err := r.Check(c.status, c.header, c.body)
	if errors.Is(err, apitest.ErrServer) && c.status == http.StatusServiceUnavailable && c.header.Get("Retry-After") != "" {
		f.outages.Add(1)
		return nil
	}
	if err != nil {
		f.t.Errorf("%v\nseed %d: %s\nis answered %d %v %.1000s", err, f.seed, r, c.status, c.header, c.body)
	}
	return nil
}

// fuzzConnection writes requests as they are, which package http would not.
type fuzzConnection struct {
	conn   net.Conn
	reader *bufio.Reader
	host   string

	status int
	header http.Header
	body   []byte
	closes bool // after this answer
}

func (f *processFuzz) connect(i int) *fuzzConnection {
	n := f.node(i)
	address, err := url.Parse(n.URL)
	must(f.t, err)
	transport, _ := n.client.Transport.(*http.Transport)
	config := transport.TLSClientConfig.Clone()
	config.ServerName = address.Hostname()
	connection, err := (&tls.Dialer{Config: config}).DialContext(context.Background(), "tcp", address.Host)
	if err != nil {
		f.t.Errorf("%s: %v", n.Name, err)
		connection, _ = net.Pipe()
	}
	return &fuzzConnection{conn: connection, reader: bufio.NewReader(connection), host: address.Host}
}

func (c *fuzzConnection) close() { _ = c.conn.Close() }

// write writes the head of the request and as much of its body as is asked for.
func (c *fuzzConnection) write(r *apitest.Request, share float64) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Target, c.host)
	_ = r.Header.Write(&b) // never fails
	part := r.Body[:int(float64(len(r.Body))*share)]
	switch {
	case r.Body == "":
		fmt.Fprint(&b, "\r\n")
	case len(r.Body)%3 == 0:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(r.Body), part)
		if share == 1 {
			fmt.Fprint(&b, "\r\n0\r\n\r\n")
		}
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(r.Body), part)
	}
	if err := c.conn.SetDeadline(time.Now().Add(e2ePatience)); err != nil {
		return err
	}
	_, err := c.conn.Write(b.Bytes())
	return err
}

// send writes a request and reads the answer.
func (c *fuzzConnection) send(r *apitest.Request) error {
	written := c.write(r, 1)
	for {
		answer, err := http.ReadResponse(c.reader, &http.Request{Method: r.Method})
		if err != nil {
			return errors.Join(written, err)
		}
		if c.body, err = io.ReadAll(answer.Body); answer.StatusCode == http.StatusContinue {
			continue
		}
		_ = answer.Body.Close() // it has been read
		c.status, c.header, c.closes = answer.StatusCode, answer.Header, answer.Close || written != nil
		return err
	}
}

// leave goes away in the middle of a request, or says what is no request at all.
func (c *fuzzConnection) leave(r *apitest.Request, number int64) bool {
	if number%100 == 0 {
		_, _ = c.conn.Write([]byte("\x16\x03\x01 " + r.Body + "\r\n\r\n"))
	} else {
		_ = c.write(r, 0.5)
	}
	return false
}
