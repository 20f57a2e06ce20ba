package load

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"jeton/node/token/tokentest"
)

// Target is somebody who answers: a node, or a load balancer before all of them.
type Target struct {
	Name string // in figures and reports
	URL  string // https://host:port
	// Balancer answers of its own when no node does: 502, 503 or 504 without Retry-After.
	Balancer bool
}

// Config is what clients need. Fields without a word about zero are required.
type Config struct {
	Targets []Target
	// Roots verify the targets' certificates.
	Roots *x509.CertPool
	// Username and Password are of a user who may do everything.
	Username, Password string
	// Workers bounds the operations in flight; each target has its share of them.
	Workers int
	// Clients is how many share each target's requests, each with connections of its own,
	// so that there are as many connections as that however quick the answers are. Zero: one.
	Clients int
	// Rate is how many requests are sent a second, all in all.
	Rate float64
	// Users is how many are in use at a time. Zero: one for each two families.
	Users int
	// Families is how many are in use at a time. Zero: as many as requests in half a
	// second, at least 40.
	Families int
	// Seed decides what is asked where, but not when it is answered.
	Seed uint64
	// Now is a clock with a monotonic reading.
	Now func() time.Time
	// Timeout is a client's patience for one request.
	Timeout time.Duration
	// RefreshWindow is the servers' setting; zero: a second use ends the family.
	RefreshWindow time.Duration
	// Tolerance is how far the servers' time may be made to run from true time while a
	// refresh window is open. Zero: not at all.
	Tolerance time.Duration
	// Calm leaves out what is not ordinary use: requests that are given up on purpose, and
	// many at once about one token, which take long to judge when answers are slow.
	Calm bool
}

func (c *Config) check() error {
	var problems []error
	require := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, errors.New("load: "+problem))
		}
	}
	require(len(c.Targets) > 0, "no targets")
	require(c.Username != "" && c.Password != "", "no user")
	require(c.Workers > 0, "no workers")
	require(c.Rate > 0, "no rate")
	require(c.Now != nil, "no clock")
	require(c.Timeout > 0, "no timeout")
	return errors.Join(problems...)
}

// Load is many clients. Its methods are safe for concurrent use.
type Load struct {
	config    Config
	began     time.Time
	history   *tokentest.History
	figures   *collector
	crowd     *crowd
	canaries  *canaries
	endpoints atomic.Pointer[[]*endpoint]
	roots     atomic.Pointer[x509.CertPool]
	debt      atomic.Int64   // requests sent beyond those that the rate began
	probes    sync.WaitGroup // requests that nobody waits for
}

// New returns clients that have asked for nothing yet.
func New(c Config) (*Load, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Families == 0 {
		c.Families = max(40, int(c.Rate/2))
	}
	if c.Users == 0 {
		c.Users = (c.Families + 1) / 2
	}
	l := &Load{config: c, began: c.Now()}
	l.history = tokentest.NewHistory(tokentest.Config{Window: c.RefreshWindow, Tolerance: c.Tolerance, Now: l.now})
	l.figures = newCollector(l.began, l.now)
	l.crowd = newCrowd(l)
	l.canaries = newCanaries(c.Seed)
	l.canaries.add(c.Password)
	l.roots.Store(c.Roots)
	l.SetTargets(c.Targets)
	return l, nil
}

// now is the time since the load was made.
func (l *Load) now() time.Duration { return l.config.Now().Sub(l.began) }

// SetTargets replaces the targets, as when a node has another address. Connections to
// those that stay are kept.
func (l *Load) SetTargets(targets []Target) {
	known := make(map[Target]*endpoint)
	if old := l.endpoints.Load(); old != nil {
		for _, e := range *old {
			known[e.Target] = e
		}
	}
	endpoints := make([]*endpoint, 0, len(targets))
	for _, t := range targets {
		e := known[t]
		if e == nil {
			e = newEndpoint(t, l.config, &l.roots)
		}
		delete(known, t)
		endpoints = append(endpoints, e)
	}
	l.endpoints.Store(&endpoints)
	for _, gone := range known {
		gone.hangUp()
	}
}

// SetRoots has clients trust other authorities, and connect anew where no request is under way.
func (l *Load) SetRoots(roots *x509.CertPool) {
	l.roots.Store(roots)
	l.hangUp()
}

// hangUp closes the connections that nobody uses.
func (l *Load) hangUp() {
	for _, e := range *l.endpoints.Load() {
		e.hangUp()
	}
}

// Run asks until the context ends, and returns when the last answer came or was given
// up, and connections are closed. It may be called again.
func (l *Load) Run(ctx context.Context) {
	arrivals := make(chan struct{})
	var workers sync.WaitGroup
	for i := range l.config.Workers {
		w := &worker{Load: l, number: i, random: rand.New(rand.NewPCG(l.config.Seed, uint64(i)))} //nolint:gosec // reproducible, and no secret
		workers.Go(func() {
			for range arrivals {
				w.once(context.WithoutCancel(ctx))
			}
		})
	}
	l.arrive(ctx, arrivals)
	close(arrivals)
	workers.Wait()
	l.probes.Wait()
	l.hangUp()
}

// arrive lets requests begin at random moments, at the rate that is asked for.
func (l *Load) arrive(ctx context.Context, arrivals chan<- struct{}) {
	random := rand.New(rand.NewPCG(l.config.Seed, 1<<32)) //nolint:gosec // reproducible, and no secret
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := l.now()
	for {
		next += time.Duration(random.ExpFloat64() / l.config.Rate * float64(time.Second))
		timer.Reset(next - l.now())
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if l.debt.Load() > 0 {
			l.debt.Add(-1)
			continue
		}
		select {
		case arrivals <- struct{}{}:
		default: // all workers wait for answers
			l.figures.miss()
		}
	}
}

// Settle asks every target about every token that is in use. It is for a cluster that is
// well: who does not answer is a problem.
func (l *Load) Settle(ctx context.Context) {
	w := &worker{Load: l, number: l.config.Workers, random: rand.New(rand.NewPCG(l.config.Seed, 2<<32))} //nolint:gosec // reproducible, and no secret
	slots := make(chan struct{}, l.config.Workers)
	var asked sync.WaitGroup
	for _, number := range l.crowd.numbers() {
		user, pairs := l.history.Family(number)
		for generation := range pairs {
			for _, e := range *l.endpoints.Load() {
				slots <- struct{}{}
				asked.Go(func() {
					in := tokentest.Input{Action: tokentest.Authenticate, User: user, Family: number, Generation: generation}
					o := w.operate(ctx, order{in: in, at: e})
					if !o.recorded && ctx.Err() == nil {
						l.history.Problem("%s does not answer in a cluster that is well: %s", e.Name, o.said())
					}
					<-slots
				})
			}
		}
	}
	asked.Wait()
	l.hangUp()
}

// Check judges what is left and returns all that was wrong since the beginning. Call it
// when Run has returned.
func (l *Load) Check() []string { return l.history.Check() }

// Problems returns what was found wrong so far, at any time.
func (l *Load) Problems() []string { return l.history.Problems() }

// Finding is something wrong, and when it showed.
type Finding struct {
	At   time.Time
	What string
}

// Findings returns what was found wrong so far, at any time.
func (l *Load) Findings() (findings []Finding) {
	for _, f := range l.history.Findings() {
		findings = append(findings, Finding{l.began.Add(f.At), f.What})
	}
	return findings
}

// Canaries returns secrets that were sent or seen, to be searched for where no secret
// may be: every password, and of a long run's tokens a random sample of some thousands.
func (l *Load) Canaries() []string { return l.canaries.all() }
