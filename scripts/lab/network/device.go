package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const (
	deviceName = "jeton0"

	// mtu is large so that bulk data costs few packets: each is read and written by one system call.
	mtu = 60000

	// deviceQueue is how many packets the kernel keeps for the switch; beyond, it drops them.
	deviceQueue = 10000
)

// openDevice makes the TUN device of the network namespace that the calling thread is in, with address, and brings it up.
func openDevice(address netip.Addr) (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", ErrForbidden, tunDevice, err)
	}
	if err := attach(fd, address); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// Only now: the runtime's poller takes a device that is attached to nothing for a broken one.
	return os.NewFile(uintptr(fd), deviceName), nil
}

func attach(fd int, address netip.Addr) error {
	request, err := unix.NewIfreq(deviceName)
	if err != nil {
		return fmt.Errorf("name a device: %w", err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make a TUN device: %w", err) // EBUSY: this namespace has a network already
	}
	return configure(deviceName, func(set setter) error {
		if err := set("MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }); err != nil {
			return err
		}
		err := set("length of the queue", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(deviceQueue); return nil })
		if err != nil && !errors.Is(err, unix.EPERM) { // in a user namespace the kernel's own 500 must do
			return err
		}
		if err := setAddress(set, address); err != nil {
			return err
		}
		return set("device up", unix.SIOCSIFFLAGS, up)
	})
}

// changeAddress gives the device of the calling thread's namespace another address instead of the one it has.
func changeAddress(address netip.Addr) error {
	return configure(deviceName, func(set setter) error { return setAddress(set, address) })
}

func setAddress(set setter, address netip.Addr) error {
	err := set("address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.AsSlice()) })
	if err != nil {
		return err
	}
	// With the mask comes the route to all the other hosts.
	return set("network mask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) })
}

// loopbackUp brings up the loopback device of the calling thread's namespace.
func loopbackUp() error {
	return configure("lo", func(set setter) error { return set("device up", unix.SIOCSIFFLAGS, up) })
}

func up(r *unix.Ifreq) error {
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return nil
}

// A setter changes one property of a device.
type setter func(what string, request uint, fill func(*unix.Ifreq) error) error

// configure lets change set properties of the named device, all through one socket.
func configure(name string, change func(set setter) error) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to configure %s: %w", name, err)
	}
	defer func() { _ = unix.Close(socket) }()
	return change(func(what string, request uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(socket, request, r)
		}
		if err != nil {
			return fmt.Errorf("configure %s: %s: %w", name, what, err)
		}
		return nil
	})
}
