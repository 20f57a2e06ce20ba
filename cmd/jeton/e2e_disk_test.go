package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// disk is a small file system of its own that can be frozen: whoever writes to it
// hangs then, and cannot even be killed, as with storage that has gone away.
type disk struct{ path string }

// newDisk mounts a file system at a new folder until the test ends, in whatever way.
func newDisk(t *testing.T, path string) disk {
	t.Helper()
	const script = `truncate -s 64M "$1.img" && mkfs.ext4 -q "$1.img" && mkdir "$1" && mount -o loop "$1.img" "$1" || exit 1
		echo mounted
		cat >/dev/null
		fsfreeze -u "$1" 2>/dev/null
		umount "$1" || umount -l "$1"`
	shell := exec.Command("sh", "-c", script, "sh", path)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is not for it
	life, err := shell.StdinPipe()
	must(t, err)
	said, err := shell.StdoutPipe()
	must(t, err)
	must(t, shell.Start())
	if n, _ := said.Read(make([]byte, 1)); n == 0 {
		t.Skipf("no file system mounted, for which this has to be root, with loop devices: %v", shell.Wait())
	}
	t.Cleanup(func() {
		_ = life.Close()
		if err := shell.Wait(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return disk{path}
}

func (d disk) freeze(t *testing.T) { t.Helper(); d.fsfreeze(t, "--freeze") }
func (d disk) thaw(t *testing.T)   { t.Helper(); d.fsfreeze(t, "--unfreeze") }

func (d disk) fsfreeze(t *testing.T, how string) {
	t.Helper()
	if out, err := exec.Command("fsfreeze", how, d.path).CombinedOutput(); err != nil {
		t.Fatalf("fsfreeze %s: %v\n%s", how, err, out)
	}
}

// The leader's disk hangs, and with it, in the second story, its log. Somebody else
// leads soon, no client waits for long, and the node gives up what others hold of it,
// although the kernel cannot end its process before the disk is back.
func TestE2ELeadersDiskHangs(t *testing.T) {
	needE2E(t)
	t.Run("data", func(t *testing.T) { leadersDiskHangs(t, map[string]string{"path.data": "disk/data"}) })
	t.Run("data and log", func(t *testing.T) {
		leadersDiskHangs(t, map[string]string{"path.data": "disk/data", "path.logs": "disk/logs"})
	})
}

func leadersDiskHangs(t *testing.T, settings map[string]string) {
	t.Helper()
	b := newByHand(t)
	disks := map[string]disk{}
	for i, n := range b.nodes {
		disks[n.Name] = newDisk(t, b.path(i, "disk"))
		maps.Copy(b.settings[i], settings)
	}
	bringBack(t, b.nodes...)
	hung := b.leading(t)
	other := b.others(hung)[0]
	dead, err := other.token(b.elastic, asPassword("elastic", b.password))
	must(t, err)
	load := startLoad(b.e2eCluster, 12, (&e2eClient{nodes: b.nodes}).anywhere)
	load.goesOn(t, 300)

	hung.down.Store(true) // from now on connections to it may fail
	disks[hung.Name].freeze(t)
	began := time.Now()
	since := func() time.Duration { return time.Since(began).Round(time.Millisecond) }
	invalidated := make(chan struct{})
	var stories errgroup.Group
	stories.Go(func() error {
		defer close(invalidated)
		if err := other.invalidate(b.elastic, dead); err != nil {
			return err
		}
		t.Logf("a write at another node after %v", since())
		return nil
	})
	stories.Go(func() error {
		defer func() { t.Logf("the node refuses connections after %v", since()) }()
		return neverFromThePast(hung, dead, invalidated)
	})
	must(t, stories.Wait())
	if took := time.Since(began); took > 10*time.Second { // request.timeout
		t.Errorf("that took %v", took)
	}
	load.goesOn(t, 300)

	disks[hung.Name].thaw(t)
	hung.gone(t)
	for _, server := range b.servers {
		if !server.running() && server.exitCode() != exitFailed {
			t.Errorf("exit code %d", server.exitCode())
		}
	}
	for _, wanted := range []string{"path.data", "the disk hangs", "then start the node again"} {
		if said := lastLines(hung.Log, 1); !strings.Contains(said, wanted) {
			t.Errorf("the last it says is %q, without %q", said, wanted)
		}
	}
	bringBack(t, hung)
	load.goesOn(t, 300)
	load.stop(t)
	load.verify(t)
}

// neverFromThePast asks a node about a token until nobody listens there any more. It
// must not call the token good once its end was acknowledged elsewhere.
func neverFromThePast(n *e2eNode, token e2ePair, ended <-chan struct{}) error {
	for deadline := time.Now().Add(e2ePatience); time.Now().Before(deadline); {
		late := false
		select {
		case <-ended:
			late = true
		default:
		}
		answer, err := n.ask(http.MethodGet, pathWhoAmI, bearer(token.Access), "")
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil
		case err == nil && late && answer.status == http.StatusOK:
			return fmt.Errorf("%s calls a token good after its end: %v", n.Name, answer)
		}
	}
	return fmt.Errorf("%s listens after %v", n.Name, e2ePatience)
}

// leading returns the node that leads, as the operator's command shows it.
func (b *byHand) leading(t *testing.T) (leader *e2eNode) {
	t.Helper()
	until(t, "a node leads", func() error {
		for _, peer := range b.peers(t, b.nodes[0]) {
			for _, n := range b.nodes {
				if peer.State == "leader" && peer.Node == n.Name {
					leader = n
					return nil
				}
			}
		}
		return errors.New("none")
	})
	return leader
}
