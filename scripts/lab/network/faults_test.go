package network

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBytesSurviveWhatLinksDo(t *testing.T) {
	tests := map[string]struct {
		link    Link
		dropped bool
	}{
		"perfect":    {link: Link{}},
		"loss":       {link: Link{Loss: 0.1}, dropped: true},
		"duplicates": {link: Link{Duplicate: 0.5}},
		"reordering": {link: Link{Reorder: 0.3}},
		"jitter":     {link: Link{Delay: time.Millisecond, Jitter: 2 * time.Millisecond}},
		"all":        {link: Link{Loss: 0.02, Duplicate: 0.1, Reorder: 0.1, Delay: time.Millisecond, Jitter: time.Millisecond}, dropped: true},
	}
	n, _ := newNetwork(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, err := n.AddHost(name)
			if err != nil {
				t.Fatal(err)
			}
			conn := dial(t, echo(t, host))
			n.Set(Clients, name, test.link)
			n.Set(name, Clients, test.link)

			sent := random(4 << 20)
			go func() { _, _ = conn.Write(sent) }()
			got := make([]byte, len(sent))
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if at, err := io.ReadFull(conn, got); err != nil {
				t.Fatalf("after %d of %d bytes: %v", at, len(sent), err)
			}
			if string(got) != string(sent) {
				t.Error("other bytes came back than were sent")
			}
			counts := n.Counts(Clients, name)
			if counts.Bytes < uint64(len(sent)) || counts.Packets < uint64(len(sent)/mtu) || (counts.Dropped > 0) != test.dropped {
				t.Errorf("%d bytes went through, and the counts are %+v", len(sent), counts)
			}
		})
	}
}

func random(size int) []byte {
	bytes := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(bytes)
	return bytes
}

func TestDelayAddsUpBothWays(t *testing.T) {
	n, hosts := newNetwork(t, "one")
	conn := dial(t, echo(t, hosts[0]))
	mustAsk(t, conn)
	n.Set(Clients, "one", Link{Delay: 30 * time.Millisecond})
	n.Set("one", Clients, Link{Delay: 50 * time.Millisecond})
	began := time.Now()
	mustAsk(t, conn)
	if took := time.Since(began); took < 80*time.Millisecond || took > 5*time.Second {
		t.Errorf("an answer took %v, want 80 ms and a little", took)
	}
}

func TestCutTakesWhatIsUnderWay(t *testing.T) {
	n, hosts := newNetwork(t, "one")
	conn := datagrams(t, hosts[0])
	n.Set(Clients, "one", Link{Delay: 300 * time.Millisecond})
	if _, err := conn.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	line := n.path(Clients, "one").line
	waitFor(t, func() bool {
		line.mu.Lock()
		defer line.mu.Unlock()
		return len(line.queue) == 1
	})
	n.Set(Clients, "one", Link{Cut: true})
	waitFor(t, func() bool { return n.Counts(Clients, "one").Dropped == 1 })
	if got := n.Counts(Clients, "one"); got != (Counts{Dropped: 1}) {
		t.Errorf("counts are %+v", got)
	}
}

// The same seed loses the same packets, whatever other links do; another seed loses others.
func TestLossRepeatsFromTheSeed(t *testing.T) {
	pattern := func(seed uint64, noise bool) string {
		p := newPath(nil, new(orphans), seed, 7)
		if noise {
			newPath(nil, new(orphans), seed, 8).happens(0.5)
		}
		var b strings.Builder
		for range 64 {
			if p.happens(0.5) {
				b.WriteByte('x')
			} else {
				b.WriteByte('.')
			}
		}
		return b.String()
	}
	if diff := cmp.Diff(pattern(1, false), pattern(1, true)); diff != "" {
		t.Errorf("one seed, two patterns:\n%s", diff)
	}
	if pattern(1, false) == pattern(2, false) {
		t.Error("two seeds, one pattern")
	}
}

func TestUnderWayIsBounded(t *testing.T) {
	l := newPath(nil, new(orphans), 1, 1).line
	packet := make([]byte, maxPacket)
	for i := range maxBytesUnderWay / maxPacket {
		if !l.add(packet, time.Now().Add(time.Hour)) {
			t.Fatalf("refused after %d large packets", i)
		}
	}
	if l.add(packet, time.Now()) {
		t.Error("no bound for bytes under way")
	}
}

// Orphaned connections are silent for ever, both ways, and no end is told; new ones work.
func TestOrphan(t *testing.T) {
	n, hosts := newNetwork(t, "one", "two")
	there := echo(t, hosts[0])
	old, unconcerned := dial(t, there), dial(t, echo(t, hosts[1]))
	mustAsk(t, old)
	mustAsk(t, unconcerned)

	if err := n.Orphan("one", Clients); err != nil {
		t.Fatal(err)
	}
	mustBeSilent(t, old)
	mustAsk(t, unconcerned)
	mustAsk(t, dial(t, there))
	n.Heal()
	mustBeSilent(t, old)
	if n.Counts(Clients, "one").Dropped == 0 {
		t.Error("an orphan's packets are not counted as dropped")
	}
	if err := n.Orphan("one", "nobody"); err == nil {
		t.Error("connections with nobody are orphaned")
	}
}

// A new connection may get the port of an orphan that was given up.
func TestOrphanedPortIsUsedAgain(t *testing.T) {
	n, hosts := newNetwork(t, "one")
	there := echo(t, hosts[0])
	old := dial(t, there)
	mustAsk(t, old)
	if err := n.Orphan(Clients, "one"); err != nil {
		t.Fatal(err)
	}
	mustBeSilent(t, old)
	port := old.LocalAddr()
	if tcp, ok := old.(*net.TCPConn); !ok || tcp.SetLinger(0) != nil || tcp.Close() != nil {
		t.Fatal("the old end was not given up at once")
	}
	again, err := (&net.Dialer{LocalAddr: port, Timeout: 20 * time.Second}).DialContext(t.Context(), "tcp4", there.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	mustAsk(t, again)
}

func TestMove(t *testing.T) {
	_, hosts := newNetwork(t, "one", "two")
	before := echo(t, hosts[0])
	conn := dial(t, before)
	mustAsk(t, conn)

	for _, bad := range []string{"10.99.0.12", "10.99.0.1", "10.99.1.1", "10.99.0.0", "10.99.0.255", "::1"} {
		if err := hosts[0].Move(netip.MustParseAddr(bad)); err == nil {
			t.Errorf("moved to %s", bad)
		}
	}
	if err := hosts[0].Move(netip.MustParseAddr("10.99.0.111")); err != nil {
		t.Fatal(err)
	}
	mustBeSilent(t, conn)
	mustAsk(t, dial(t, netip.AddrPortFrom(hosts[0].Address(), before.Port())))

	if err := hosts[1].Move(before.Addr()); err != nil { // free now
		t.Fatal(err)
	}
	mustAsk(t, dial(t, echo(t, hosts[1])))
}

func TestReadFlows(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100630A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100630A:C350 0B00630A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   2: 0100630A:C351 0B00630A:01BB 02 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   3: 0000000000000000FFFF00000100630A:C352 0000000000000000FFFF00000B00630A:01BB 06 00000000:00000000 0
`
	got, err := readFlows(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	there := netip.MustParseAddrPort("10.99.0.11:443")
	want := []flow{{netip.MustParseAddrPort("10.99.0.1:50000"), there}, {netip.MustParseAddrPort("10.99.0.1:50002"), there}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(flow{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"1:", "1: 0100630A:0050 zz:0000 01", "1: 0100630A:0050 00:0000 01", "1: 0100630A 00000000:0000 01"} {
		if flows, err := readFlows(strings.NewReader("titles\n" + bad)); err == nil {
			t.Errorf("%q was read as %v", bad, flows)
		}
	}
}

// datagrams opens a socket whose packets nobody answers.
func datagrams(t *testing.T, to *Host) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp4", netip.AddrPortFrom(to.Address(), 9).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// waitFor waits until kernel and switch have done what they do in the background.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(20 * time.Second)
	defer patience.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-patience.C:
			t.Fatal("nothing happened")
		}
	}
}
