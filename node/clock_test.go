package node

import (
	"testing"
	"time"
)

// A leader whose clock was ten years ahead ended every token at once, and kept
// those issued afterwards alive for ten years.
func TestOneWrongClockDoesNotCount(t *testing.T) {
	const decade = 10 * 365 * 24 * 3_600_000
	for _, c := range []struct {
		name   string
		clocks []int64
		voters int
		want   int64
		ok     bool
	}{
		{"one node has nobody to ask", []int64{1000}, 1, 1000, true},
		{"one far ahead", []int64{1000 + decade, 1000, 1003}, 3, 1003, true},
		{"one far behind", []int64{1000, 1000 - decade, 1003}, 3, 1000, true},
		{"of two the earlier", []int64{1000 + decade, 1000}, 3, 1000, true},
		{"two wrong of five", []int64{1000 + decade, 1002, 1000, 1001, 1000 + decade}, 5, 1002, true},
		{"no majority of clocks", []int64{1000 + decade}, 3, 0, false},
		{"nobody", nil, 3, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := medianClock(c.clocks, c.voters); got != c.want || ok != c.ok {
				t.Errorf("%d, %t; want %d, %t", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestTheClusterClockNeverRunsBehindTheLog(t *testing.T) {
	own, logged := int64(5000), int64(7000)
	c := clusterClock{now: func() time.Time { return time.UnixMilli(own) }, logged: func() int64 { return logged }}
	if got := c.Now().UnixMilli(); got != logged {
		t.Errorf("%d, want the log's %d", got, logged)
	}
	c.leaderSaid(9000)
	if got := c.Now().UnixMilli(); got != 9000 {
		t.Errorf("%d, want the leader's 9000", got)
	}
}
