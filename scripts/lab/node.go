package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"jeton/scripts/lab/build"
	"jeton/scripts/lab/disk"
	"jeton/scripts/lab/network"
)

const (
	// restartDelay is how soon a supervisor starts a node again that has ended by itself.
	restartDelay = 300 * time.Millisecond
	// quickExit: a process that lived no longer than this could not start.
	quickExit = 3 * time.Second
	// hopeless is after how many such ends in a row a damaged node is replaced.
	hopeless = 3
	// readyPoll is how often a node is asked whether it is ready.
	readyPoll = 100 * time.Millisecond
)

// node is one machine of the cluster with what can be done to it. Its methods may be called concurrently.
type node struct {
	cluster *cluster
	name    string
	number  int // from 1
	folder  string
	host    *network.Host
	first   netip.Addr // where it was at first; see move
	disk    *disk.Disk
	clock   *build.Clock
	groups  *groups

	ready  atomic.Bool
	leads  atomic.Uint64 // the term in which it last said that it leads
	record *record

	replacing sync.Mutex // held while the node is replaced

	mu      sync.Mutex
	holds   int // faults and doctors that want it down
	changed chan struct{}
	process *process
	environ []string // more, from the next start on
	address netip.Addr
	posesAs string // another node's name, of which this machine is a copy
	damaged bool   // its files were damaged since it was last replaced
	quick   int    // ends in a row soon after the start
}

// process is one run of a node.
type process struct {
	cmd   *exec.Cmd
	began time.Time
	asked atomic.Bool // the laboratory ended it
	done  chan struct{}
	code  int // once done is closed; -1: by a signal
}

func (n *node) file(names ...string) string {
	return filepath.Join(append([]string{n.folder}, names...)...)
}

func (n *node) logFile() string { return filepath.Join(n.cluster.setup.out, "logs", n.name+".log") }
func (n *node) config() string  { return n.file("jeton.yml") }

func (n *node) url() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "https://" + netip.AddrPortFrom(n.address, clientPort).String()
}

// supervise keeps the node running whenever nobody wants it down, until ctx ends; then it kills it.
func (n *node) supervise(ctx context.Context) {
	for n.awaitWanted(ctx) {
		p, err := n.start()
		if err != nil {
			n.cluster.journal.violate("%s cannot be started: %v", n.name, err)
			return
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			p.asked.Store(true)
			_ = n.groups.thaw() // else it could not die
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		n.ended(ctx, p)
	}
}

// awaitWanted waits until the node is to run.
func (n *node) awaitWanted(ctx context.Context) bool {
	for {
		n.mu.Lock()
		holds, changed := n.holds, n.changed
		n.mu.Unlock()
		if holds == 0 {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// hold keeps the node down once it has ended, until release is called.
func (n *node) hold() (release func()) {
	n.count(+1)
	return sync.OnceFunc(func() { n.count(-1) })
}

func (n *node) count(by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holds += by
	close(n.changed)
	n.changed = make(chan struct{})
}

// start starts the process.
func (n *node) start() (*process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writeSettings(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	defer func() { _ = log.Close() }() // the process has its own
	p := &process{began: time.Now(), done: make(chan struct{})}
	p.cmd = exec.Command(n.cluster.setup.binary, "server", "--config", n.config()) //nolint:gosec,noctx // our own build; it is ended by supervise
	p.cmd.Dir = n.folder
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "JETON_LAB_CLOCK=" + n.file("clock")}, n.environ...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is for the laboratory
	if err := n.host.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", n.name, err)
	}
	if err := n.groups.adopt(p.cmd.Process.Pid); err != nil {
		return nil, fmt.Errorf("put %s into its control group: %w", n.name, err)
	}
	n.process = p
	n.cluster.journal.note(n.name, "up: process %d", p.cmd.Process.Pid)
	go func() {
		_ = p.cmd.Wait() // its state says all
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	return p, nil
}

// ended takes note of the end of a process, and decides what is done about one that ended by itself.
func (n *node) ended(ctx context.Context, p *process) {
	n.ready.Store(false)
	n.mu.Lock()
	n.process = nil
	if time.Since(p.began) > quickExit {
		n.quick = 0
	}
	if !p.asked.Load() {
		n.quick++
	}
	lost := n.quick >= hopeless && n.damaged
	n.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if p.asked.Load() {
		n.cluster.journal.note(n.name, "down")
		return
	}
	cause := fmt.Sprintf("exit code %d: %s", p.code, n.lastWords())
	if n.cluster.journal.ended(n.name, cause) {
		n.cluster.journal.violate("%s ended by itself with %s", n.name, cause)
	}
	if lost { // what an operator would do
		release := n.hold()
		go func() {
			defer release()
			n.cluster.replaceDamaged(ctx, n)
		}()
		return
	}
	pause(ctx, restartDelay)
}

// lastWords returns the end of the node's log: what the process said of its own end, if it did.
func (n *node) lastWords() string {
	content, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	content = content[max(0, len(content)-4096):]
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	if last := lines[len(lines)-1]; bytes.HasPrefix(last, []byte("jeton: ")) {
		return string(last)
	}
	return string(bytes.Join(lines[max(0, len(lines)-2):], []byte(" / ")))
}

// running returns the process, nil if there is none.
func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// signal sends a signal to the process, if there is one.
func (n *node) signal(s syscall.Signal) {
	if p := n.running(); p != nil {
		_ = p.cmd.Process.Signal(s) // it may have ended just now
	}
}

// hangUp has the node read changed files at once. One that has only just started may not listen to signals yet, and would
// end: it reads its files by itself, a little later.
func (n *node) hangUp() {
	if n.ready.Load() {
		n.signal(syscall.SIGHUP)
	}
}

// kill ends the process at once, keeps it down until release is called, and returns when it is gone; a
// frozen one, or one in a write that hangs, is gone later.
func (n *node) kill(ctx context.Context) (release func()) {
	release = n.hold()
	n.end(ctx, syscall.SIGKILL, killPatience)
	return release
}

const killPatience = 2 * time.Second

// end sends a signal that ends the process and waits for that.
func (n *node) end(ctx context.Context, s syscall.Signal, patience time.Duration) (gone bool) {
	p := n.running()
	if p == nil {
		return true
	}
	p.asked.Store(true)
	_ = p.cmd.Process.Signal(s) // it may have ended just now
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// restart kills the node and has it started with more environment variables.
func (n *node) restart(ctx context.Context, environ ...string) {
	release := n.kill(ctx)
	n.mu.Lock()
	n.environ = environ
	n.mu.Unlock()
	release()
}

// watch asks the node again and again whether it is ready.
func (n *node) watch(ctx context.Context) {
	for pause(ctx, readyPoll) {
		if n.running() == nil {
			continue
		}
		ready := n.cluster.admin.status(ctx, n.url()+"/readyz") == http.StatusOK
		if ready != n.ready.Swap(ready) {
			n.cluster.journal.note(n.name, "ready: %t", ready)
		}
	}
}

// follow reads the node's log.
func (n *node) follow(ctx context.Context) error {
	if err := write(n.logFile(), ""); err != nil {
		return err
	}
	return tail(ctx, n.logFile(), func(raw []byte) {
		if crash := crashOf(raw); crash != "" && !n.isDamaged() {
			n.cluster.journal.violate("%s: %s", n.name, crash)
		}
		// Most lines are none of these, and decoding them all takes time that the nodes need.
		if !bytes.Contains(raw, []byte(`"term"`)) {
			return
		}
		line, ok := parseLine(raw)
		switch {
		case !ok:
		case line.Message == "election won":
			n.record.won(n.name, line.Term)
		case line.Message == "leading":
			n.leads.Store(line.Term)
			n.cluster.journal.note(n.name, "leads in term %d", line.Term)
		}
	})
}

// crashOf returns a line that no program should write, whatever happens to it, if it is one.
func crashOf(line []byte) string {
	for _, begins := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"} {
		if bytes.HasPrefix(line, []byte(begins)) {
			return string(bytes.TrimSpace(line))
		}
	}
	return ""
}

// isDamaged tells whether the node's files were damaged: then its own way to refuse them may be a panic.
func (n *node) isDamaged() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.damaged
}

// serverID is the member's id, by its data folder.
func (n *node) serverID() (string, error) {
	raw, err := n.disk.Read("data/node.json")
	if err != nil {
		return "", err
	}
	var identity struct {
		ServerID string `json:"server_id"`
	}
	if err := json.Unmarshal(raw, &identity); err != nil || identity.ServerID == "" {
		return "", errors.Join(errors.New("node.json names no member"), err)
	}
	return identity.ServerID, nil
}
