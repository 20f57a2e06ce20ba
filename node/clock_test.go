package node

import (
	"math"
	"testing"
	"time"
)

// A leader whose clock was ten years ahead ended every token at once, and kept
// those issued afterwards alive for ten years.
func TestOneWrongClockDoesNotCount(t *testing.T) {
	const decade = 10 * 365 * 24 * 3_600_000
	const unknown = math.MinInt64
	for _, c := range []struct {
		name   string
		clocks []int64
		voters int
		known  int64
		want   int64
		ok     bool
	}{
		{"one node has nobody to ask", []int64{1000}, 1, unknown, 1000, true},
		{"nor does it go by what it knew", []int64{1000}, 1, 2000, 1000, true},
		{"one far ahead", []int64{1000 + decade, 1000, 1003}, 3, 1001, 1003, true},
		{"one far behind", []int64{1000, 1000 - decade, 1003}, 3, unknown, 1000, true},
		{"of two the earlier", []int64{1000 + decade, 1000}, 3, unknown, 1000, true},
		{"two, and one has been set back", []int64{1000 - decade, 1000}, 3, 1001, 1000, true},
		{"two, and one has been set ahead", []int64{1000, 1000 + decade}, 3, 1001, 1001, true},
		{"two agree on another time", []int64{1000, 1010}, 3, 500, 1000, true},
		{"two wrong of five", []int64{1000 + decade, 1002, 1000, 1001, 1000 + decade}, 5, unknown, 1002, true},
		{"one wrong of four, one silent", []int64{1000 - decade, 1002, 1000, 1001}, 5, 1001, 1001, true},
		{"no majority of clocks", []int64{1000 + decade}, 3, 1000, 0, false},
		{"nobody", nil, 3, 1000, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := agreedClock(c.clocks, c.voters, c.known); got != c.want || ok != c.ok {
				t.Errorf("%d, %t; want %d, %t", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestTheClusterClockNeverRunsBehindTheLog(t *testing.T) {
	own, logged := int64(5000), int64(7000)
	c := newClusterClock(func() time.Time { return time.UnixMilli(own) }, func() time.Duration { return time.Hour }, func() int64 { return logged })
	if got := c.Now().UnixMilli(); got != logged {
		t.Errorf("%d, want the log's %d", got, logged)
	}
	c.leaderSaid(9000)
	if got := c.Now().UnixMilli(); got != 9000 {
		t.Errorf("%d, want the leader's 9000", got)
	}
}

// A leader whose wall clock was set an hour ahead ended every token until it looked at its
// peers' clocks again: for ever, since time on the log never goes back.
func TestTheClusterClockGoesOnWhenAWallClockIsSet(t *testing.T) {
	wall, boot := time.UnixMilli(5000), time.Hour
	c := newClusterClock(func() time.Time { return wall }, func() time.Duration { return boot }, func() int64 { return 0 })
	wall, boot = wall.Add(time.Hour), boot+time.Second
	if got := c.Now().UnixMilli(); got != 6000 {
		t.Errorf("%d, a second after 5000 and the clock set", got)
	}
	if got, want := c.own(), wall.UnixMilli(); got != want {
		t.Errorf("%d: peers are told %d, which is the median's to judge", got, want)
	}
}
