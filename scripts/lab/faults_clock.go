package main

import (
	"context"
	"fmt"
	"time"
)

// clockFaults are those of clocks, each within what the promises allow: wall clocks of a minority may show
// anything, and where there are read leases the others' rate may differ by two percent.
func clockFaults() (rows []fault) {
	rows = append(rows, forEach(fault{name: "jump-clock", what: "its wall clock is set, and set back later", kind: kindWallClock}, func(_ context.Context, t *trial, n *node) func(context.Context) {
		by := t.between(-2*time.Hour, 2*time.Hour)
		t.text = fmt.Sprintf("by %v", by.Round(time.Second))
		n.clock.Jump(by)
		return simply(n.clock.Mend)
	})...)
	return append(rows,
		fault{name: "skew-wall-clock", what: "the wall clock of a node runs up to a tenth too fast or too slow", kind: kindWallClock, inject: func(_ context.Context, t *trial) func(context.Context) {
			n := t.anyone()
			rate := 0.9 + 0.2*t.rand.Float64()
			t.text = fmt.Sprintf("at %.3f", rate)
			n.clock.WallRate(rate)
			return simply(n.clock.Mend)
		}},
		fault{name: "skew-clocks", what: "the clocks of all nodes run up to two percent too fast or too slow", inject: skewClocks},
		fault{name: "race-clocks", what: "the clocks of a node run up to a third too slow or too fast", need: needsQuorum, kind: kindWallClock, inject: func(_ context.Context, t *trial) func(context.Context) {
			n := t.anyone()
			rate := 0.67 + 0.66*t.rand.Float64()
			t.text = fmt.Sprintf("at %.3f", rate)
			n.clock.Rate(rate)
			return simply(n.clock.Mend)
		}},
	)
}

// soundRates are those that read leases allow for.
const soundRates = 0.019

func skewClocks(_ context.Context, t *trial) func(context.Context) {
	for _, n := range t.nodes {
		rate := 1 + soundRates*(2*t.rand.Float64()-1)
		if t.rand.IntN(2) == 0 { // most often at the bounds
			rate = []float64{1 - soundRates, 1 + soundRates}[t.rand.IntN(2)]
		}
		n.clock.Rate(rate)
		t.text += fmt.Sprintf("%s %.3f ", n.name, rate)
	}
	return simply(func() {
		for _, n := range t.nodes {
			n.clock.Mend()
		}
	})
}
