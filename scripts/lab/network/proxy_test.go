package network

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// newProxy makes a proxy in the network.
func newProxy(t *testing.T, n *Network) *Proxy {
	t.Helper()
	p, err := n.AddProxy("proxy")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// standBefore has the proxy answer with a word instead of the host, and returns what ends that.
func standBefore(t *testing.T, p *Proxy, host *Host, port uint16, word string) (leave func()) {
	t.Helper()
	listeners, leave, err := p.StandBefore(t.Context(), host, port)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listeners[0].Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, word)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { leave(); <-ended })
	return leave
}

func answer(t *testing.T, to netip.AddrPort) string {
	t.Helper()
	conn := dial(t, to)
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

func TestAProxyTakesAHostsPlaceAndGivesItBack(t *testing.T) {
	n, hosts := newNetwork(t, "one", "two")
	p := newProxy(t, n)
	there, alsoThere, elsewhere := echo(t, hosts[0]), echo(t, hosts[0]), echo(t, hosts[1])
	before := dial(t, there)
	mustAsk(t, before)

	leave := standBefore(t, p, hosts[0], there.Port(), "the proxy")
	if got := answer(t, there); got != "the proxy" {
		t.Errorf("where the proxy stands: %q", got)
	}
	if err := ask(before, "anybody there?", 20*time.Second); err == nil {
		t.Error("a connection from before goes on past the proxy")
	}
	mustAsk(t, dial(t, alsoThere)) // another port
	mustAsk(t, dial(t, elsewhere)) // another host
	behind, err := p.Dial(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = behind.Close() })
	mustAsk(t, behind)
	if _, _, err := p.StandBefore(t.Context(), hosts[1], elsewhere.Port()); err == nil {
		t.Error("it stands before two hosts at once")
	}

	leave()
	leave()
	mustAsk(t, dial(t, there))
	standBefore(t, p, hosts[1], elsewhere.Port(), "the proxy again")
	if got := answer(t, elsewhere); got != "the proxy again" {
		t.Errorf("where the proxy stands then: %q", got)
	}
	mustAsk(t, dial(t, there))
}

// What links do to packets between two hosts they can do to those between one and the proxy before the other.
func TestLinksOfAProxy(t *testing.T) {
	n, hosts := newNetwork(t, "one")
	p := newProxy(t, n)
	there := echo(t, hosts[0])
	standBefore(t, p, hosts[0], there.Port(), "the proxy")
	n.Set(Clients, "proxy", Link{Cut: true})
	if conn, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).Dial("tcp4", there.String()); err == nil {
		_ = conn.Close()
		t.Error("a connection to the proxy through a link that is cut")
	}
	n.Set(Clients, "proxy", Link{})
	if got := answer(t, there); got != "the proxy" {
		t.Errorf("the proxy says %q", got)
	}
}
