package network

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// orphans are the TCP connections whose packets vanish. The zero value has none and is ready for use.
type orphans struct {
	count atomic.Int64 // of set: nearly always 0, and then no packet waits for the lock

	mu  sync.Mutex
	set map[flow]struct{}
}

// A flow is one direction of a TCP connection.
type flow struct{ from, to netip.AddrPort }

func (f flow) reverse() flow { return flow{from: f.to, to: f.from} }

// add makes orphans of connections, in both directions.
func (o *orphans) add(flows []flow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set == nil {
		o.set = map[flow]struct{}{}
	}
	for _, f := range flows {
		o.set[f], o.set[f.reverse()] = struct{}{}, struct{}{}
	}
	o.count.Store(int64(len(o.set)))
}

// drops reports whether packet is an orphan's. A packet that opens a connection ends the memory of an old one between the
// same ports, whose ends must have given up.
func (o *orphans) drops(packet []byte) bool {
	if o.count.Load() == 0 {
		return false
	}
	f, opens, ok := parseTCP(packet)
	if !ok {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, is := o.set[f]
	if is && opens {
		delete(o.set, f)
		delete(o.set, f.reverse())
		o.count.Store(int64(len(o.set)))
		return false
	}
	return is
}

func isIPv4(packet []byte) bool { return len(packet) >= 20 && packet[0]>>4 == 4 }

// parseTCP reads the ends of an IPv4 packet, and whether it opens a connection (SYN without ACK), if it is one of TCP.
func parseTCP(packet []byte) (f flow, opens, ok bool) {
	const protocolTCP, syn, ack = 6, 0x02, 0x10
	header := int(packet[0]&0xf) * 4
	if packet[9] != protocolTCP || len(packet) < header+20 {
		return flow{}, false, false
	}
	segment := packet[header:]
	f = flow{
		from: netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:16])), binary.BigEndian.Uint16(segment[0:2])),
		to:   netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:20])), binary.BigEndian.Uint16(segment[2:4])),
	}
	return f, segment[13]&(syn|ack) == syn, true
}

// Orphan makes the TCP connections that exist now between hosts a and b half-open: their packets vanish for ever, both
// ways, while new connections work. Nobody is told, as when a firewall between them has forgotten its state.
func (n *Network) Orphan(a, b string) error {
	n.mu.Lock()
	one, other := n.hosts[a], n.hosts[b]
	n.mu.Unlock()
	if one == nil || other == nil {
		return fmt.Errorf("orphan connections between %q and %q: no such host", a, b)
	}
	for _, ends := range [][2]*Host{{one, other}, {other, one}} {
		flows, err := ends[0].flows()
		if err != nil {
			return fmt.Errorf("orphan connections between %q and %q: %w", a, b, err)
		}
		there := ends[1].Address()
		n.orphans.add(slices.DeleteFunc(flows, func(f flow) bool { return f.to.Addr() != there }))
	}
	return nil
}

// flows are the TCP connections that the host's kernel knows, from its point of view.
func (h *Host) flows() ([]flow, error) {
	var flows []flow
	err := h.Do(func() error {
		for _, table := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
			file, err := os.Open(table)
			if errors.Is(err, os.ErrNotExist) {
				continue // a kernel without IPv6
			}
			if err != nil {
				return fmt.Errorf("list connections: %w", err)
			}
			some, err := readFlows(file)
			_ = file.Close()
			if err != nil {
				return fmt.Errorf("list connections: %s: %w", table, err)
			}
			flows = append(flows, some...)
		}
		return nil
	})
	return flows, err
}

// readFlows reads a table of the kernel's. It leaves out what is no connection yet (SYN sent, listening): that would open
// anew by its next packet.
func readFlows(table io.Reader) ([]flow, error) {
	const synSent, listening = "02", "0A"
	var flows []flow
	lines := bufio.NewScanner(table)
	lines.Scan() // the titles
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			return nil, fmt.Errorf("unknown form: %q", lines.Text())
		}
		if state := fields[3]; state == synSent || state == listening {
			continue
		}
		from, err := parseEnd(fields[1])
		if err != nil {
			return nil, err
		}
		to, err := parseEnd(fields[2])
		if err != nil {
			return nil, err
		}
		flows = append(flows, flow{from: from, to: to})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return flows, nil
}

// parseEnd reads an address and port as the kernel writes them: words of 32 bits in the machine's order, in hexadecimal.
func parseEnd(text string) (netip.AddrPort, error) {
	words, portText, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(words)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("unknown form of an address: %q", text)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	address, ok := netip.AddrFromSlice(raw)
	port, err := strconv.ParseUint(portText, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("unknown form of an address: %q", text)
	}
	return netip.AddrPortFrom(address.Unmap(), uint16(port)), nil
}
