package node

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// recoveredSite is a cluster of one that was recovered.
func recoveredSite(t *testing.T) (*site, *Node) {
	t.Helper()
	one := newSite(t)
	n := one.mustOpen()
	one.loseQuorum(n)
	one.mustClose(n)
	one.survive(n.replica.id, false)
	n = one.mustOpen()
	if n.descent.own().recoveries() != 1 {
		t.Fatal("not recovered")
	}
	return one, n
}

// outcome is why a node has ended, nil once it is ready.
func outcome(t *testing.T, n *Node) error {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if len(n.failed) > 0 {
			return <-n.failed
		}
		if len(n.NotReady()) == 0 {
			return nil
		}
	}
	return errors.New(strings.Join(n.NotReady(), "; "))
}

// mute is an address that accepts nothing and refuses nothing, as of a machine that is down.
func mute(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// A leader's raft still dials whom it knew at an address, or whom it has just let in, while a node without data looks
// for whom to join there. It ended as left behind, though it had nothing of before.
func TestANodeWithoutDataJoinsARecoveredCluster(t *testing.T) {
	for name, known := range map[string]bool{"it was emptied": false, "it had ended before the snapshot came": true} {
		t.Run(name, func(t *testing.T) {
			one, survivor := recoveredSite(t)
			two := one.sibling("two")
			seeds := two.config.Discovery.SeedHosts
			if known {
				two.config.Discovery.SeedHosts = nil // it makes its identity, and joins nobody
			}
			n, err := two.open()
			if err != nil {
				t.Fatal(err)
			}
			if !known {
				awaitReadiness(t, n)
			}
			two.mustClose(n)
			former := n.replica.id
			if known {
				if _, err := survivor.membership.AddOrUpdate(t.Context(), former, raft.ServerAddress(two.config.Transport.PublishAddress())); err != nil {
					t.Fatal(err)
				}
			} else if err := os.RemoveAll(two.config.DataPath); err != nil {
				t.Fatal(err)
			}
			two.config.Discovery.SeedHosts = append(seeds, mute(t)) // which it waits for, while it is dialled
			if n, err = two.open(); err != nil {
				t.Fatal(err)
			}
			defer two.mustClose(n)
			if !known { // its former self was dialled there until an operator has done as it is told
				insist(t, func() error {
					if said := strings.Join(n.NotReady(), ""); len(n.failed) == 0 && !strings.Contains(said, "remove it first") {
						return errors.New(said)
					}
					return survivor.membership.Remove(t.Context(), former, 1)
				})
			}
			if err := outcome(t, n); err != nil || n.descent.own() != survivor.descent.own() {
				t.Errorf("%v; it is of lineage %x", err, n.descent.own())
			}
		})
	}
}
