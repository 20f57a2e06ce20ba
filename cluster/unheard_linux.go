package cluster

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpUnheard has the kernel end a connection when the other end has acknowledged nothing for so long of
// what was sent (TCP_USER_TIMEOUT). A peer's kernel
// acknowledges also for a process that is slow or paused, as long as its buffers have room.
func giveUpUnheard(conn *net.TCPConn, after time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err //nolint:wrapcheck // the caller passes over it
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
	if err != nil {
		return err //nolint:wrapcheck // the same
	}
	return set //nolint:wrapcheck // the same
}
