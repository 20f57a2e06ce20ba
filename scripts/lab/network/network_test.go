package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHostsReachEachOther(t *testing.T) {
	n, hosts := newNetwork(t, "one", "two")
	addresses := []string{hosts[0].Address().String(), hosts[1].Address().String()}
	if diff := cmp.Diff([]string{"10.99.0.11", "10.99.0.12"}, addresses); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	mustAsk(t, dial(t, echo(t, hosts[0])))

	there := echo(t, hosts[1])
	err := hosts[0].Do(func() error {
		mustAsk(t, dial(t, there))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n.Counts("one", "two").Packets == 0 || n.Counts("two", "one").Packets == 0 {
		t.Error("one asked two, and no packets are counted")
	}
}

func TestProcessRunsInsideItsHost(t *testing.T) {
	_, hosts := newNetwork(t, "one", "two")
	for _, host := range hosts {
		var out strings.Builder
		cmd := program("addresses", &out)
		if err := host.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		want := "127.0.0.1/8\n" + host.Address().String() + "/24\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("addresses that a process of %s sees (-want +got):\n%s", host.Name(), diff)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(cmp.Diff(nil, own), "10.99.0.1") {
		t.Errorf("the clients' addresses are %v", own)
	}
}

func TestCut(t *testing.T) {
	tests := map[string]struct{ there, back bool }{
		"both ways":      {true, true},
		"only the way":   {true, false},
		"only the reply": {false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n, hosts := newNetwork(t, "one", "two")
			conn, other := dial(t, echo(t, hosts[0])), dial(t, echo(t, hosts[1]))
			mustAsk(t, conn)

			n.Set(Clients, "one", Link{Cut: test.there})
			n.Set("one", Clients, Link{Cut: test.back})
			mustBeSilent(t, conn)
			mustAsk(t, other)
			if got := n.Counts(Clients, "one").Dropped > 0; got != test.there {
				t.Errorf("packets dropped on the way: %t, want %t", got, test.there)
			}
			asked := !test.there // else it may be that there is nothing to send back
			if got := n.Counts("one", Clients).Dropped > 0; got != test.back && (got || asked) {
				t.Errorf("packets dropped on the way back: %t, want %t", got, test.back)
			}

			n.Heal()
			if got := n.Get(Clients, "one"); got != (Link{}) {
				t.Errorf("after Heal the link is %+v", got)
			}
			again := dial(t, netip.MustParseAddrPort(conn.RemoteAddr().String()))
			mustAsk(t, again)
		})
	}
}

func TestClosedNetwork(t *testing.T) {
	n, hosts := newNetwork(t, "one")
	there := echo(t, hosts[0])
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.AddHost("two"); err == nil {
		t.Error("a closed network takes hosts")
	}
	if err := hosts[0].Start(exec.CommandContext(t.Context(), os.Args[0])); err == nil {
		t.Error("a process starts in a closed network")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (&net.Dialer{}).DialContext(ctx, "tcp4", there.String()); err == nil {
		t.Error("a closed network carries packets")
	}
}
