//go:build !linux

package node

import "time"

var started = time.Now()

// bootTime is the time since the process started. Where the machine may sleep
// meanwhile, leases are not safe: use read.mode quorum.
func bootTime() time.Duration { return time.Since(started) }
