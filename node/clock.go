package node

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"jeton/cluster"
)

// clusterClock gives the time by which tokens live and die. The leader takes the
// median of the voters' wall clocks (setClock), so that one wrong clock, also its own,
// changes nothing; the others follow the leader. From one look at the clocks to the next
// the time goes on by the boot-time clock, which nobody can set. It never runs behind the
// largest time on the log. Safe for concurrent use.
type clusterClock struct {
	wall     func() time.Time
	bootTime func() time.Duration
	logged   func() int64 // largest time on the applied log, Unix milliseconds
	offset   atomic.Int64 // the cluster's time minus boot time, milliseconds
	heard    atomic.Bool  // it is not only this node's own
}

// newClusterClock returns a clock that goes by this node's own until it hears others.
func newClusterClock(wall func() time.Time, bootTime func() time.Duration, logged func() int64) *clusterClock {
	c := &clusterClock{wall: wall, bootTime: bootTime, logged: logged}
	c.offset.Store(c.own() - bootTime().Milliseconds())
	return c
}

// Now returns the cluster's time.
func (c *clusterClock) Now() time.Time {
	now := c.bootTime().Milliseconds() + c.offset.Load()
	return time.UnixMilli(max(now, c.logged()))
}

// leaderSaid takes note of the leader's clock as of a moment ago. The error is
// the time the answer was on its way.
func (c *clusterClock) leaderSaid(unixMilli int64) {
	c.offset.Store(unixMilli - c.bootTime().Milliseconds())
	c.heard.Store(true)
}

// own returns this node's own wall clock, in Unix milliseconds.
func (c *clusterClock) own() int64 { return c.wall().UnixMilli() }

const (
	// surveyTimeout bounds the wait for a majority of clocks.
	surveyTimeout = 500 * time.Millisecond
	// surveyGrace is how long the others may take once a majority has answered.
	surveyGrace = 10 * time.Millisecond
	// surveyInterval is how often a leader looks at the clocks again: clocks drift,
	// and are set.
	surveyInterval = 10 * time.Second
	// skewWarning is the difference that an operator is told of: more than clocks
	// kept by NTP have.
	skewWarning = 5 * time.Second
)

// setClock makes the median of the voters' clocks the cluster's time. While some are
// silent it may be any of several, and the time goes on as this node knows it if that is among
// them; a node that knows only its own takes the earliest: a clock that is behind does less
// harm. Without a majority of clocks the time goes on in any case.
func (r *replica) setClock() {
	voters := r.voters()
	own := r.clock.own() - r.clock.bootTime().Milliseconds()
	clocks := r.askClocks(voters, own)
	known := int64(math.MinInt64)
	if r.clock.heard.Load() {
		known = r.clock.offset.Load()
	}
	agreed, ok := agreedClock(clocks, len(voters), known)
	if !ok {
		return
	}
	r.clock.offset.Store(agreed)
	r.clock.heard.Store(true)
	if skew := time.Duration(agreed-own) * time.Millisecond; skew.Abs() > skewWarning {
		r.log.Warn("this node's clock differs from its peers'; theirs is used", "difference", skew)
	}
}

// askClocks returns the clocks of the voters that answer in time, each minus our boot time,
// which is read last: if this process is paused in between, the time falls behind, and is never
// ahead.
func (r *replica) askClocks(voters []voter, own int64) (clocks []int64) {
	answers := make(chan *int64, len(voters)) // nil: there is none
	asked := 0
	for _, v := range voters {
		if v.self {
			clocks = append(clocks, own)
			continue
		}
		asked++
		r.peers.StartConfirm(v.address, func(answer cluster.Confirmation, err error) {
			if err != nil || answer.ServerID != v.id {
				answers <- nil
				return
			}
			ahead := answer.NowUnixMilli - r.clock.bootTime().Milliseconds()
			answers <- &ahead
		})
	}
	timer := time.NewTimer(surveyTimeout)
	defer timer.Stop()
	for ; asked > 0; asked-- {
		select {
		case clock := <-answers:
			if clock == nil {
				continue
			}
			if clocks = append(clocks, *clock); len(clocks) == len(voters)/2+1 {
				timer.Reset(surveyGrace)
			}
		case <-timer.C:
			return clocks
		}
	}
	return clocks
}

// agreedClock returns what the clocks of a majority of the voters allow to believe: of all that
// the median of all voters' may be, what is nearest to the known time. All are in
// milliseconds since the same moment.
func agreedClock(clocks []int64, voters int, known int64) (agreed int64, ok bool) {
	if len(clocks) <= voters/2 {
		return 0, false
	}
	slices.Sort(clocks)
	middle, silent := (voters-1)/2, voters-len(clocks)
	earliest, latest := clocks[max(middle-silent, 0)], clocks[min(middle, len(clocks)-1)]
	return min(max(known, earliest), latest), true
}
