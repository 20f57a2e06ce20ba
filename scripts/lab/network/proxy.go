package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// proxyPatience is how long a proxy waits for a connection to the host that it stands before: they are neighbours.
const proxyPatience = 250 * time.Millisecond

// A Proxy can stand before a host: connections to that host then end at the proxy, which may open others to the host and
// carry the bytes, or not. Neither the host nor who connects to it is told, and nothing is rewritten: the proxy has a
// namespace in which it has the host's own address, whither the switch leads who wants to reach that, and another with an
// address of its own, from which it reaches the host. So it needs no more than the hosts do.
type Proxy struct {
	network     *Network
	front, back *Host
}

// A diversion leads the TCP packets for some ports of an address to another host.
type diversion struct {
	address [4]byte
	ports   []uint16
	to      *Host
	but     *Host // whose packets go where they are for
}

// AddProxy adds a proxy, which stands before nobody yet. Its side that faces the others is the host of that name. A
// network has one proxy.
func (n *Network) AddProxy(name string) (*Proxy, error) {
	front, err := n.AddHost(name)
	if err != nil {
		return nil, err
	}
	back, err := n.AddHost(name + "-behind")
	if err != nil {
		return nil, err
	}
	return &Proxy{network: n, front: front, back: back}, nil
}

// StandBefore has TCP connections to some ports of a host arrive at the proxy, at one listener for each port, until leave
// is called, which closes the listeners. Connections that exist between others and those ports are reset, and those that
// the proxy has accepted are cut off by leave: close them before.
func (p *Proxy) StandBefore(ctx context.Context, host *Host, ports ...uint16) (listeners []net.Listener, leave func(), err error) {
	address := host.Address()
	closeAll := func() {
		for _, l := range listeners {
			_ = l.Close() // once
		}
	}
	err = p.front.Do(func() error {
		if err := changeAddress(address); err != nil {
			return err
		}
		for _, port := range ports {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", netip.AddrPortFrom(address, port).String())
			if err != nil {
				return err //nolint:wrapcheck // names the address
			}
			listeners = append(listeners, l)
		}
		return nil
	})
	d := &diversion{address: address.As4(), ports: ports, to: p.front, but: p.back}
	if err == nil && !p.network.diversion.CompareAndSwap(nil, d) {
		err = errors.New("the proxy stands before somebody already")
	}
	if err != nil {
		closeAll()
		return nil, nil, fmt.Errorf("stand before %s: %w", host.name, err)
	}
	return listeners, sync.OnceFunc(func() {
		p.network.diversion.Store(nil)
		closeAll()
	}), nil
}

// Dial connects to where who connects to the proxy wanted to go, past the proxy.
func (p *Proxy) Dial(ctx context.Context, to netip.AddrPort) (conn net.Conn, err error) {
	err = p.back.Do(func() error {
		conn, err = (&net.Dialer{Timeout: proxyPatience}).DialContext(ctx, "tcp4", to.String())
		return err //nolint:wrapcheck // names the address
	})
	if err != nil {
		return nil, fmt.Errorf("connect past the proxy: %w", err)
	}
	return conn, nil
}

// whither is the path of a packet: where it is for, or to the proxy that stands there.
func (n *Network) whither(from *Host, packet []byte) *path {
	routes := *n.routes.Load()
	to := [4]byte(packet[16:20])
	if d := n.diversion.Load(); d != nil && d.address == to && d.but != from {
		if f, _, ok := parseTCP(packet); ok && slices.Contains(d.ports, f.to.Port()) {
			return routes[route{from: from, to: d.to.Address().As4()}]
		}
	}
	return routes[route{from: from, to: to}]
}
