//go:build race

package cluster_test

import "runtime"

// All timers of a synctest bubble share one context of the race detector, which crashes when two
// threads fire such timers at once (golang/go#78156). So with the detector one thread runs at a time;
// it still compares every pair of accesses, since it orders them by happens-before and not by the clock.
var _ = runtime.GOMAXPROCS(1)
