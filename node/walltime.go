package node

import "time"

// wallTime is the time of day as this machine has it: somebody may set it, forward and
// back. For how long something takes use time.Now, which knows that, and for leases
// bootTime.
func wallTime() time.Time { return time.Now() }
