package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since the machine started, its sleep included. Go's own
// monotonic clock stands still while a machine sleeps, and a lease must not.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("node: no boot-time clock: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(ts.Nano())
}
