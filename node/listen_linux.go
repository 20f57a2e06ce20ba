package node

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// letNobodyIn has the kernel ignore those who begin to connect, so that those that it
// has let in already can all be accepted: closing a listener resets them.
func letNobodyIn(listener *net.TCPListener) error {
	const (
		flags = 13 // where a TCP header has them; a filter of a TCP socket sees packets from there
		syn   = 0x02
		whole = 1<<32 - 1
	)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: whole},
	}
	raw, err := listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach the socket: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]} //nolint:gosec // four
	var attached error
	err = raw.Control(func(fd uintptr) {
		attached = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
	if err = errors.Join(err, attached); err != nil {
		return fmt.Errorf("attach a filter: %w", err)
	}
	return nil
}
