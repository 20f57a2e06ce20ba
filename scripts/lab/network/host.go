package network

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
)

// A Host has a network namespace, and an address in the laboratory's network. Its methods may be called concurrently.
type Host struct {
	name      string
	network   *Network
	namespace *os.File
	device    *os.File
	address   atomic.Pointer[netip.Addr] // changes under network.mu
}

// Name is what the host was added as.
func (h *Host) Name() string { return h.name }

// Address is where the others reach the host now.
func (h *Host) Address() netip.Addr { return *h.address.Load() }

// Start starts cmd inside the host's namespace, otherwise as [exec.Cmd.Start] does.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// Do calls act on a thread that is inside the host's namespace: sockets that act itself opens are the host's, wherever they
// are used later. One call is served at a time, for all hosts: act is to be short, and may not call Do, Start, Move, AddHost
// or Orphan.
func (h *Host) Do(act func() error) error {
	return h.network.keeper.within(func() error { return setns(h.namespace) }, act)
}

// Move gives the host another address, which must be a free one of 10.99.0.0/24. Its connections are not told: they hang, as
// those of a machine that was moved do.
func (h *Host) Move(address netip.Addr) error {
	if err := h.network.take(h, address); err != nil {
		return fmt.Errorf("move %s to %s: %w", h.name, address, err)
	}
	if err := h.Do(func() error { return changeAddress(address) }); err != nil {
		return fmt.Errorf("move %s to %s: %w", h.name, address, err)
	}
	return nil
}

// receive hands a packet to the host's kernel. It reports whether the kernel took it.
func (h *Host) receive(packet []byte) bool {
	_, err := h.device.Write(packet)
	return err == nil
}
