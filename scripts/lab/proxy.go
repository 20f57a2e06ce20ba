package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
)

// proxyName is the host that the laboratory's proxy is.
const proxyName = "proxy"

// carrier is what the proxy does with the connections to a node while it stands before it.
type carrier struct {
	dial    func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	violate func(format string, args ...any)
	node    string

	mu    sync.Mutex
	rand  *rand.Rand
	count map[string]int // what happened, for the journal
	tapes []*tape        // of connections that have ended

	carrying sync.WaitGroup
}

func newCarrier(node string, seed uint64) *carrier {
	return &carrier{node: node, rand: rand.New(rand.NewPCG(seed, 0)), count: map[string]int{}} //nolint:gosec // a seed repeats a run
}

// treatment deals with one connection of a client, which wants to go to an address. It returns when it has done with it, or
// ctx has ended, and then both ends are closed.
type treatment func(ctx context.Context, c *carrier, client net.Conn, to netip.AddrPort)

// standBefore has the proxy treat each connection to a node until undo is called, which cuts off all that are left.
func (t *trial) standBefore(ctx context.Context, n *node, treat treatment) (undo func(context.Context)) {
	c := newCarrier(n.name, t.rand.Uint64())
	c.dial, c.violate = t.proxy.Dial, t.journal.violate
	listeners, goAway, err := t.proxy.StandBefore(ctx, n.host, clientPort, peerPort)
	if err != nil {
		t.trouble(err)
		return simply(func() {})
	}
	t.weather.place(proxyName, n.name)
	ctx, cancel := context.WithCancel(ctx)
	for _, l := range listeners {
		c.carrying.Go(func() { c.accept(ctx, l, treat) })
	}
	return func(ctx context.Context) {
		cancel()
		goAway()
		c.carrying.Wait()
		t.weather.place(proxyName, proxyName)
		c.playAgain(ctx)
		t.journal.note(n.name, "the proxy before it: %v", c.count)
	}
}

// accept serves one listener until it is closed.
func (c *carrier) accept(ctx context.Context, l net.Listener, treat treatment) {
	to := netip.MustParseAddrPort(l.Addr().String())
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		c.note("connections")
		c.carrying.Go(func() {
			defer closedBy(ctx, client)()
			treat(ctx, c, client, to)
		})
	}
}

// closedBy cuts off a connection when ctx ends, or when it is told to.
func closedBy(ctx context.Context, conn net.Conn) (now func()) {
	forget := context.AfterFunc(ctx, func() { cutOff(conn) })
	return func() {
		forget()
		cutOff(conn)
	}
}

// cutOff ends a connection as a proxy that dies does: the other side is told by a reset.
func cutOff(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // of one that is closed already it does nothing
	}
	_ = conn.Close()
}

func (c *carrier) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[what]++
}

// drawBytes draws a number of bytes: as likely a few of a handshake as a megabyte.
func (c *carrier) drawBytes() int64 {
	const sizes = 21
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.Int64N(1 << c.rand.Int64N(sizes))
}

// draw draws a number below most.
func (c *carrier) draw(most int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(most)
}

// unlimited is how much is carried one way until there is no more.
const unlimited = -1

// limited carries a connection, one way or both of them up to a number of bytes. There it is cut off, or, if it is to hang,
// kept open while that way nothing more is carried.
func limited(hangs bool) treatment {
	return func(ctx context.Context, c *carrier, client net.Conn, to netip.AddrPort) {
		node, err := c.dial(ctx, to)
		if err != nil {
			return
		}
		var ways sync.WaitGroup
		defer ways.Wait()
		defer cutOff(client)
		defer closedBy(ctx, node)()
		limits := []int64{c.drawBytes(), c.drawBytes()}
		if one := c.draw(3); one < len(limits) {
			limits[one] = unlimited
		}
		atLimit := make(chan bool, len(limits))
		ways.Go(func() { atLimit <- carry(node, client, limits[0]) })
		ways.Go(func() { atLimit <- carry(client, node, limits[1]) })
		for range limits {
			if !<-atLimit {
				return // an end, which both are to see
			}
			c.note("stopped")
			if !hangs {
				return
			}
		}
		<-ctx.Done()
	}
}

// carry carries bytes one way. It tells whether it stopped at the limit, and not because an end hung up.
func carry(to io.Writer, from io.Reader, most int64) (atLimit bool) {
	if most == unlimited {
		_, _ = io.Copy(to, from) // how it ended both ends will see
		return false
	}
	_, err := io.CopyN(to, from, most)
	return err == nil
}
