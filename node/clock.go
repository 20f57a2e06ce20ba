package node

import (
	"sync/atomic"
	"time"
)

// clusterClock gives the time by which tokens live and die: the leader's, as far
// as this node knows it, so that nodes with skewed clocks agree. It never runs
// behind the largest time on the log. Safe for concurrent use.
type clusterClock struct {
	now    func() time.Time
	logged func() int64 // largest time on the applied log, Unix milliseconds
	offset atomic.Int64 // leader's clock minus ours, milliseconds
}

// Now returns the cluster's time.
func (c *clusterClock) Now() time.Time {
	now := c.now().UnixMilli() + c.offset.Load()
	return time.UnixMilli(max(now, c.logged()))
}

// leaderSaid takes note of the leader's clock as of a moment ago. The error is
// the time the answer was on its way.
func (c *clusterClock) leaderSaid(unixMilli int64) {
	c.offset.Store(unixMilli - c.now().UnixMilli())
}

// lead makes this node's own clock the cluster's.
func (c *clusterClock) lead() { c.offset.Store(0) }
