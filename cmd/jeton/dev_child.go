package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// child is one node's process. Its fields do not change after start, but for
// err, which may be read once done is closed.
type child struct {
	pid    int
	done   chan struct{} // closed when the process has ended and was reaped
	err    error         // why it ended; nil: exit code 0
	ending atomic.Bool   // we asked it to end
	killed atomic.Bool   // we killed it
	signal func(os.Signal) error
}

// childSpec says how to start a node.
type childSpec struct {
	binary, config, log string
	environ             []string
	// life is the end of a pipe whose other end only this process holds: the
	// child ends when it closes, which no kind of death of dev can prevent.
	life *os.File
}

// startChild starts `jeton server` in a process group of its own, so that
// ctrl-C on the terminal reaches dev only, which then ends its children in order.
func startChild(spec childSpec) (*child, error) {
	log, err := os.OpenFile(spec.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	// Not CommandContext: a child outlives the request that started it, and
	// is never killed before it was asked to end.
	cmd := exec.Command(spec.binary, "server", "--config", spec.config, "--"+flagLife, "3") //nolint:gosec,noctx // our own binary; see above
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{spec.life} // becomes descriptor 3
	cmd.Env = withoutJetonVariables(spec.environ)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.binary, err)
	}
	c := &child{pid: cmd.Process.Pid, done: make(chan struct{}), signal: cmd.Process.Signal}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// withoutJetonVariables keeps the variables of a sourced dev.env, and settings
// meant for another server, away from the nodes of this cluster.
func withoutJetonVariables(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "JETON_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// running says whether the process has not ended yet.
func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// news tells, once the process has ended, whether that is not our doing. It may
// have been killed by others just before we asked it to end.
func (c *child) news() bool {
	if !c.ending.Load() {
		return true
	}
	exit, ok := errors.AsType[*exec.ExitError](c.err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL && !c.killed.Load()
}

// end asks the process to end and waits for it; after patience, or when hurry
// is closed, it is killed. The error says that it had to be, or with what exit
// code it ended.
func (c *child) end(patience time.Duration, hurry <-chan struct{}) error {
	if !c.running() {
		return nil // it died before; that was reported then
	}
	c.ending.Store(true)
	if err := c.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", c.pid, err)
	}
	_ = c.signal(syscall.SIGCONT) // a paused process does not hear; one that just ended needs not
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var reason error
	select {
	case <-c.done:
		return c.err
	case <-hurry:
		reason = errors.New("was killed before it had ended")
	case <-timer.C:
		reason = fmt.Errorf("did not end within %v and was killed", patience)
	}
	c.killed.Store(true)
	err := c.signal(syscall.SIGKILL)
	<-c.done
	if errors.Is(err, os.ErrProcessDone) {
		return c.err
	}
	return errors.Join(reason, err)
}

// lastLines returns up to n lines from the end of a log, for an error message.
func lastLines(path string, n int) string {
	const tail = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	content := make([]byte, min(info.Size(), tail))
	read, _ := f.ReadAt(content, info.Size()-int64(len(content))) // what was read is what there is
	lines := strings.Split(strings.TrimRight(string(content[:read]), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
