package main

import (
	"context"
	"fmt"
	"time"
)

// authorityScenario replaces the authorities while nothing else is wrong: then no client may notice.
func authorityScenario() scenario {
	return scenario{
		name: "rotate-authority", what: "nodes and clients go from one authority to another under load: no request may fail, the former one's certificates are refused",
		rate: defaultRate, round: func(ctx context.Context, r *rounds) error { return r.rotateAuthority(ctx) },
	}
}

func (r *rounds) rotateAuthority(ctx context.Context) error {
	before, began := r.load.Stats().All, time.Now()
	c := &change{trial: &trial{cluster: r.cluster, rand: r.rand}, hangUp: r.rand.IntN(4) > 0}
	if err := c.run(ctx); err != nil {
		return err
	}
	r.figure(fmt.Sprintf("both authorities replaced (with SIGHUP: %t)", c.hangUp), time.Since(began))
	if tried := 2 * len(r.cluster.nodes); c.refused != tried {
		return fmt.Errorf("with the former authority %d of %d connections were refused", c.refused, tried)
	}
	pause(ctx, calm)
	after := r.load.Stats()
	if wrong := after.All.Unavailable - before.Unavailable + after.All.Failed - before.Failed; wrong > 0 {
		r.journal.violate("%d requests failed while authorities were replaced: %v", wrong, after.Examples)
	}
	return r.cluster.awaitReady(ctx, recoveryBound)
}
