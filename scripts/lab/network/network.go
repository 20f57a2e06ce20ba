package network

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// Clients is the name of the host that the calling process itself is.
	Clients = "clients"

	// maxPacket is the largest IP packet there is.
	maxPacket = 65535

	clientsNumber, firstNumber, lastNumber = 1, 11, 199 // the last byte of addresses
)

// A Network is hosts, and a link for each direction between any two of them. Its methods may be called concurrently.
type Network struct {
	seed    uint64
	keeper  *keeper
	orphans orphans
	done    chan struct{} // closed by Close
	running sync.WaitGroup

	routes    atomic.Pointer[map[route]*path] // replaced, never changed: the switch reads it for every packet
	diversion atomic.Pointer[diversion]       // nearly always nil

	mu     sync.Mutex
	closed bool
	hosts  map[string]*Host
	paths  map[direction]*path
}

// A route is looked up for every packet: where it comes from, and the address it is for.
type route struct {
	from *Host
	to   [4]byte
}

type direction struct{ from, to string }

// New makes a network of one host, [Clients], with address 10.99.0.1: the process itself, in the namespace that [Enter] has
// put it into, and one network at a time. Everything that links do by chance repeats from seed, packet by packet. Close the network when done.
func New(seed uint64) (*Network, error) {
	keeper, err := newKeeper()
	if err != nil {
		return nil, err
	}
	n := &Network{seed: seed, keeper: keeper, done: keeper.done, hosts: map[string]*Host{}, paths: map[direction]*path{}}
	n.routes.Store(&map[route]*path{})
	n.running.Go(keeper.run)
	if _, err := n.add(Clients, clientsNumber, keeper.own); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// AddHost adds a host with the next free address from 10.99.0.11 on.
func (n *Network) AddHost(name string) (*Host, error) {
	return n.add(name, firstNumber, n.keeper.fresh)
}

// add makes a host inside the namespace that enter visits, numbered with the first free one from number on.
func (n *Network) add(name string, number byte, enter func(visit func() error) (*os.File, error)) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[name] != nil {
		return nil, fmt.Errorf("add host %q: there is one already", name)
	}
	for n.ownerLocked(numbered(number)) != nil {
		if number++; number > lastNumber {
			return nil, fmt.Errorf("add host %q: no address is left", name)
		}
	}
	host := &Host{name: name, network: n}
	host.address.Store(new(numbered(number)))
	var err error
	host.namespace, err = enter(func() error {
		host.device, err = openDevice(host.Address())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("add host %q: %w", name, err)
	}
	for _, other := range n.hosts {
		n.connectLocked(host, other)
		n.connectLocked(other, host)
	}
	n.hosts[name] = host
	n.routeLocked()
	n.running.Go(func() { n.forward(host) })
	return host, nil
}

// connectLocked makes the path of one direction.
func (n *Network) connectLocked(from, to *Host) {
	stream := fnv.New64a()
	_, _ = fmt.Fprintf(stream, "%s>%s", from.name, to.name)
	p := newPath(to, &n.orphans, n.seed, stream.Sum64())
	n.paths[direction{from.name, to.name}] = p
	n.running.Go(func() { p.line.run(n.done) })
}

// routeLocked makes known which addresses the hosts have.
func (n *Network) routeLocked() {
	routes := make(map[route]*path, len(n.paths))
	for d, p := range n.paths {
		routes[route{from: n.hosts[d.from], to: p.to.Address().As4()}] = p
	}
	n.routes.Store(&routes)
}

// take makes address the host's, for the switch.
func (n *Network) take(h *Host, address netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if number := address.AsSlice(); !address.Is4() || address != numbered(number[3]) || number[3] == 0 || number[3] == 255 {
		return errors.New("not an address of 10.99.0.0/24")
	}
	if owner := n.ownerLocked(address); owner != nil && owner != h {
		return fmt.Errorf("the address is %s's", owner.name)
	}
	h.address.Store(&address)
	n.routeLocked()
	return nil
}

func (n *Network) ownerLocked(address netip.Addr) *Host {
	for _, h := range n.hosts {
		if h.Address() == address {
			return h
		}
	}
	return nil
}

// forward is the switch, for what one host sends. It ends when the host's device is closed.
func (n *Network) forward(from *Host) {
	buffer := make([]byte, maxPacket)
	for {
		size, err := from.device.Read(buffer)
		if err != nil {
			return
		}
		packet := buffer[:size]
		if !isIPv4(packet) {
			continue // IPv6 looking for neighbours: nobody is asked to speak it here
		}
		if p := n.whither(from, packet); p != nil {
			p.send(packet)
		}
	}
}

// Set makes the direction between two hosts behave as link says, for the packets that are sent from now on; a cut takes
// those under way too. It panics if there is no such host: the names are the caller's own.
func (n *Network) Set(from, to string, link Link) { n.path(from, to).link.Store(&link) }

// Get returns what the direction was last set to.
func (n *Network) Get(from, to string) Link { return *n.path(from, to).link.Load() }

// Heal makes all links perfect again. Orphaned connections stay orphans.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.paths {
		p.link.Store(new(Link))
	}
}

// Counts returns what the direction did until now. A count that stands still proves that nobody used the network.
func (n *Network) Counts(from, to string) Counts { return n.path(from, to).counts() }

func (n *Network) path(from, to string) *path {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.paths[direction{from, to}]
	if p == nil {
		panic(fmt.Sprintf("network: no link from %q to %q among hosts %q", from, to, slices.Sorted(maps.Keys(n.hosts))))
	}
	return p
}

// Close ends the switch. Processes that were started in the hosts live on, cut off from each other. Closing again does nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	close(n.done)
	var errs []error
	for _, h := range n.hosts {
		errs = append(errs, h.device.Close())
	}
	n.running.Wait()
	for _, h := range n.hosts {
		errs = append(errs, h.namespace.Close())
	}
	errs = append(errs, n.keeper.home.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the network: %w", err)
	}
	return nil
}

func numbered(number byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, number}) }
