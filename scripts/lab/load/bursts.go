package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"jeton/node/token/tokentest"
)

// chain is one login after the other, each refreshed as long as its family may be.
type chain struct {
	*worker
	person *person
	family int
	next   int // generation to be refreshed
	alive  bool
}

// inChains does something to count refresh tokens, by as many chains at a time as there
// are workers. What is done tells whether it counts; it is tried until so many do. The
// error is the context's, or that of users who cannot be made.
func (l *Load) inChains(ctx context.Context, count int, do func(ctx context.Context, c *chain) bool) error {
	var left atomic.Int64
	left.Store(int64(count))
	var chains errgroup.Group
	for i := range l.config.Workers {
		w := &worker{Load: l, number: i, random: rand.New(rand.NewPCG(l.config.Seed, uint64(i)))} //nolint:gosec // reproducible, and no secret
		chains.Go(func() error {
			c := &chain{worker: w}
			defer c.finish()
			for left.Add(-1) >= 0 {
				if err := c.once(ctx, do); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := chains.Wait()
	l.probes.Wait()
	l.hangUp()
	return err
}

// once does it until it counts.
func (c *chain) once(ctx context.Context, do func(ctx context.Context, c *chain) bool) error {
	for {
		if err := c.login(ctx); err != nil {
			return err
		}
		if do(ctx, c) {
			c.next++
			return nil
		}
		c.finish() // nobody knows which generation is the last
	}
}

// login sees to it that there is a refresh token to be presented.
func (c *chain) login(ctx context.Context) error {
	if c.alive && c.next < maxRefreshed {
		return nil
	}
	c.finish()
	for ctx.Err() == nil {
		if c.person == nil && !c.appear(ctx) {
			continue
		}
		o := order{in: tokentest.Input{Action: tokentest.Issue, User: c.person.name}, person: c.person, at: c.other(nil)}
		if got := c.operate(ctx, o); got.recorded {
			c.family, c.next, c.alive = got.family, 0, true
			return nil
		}
	}
	return fmt.Errorf("log in: %w", context.Cause(ctx))
}

// appear makes a user of its own.
func (c *chain) appear(ctx context.Context) bool {
	c.crowd.mu.Lock()
	p := c.crowd.newPersonLocked()
	c.crowd.making++
	c.crowd.mu.Unlock()
	if c.enrol(ctx, order{enrol: true, person: p, at: c.other(nil)}) {
		c.person = p
	}
	return c.person != nil
}

func (c *chain) finish() {
	if c.alive {
		c.history.Finish(c.family)
	}
	c.alive = false
}

// refresh presents the chain's token at a target.
func (c *chain) refresh(ctx context.Context, e *endpoint) outcome {
	return c.operate(ctx, order{in: tokentest.Input{Action: tokentest.Refresh, User: c.person.name, Family: c.family, Generation: c.next}, at: e})
}

// Bursts presents refresh tokens, each at all targets at once and several times at each,
// until so many were answered by all. That there is one successor of each is judged as
// everything else is.
func (l *Load) Bursts(ctx context.Context, count, each int) error {
	return l.inChains(ctx, count, func(ctx context.Context, c *chain) bool {
		first := order{in: tokentest.Input{Action: tokentest.Refresh, User: c.person.name, Family: c.family, Generation: c.next}}
		return c.burst(ctx, first, each)
	})
}
