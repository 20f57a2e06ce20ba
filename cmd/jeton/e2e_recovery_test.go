package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Two of three nodes lose their disks. What docs/recovery.md says is done as it stands
// there, and the cluster is whole again: with its users, without its sessions.
func TestE2EQuorumLostAndRecoveredAsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "recovery.md"))
	must(t, err)
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	b := startByHand(t)
	survivor, lost := b.nodes[0], b.nodes[1:]
	before, err := survivor.token(b.elastic, asPassword("elastic", b.password))
	must(t, err)
	must(t, b.allNodes(func(n *e2eNode) error { return n.accepts(bearer(before.Access)) }))
	for _, n := range lost {
		n.kill(t)
		n.wipe(t)
	}
	env := []string{"CONFIG=" + b.configOf(survivor), "DATA=" + survivor.Data}
	run := func(block int) (said string, code int) {
		shell := exec.Command("sh", "-ec", blocks[block][1])
		shell.Env = append(shell.Environ(), env...)
		out, err := shell.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return string(out), exit.ExitCode()
		}
		must(t, err)
		return string(out), 0
	}

	until(t, "nobody leads", func() error {
		said, code := run(0)
		address := regexp.MustCompile(`(?m)^n1 +\S+ +(\S+) +\S+ +true +\d+ +\d+ +\d+ +\d+ +true$`).FindStringSubmatch(said)
		if code != exitNoLeader || address == nil {
			return fmt.Errorf("exit code %d: %s", code, said)
		}
		env = append(env, "ADDRESS="+address[1])
		return nil
	})
	survivor.down.Store(true)
	survivor.signal(t, syscall.SIGTERM)
	survivor.gone(t)
	if said, code := run(1); code != 0 {
		t.Fatal(said)
	}
	from := survivor.logSize(t)
	bringBack(t, survivor)
	survivor.logged(t, from, "the cluster was recovered, and this node is its only member")
	must(t, survivor.refuses(bearer(before.Access)))
	after, err := survivor.token(b.elastic, asPassword("elastic", b.password))
	must(t, err)

	bringBack(t, lost...)
	must(t, b.allNodes(func(n *e2eNode) error {
		return errors.Join(n.accepts(bearer(after.Access)), n.refuses(bearer(before.Access)))
	}))
	until(t, "all have their votes", func() error {
		said, code := run(2)
		if code != 0 || !strings.Contains(said, "Failure tolerance: 1\n") || strings.Contains(said, "non-voter") {
			return fmt.Errorf("exit code %d: %s", code, said)
		}
		return nil
	})
	survivor.kill(t) // the others can do without it
	_, err = lost[0].token(b.elastic, asPassword("elastic", b.password))
	must(t, err)
}
