package node

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/token/tokentest"
)

const (
	// simDuration is how long clients and faults go on in one random history.
	simDuration = 2500 * time.Millisecond
	simClients  = 4
	// simLease is two thirds of an election, so that some leases outlast one.
	simLease = 300 * time.Millisecond
	// historyBudget is how much real time random histories may take, unless their number is
	// given.
	historyBudget = 20 * time.Second
)

// TestRandomHistoriesAreLinearizable lets clients use a cluster through all its
// members while processes, links and disks fail, and checks what they saw. The
// seed of a failure, in JETON_SIM_SEED, repeats the faults and requests, but not
// the scheduling of goroutines nor raft's election timeouts: it is run many times.
// JETON_SIM_HISTORIES is how many clusters are run, each with a seed of its own.
func TestRandomHistoriesAreLinearizable(t *testing.T) {
	began := time.Now()
	seed, histories, budget := rand.Uint64N(1e9)*1000, 400, historyBudget
	if _, again := os.LookupEnv("JETON_SIM_SEED"); again {
		seed, histories, budget = simSeed(t, 0), 100, time.Hour
	}
	if text, given := os.LookupEnv("JETON_SIM_HISTORIES"); given {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("JETON_SIM_HISTORIES: %v", err)
		}
		histories, budget = n, time.Hour
	}
	var done, operations atomic.Int64
	t.Run("all", func(t *testing.T) {
		for i := range uint64(histories) {
			own := simSeed(t, seed+i)
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				if time.Since(began) > budget {
					t.SkipNow()
				}
				var v variant
				if own%3 > 0 {
					v.lease = simLease
				}
				h, problems := randomHistory(t, own, v)
				for _, problem := range problems {
					t.Error(problem)
				}
				if len(problems) > 0 {
					t.Logf("run again with JETON_SIM_SEED=%d", own)
				}
				done.Add(1)
				operations.Add(int64(h.Tally().Operations))
			})
		}
	})
	t.Logf("%d histories, %d operations, first seed %d", done.Load(), operations.Load(), seed)
	enough := int64(20)
	if budget > historyBudget {
		enough = int64(histories)
	}
	if done.Load() < enough || operations.Load() < 20*done.Load() {
		t.Errorf("%d operations in %d histories prove nothing", operations.Load(), done.Load())
	}
}

// randomHistory runs one cluster through random faults and returns what clients
// saw and what was wrong.
func randomHistory(t *testing.T, seed uint64, v variant) (h *tokentest.History, problems []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := simOptions{seed: seed, trailing: 8, variant: v, window: 30 * time.Second}
		if seed%2 == 1 {
			o.window = -1
		}
		h = tokentest.NewHistory(tokentest.Config{Window: o.window})
		o.spares = int(seed / 2 % 2)
		o.restores = seed/4%4 == 0
		s := newSim(t, o)
		defer s.close()
		for _, m := range s.members {
			m.skew = time.Duration(s.random.IntN(4000)-2000) * time.Millisecond
			m.rate = float64(s.random.IntN(3)-1) / leaseDrift
		}
		if v.sleepy || s.random.IntN(2) == 0 {
			s.startWithSleepyLeader()
		} else {
			s.startAll()
		}
		s.addUser("user0")
		s.addUser("user1")
		s.initialize(0)
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range simClients + v.clients {
			c := &client{number: i, sim: s, history: h, random: rand.New(rand.NewPCG(seed, 100+uint64(i)))}
			clients.Go(func() { c.run(stop) })
		}
		s.harass(simDuration)
		close(stop)
		clients.Wait()
		s.settle()
		c := &client{number: simClients + v.clients, sim: s, history: h}
		for _, m := range s.members {
			c.askForEverything(m)
		}
		problems = s.problems
	})
	return h, append(problems, h.Check()...)
}

// askForEverything asks a member of a healthy cluster for every token.
func (c *client) askForEverything(m *member) {
	c.p = m.running()
	for f := range c.history.Begun() {
		user, pairs := c.history.Family(f)
		for g := range pairs {
			ctx, cancel := context.WithTimeout(c.sim.t.Context(), recovery)
			c.act(ctx, tokentest.Input{Action: tokentest.Authenticate, User: user, Family: f, Generation: g})
			cancel()
		}
	}
}

// harass makes faults for a while.
func (s *sim) harass(d time.Duration) {
	faults := []func(){
		s.cutOff, s.cutOff, s.cutOff, s.cutOneLink, s.net.heal, s.net.heal, s.killSome, s.killSome, s.startDown, s.startDown,
		s.freezeSome, s.thawSome, s.thawSome, s.pauseLeader, s.pauseLeader, s.loseSome, s.slowDown, s.restart, s.takeSnapshots, s.takeSnapshots,
		s.setClocks, s.standSome,
	}
	if s.options.spares > 0 {
		faults = append(faults, s.grow, s.grow)
	}
	if chosen := s.options.variant.faults; chosen != nil {
		faults = chosen(s)
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Duration(20+s.random.IntN(180)) * time.Millisecond)
		faults[s.random.IntN(len(faults))]()
		s.supervise()
	}
}

// victim draws a member, the leader more often than others.
func (s *sim) victim() *member {
	if s.random.IntN(2) == 0 {
		for _, m := range s.members {
			if p := m.running(); p != nil && p.node.replica.leads() {
				return m
			}
		}
	}
	return s.members[s.random.IntN(len(s.members))]
}

func (s *sim) cutOff() {
	victim := s.victim()
	for _, m := range s.members {
		if m != victim {
			s.net.isolate(names(victim), names(m), s.random.IntN(4) == 0)
		}
	}
}

func (s *sim) cutOneLink() {
	s.net.isolate(names(s.victim()), names(s.victim()), s.random.IntN(2) == 0)
}

func (s *sim) killSome() {
	s.victim().kill()
	if s.random.IntN(4) == 0 {
		s.victim().kill()
	}
}

func (s *sim) startDown() {
	for _, m := range s.members {
		m.start()
	}
}

func (s *sim) freezeSome() { s.net.freeze(s.victim().name) }

// pauseLeader freezes the leader for as long as it takes to replace it.
func (s *sim) pauseLeader() {
	for _, m := range s.members {
		if p := m.running(); p != nil && p.node.replica.leads() {
			s.net.freeze(m.name)
			time.Sleep(time.Duration(3+s.random.IntN(4)) * simHeartbeat)
			s.net.thaw(m.name)
			return
		}
	}
}

func (s *sim) thawSome() {
	for _, m := range s.members {
		s.net.thaw(m.name)
	}
}

// grow tries to make a member of a spare, or a voter of a member.
func (s *sim) grow() {
	spare := s.members[len(s.members)-1]
	spare.start()
	_ = s.enlist(spare, s.random.IntN(2) == 0) // it is tried again
}

func (s *sim) loseSome() {
	s.net.change(func() { s.net.loss = s.random.Float64() / 5 })
}

func (s *sim) slowDown() {
	s.net.change(func() { s.net.delay = time.Duration(1+s.random.IntN(60)) * time.Millisecond })
}

// setClocks sets somebody's wall clock.
func (s *sim) setClocks() {
	s.victim().jumped.Store(int64(time.Duration(s.random.IntN(10)-5) * time.Second))
}

// standSome has one voter stand for election, or two in the same term, as if the leader had
// ended; a candidate leaves its election.
func (s *sim) standSome() {
	for range 1 + s.random.IntN(2) {
		p := s.victim().running()
		if p == nil || !slices.ContainsFunc(p.node.replica.voters(), func(v voter) bool { return v.self }) {
			continue
		}
		lost := uint64(0)
		if p.node.replica.raft.State() == raft.Candidate {
			lost = p.node.replica.raft.CurrentTerm()
		}
		p.node.replica.vigil.stand(lost)
	}
}

func (s *sim) restart() {
	victim := s.victim()
	victim.terminate()
	time.Sleep(time.Duration(s.random.IntN(50)) * time.Millisecond)
	victim.start()
}

func (s *sim) takeSnapshots() {
	for _, m := range s.members {
		if p := m.running(); p != nil && s.random.IntN(2) == 0 {
			ctx, cancel := context.WithTimeout(p.ctx, time.Second)
			_ = await(ctx, p.node.replica.raft.Snapshot()) // nothing new is no problem
			cancel()
		}
	}
}

// wordOfLeader believes whoever says that it leads.
type wordOfLeader struct{ *replica }

func (e wordOfLeader) confirm(ctx context.Context) error {
	if answer := e.confirmSelf(); answer.Leader {
		return e.catchUp(ctx, answer)
	}
	for ctx.Err() == nil {
		address, _ := e.raft.LeaderWithID()
		answers := make(chan reply, 1)
		e.peers.StartConfirm(address, func(c cluster.Confirmation, err error) { answers <- reply{c, err} })
		if r := <-answers; r.err == nil && r.answer.Leader {
			return e.catchUp(ctx, r.answer)
		}
		pause(ctx, retryDelay)
	}
	return context.Cause(ctx)
}

// eager answers before it has applied what the leader has.
type eager struct{ *replica }

func (eager) catchUp(context.Context, cluster.Confirmation) error { return nil }

// upstart claims to be fit to lead as soon as it is elected.
type upstart struct{ *replica }

func (e upstart) confirmSelf() cluster.Confirmation {
	answer := e.replica.confirmSelf()
	if e.leads() && !answer.Leader {
		answer.Leader, answer.Applied = true, e.state.Applied()
		answer.Voters = cluster.Fingerprint(raft.Configuration{Servers: e.servers()})
	}
	return answer
}

// forgetful draws new operation ids for every attempt.
type forgetful struct{ *replica }

func (a forgetful) append(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error) {
	renamed := make([][]byte, len(commands))
	for i, c := range commands {
		renamed[i] = slices.Clone(c)
		_, _ = crand.Read(renamed[i][2:18]) // after kind and format
	}
	return a.replica.append(ctx, renamed)
}

// careless takes a revocation that failed for one that succeeded.
type careless struct{ *replica }

func (a careless) append(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error) {
	outcomes, err := a.replica.append(ctx, commands)
	if err != nil && fsm.Kind(commands[0][0]).Revokes() {
		return make([]fsm.Outcome, len(commands)), nil
	}
	return outcomes, err
}

// cached believes a proof for a while.
func cached(n *Node) func(context.Context) error {
	var last atomic.Int64
	return func(ctx context.Context) error {
		if time.Now().UnixNano()-last.Load() < int64(50*time.Millisecond) {
			return nil
		}
		began := time.Now()
		if err := n.confirmer.ConfirmRead(ctx); err != nil {
			return err
		}
		last.Store(began.UnixNano())
		return nil
	}
}

// verifying relies on raft's VerifyLeader where it leads.
func verifying(n *Node) func(context.Context) error {
	return func(ctx context.Context) error {
		if r := n.replica; r.leads() {
			if await(ctx, r.raft.VerifyLeader()) == nil {
				return nil
			}
		}
		return n.confirmer.ConfirmRead(ctx)
	}
}

// hasty lives faster than the others, so that leases end too early for it.
func hasty(factor int64) func() time.Duration {
	return func() time.Duration { return time.Duration(factor * time.Since(simStart).Nanoseconds()) }
}

// byWall measures leases with the wall clock.
func byWall(r *replica) {
	wall := func() time.Duration { return r.clock.wall().Sub(simStart) }
	r.lease.bootTime, r.coverage.bootTime = wall, wall
}

// inMemory gets leases from whoever believes that it leads, past the log.
func inMemory(r *replica) {
	r.lease.append = func(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error) {
		asked, err := leasesOf(commands)
		if err != nil {
			return nil, err
		}
		span := time.Duration(asked[0].Span) * time.Millisecond
		grant := func(to *incarnation) (struct{}, error) {
			leader := to.node.replica
			if _, fit := leader.inOffice(); !fit {
				return struct{}{}, errNotLeader
			}
			leader.coverage.granted(r.id, span)
			return struct{}{}, nil
		}
		from := r.peers.(simPeers).from
		if r.leads() {
			_, err = grant(from)
		} else {
			address, _ := r.raft.LeaderWithID()
			_, err = call(ctx, from, address, grant)
		}
		if err == nil {
			r.lease.mu.Lock()
			defer r.lease.mu.Unlock()
			r.lease.extend(r.lease.asked[asked[0].Number] + span)
		}
		return nil, err
	}
}

// unaware trusts the lease and does not look at what is pending.
func unaware(r *replica) func(fsm.Digest, *fsm.Identity) bool {
	return func(fsm.Digest, *fsm.Identity) bool { return r.lease.holds() }
}

// TestNegativeControlsAreCaught shows that the histories can fail: each control
// is a plausible shortcut.
func TestNegativeControlsAreCaught(t *testing.T) {
	const limit = 200
	for name, v := range map[string]variant{
		"reads are not confirmed": {confirm: func(*Node) func(context.Context) error { return func(context.Context) error { return nil } }},
		"reads are confirmed by VerifyLeader": {
			confirm: verifying, sleepy: true, clients: 8,
			faults: func(s *sim) []func() { return []func(){s.pauseLeader, s.pauseLeader, s.restart} },
		},
		"reads trust whoever claims to lead": {confirm: func(n *Node) func(context.Context) error { return wordOfLeader{n.replica}.confirm }},
		"a proof is believed for 50 ms":      {confirm: cached},
		"a leader answers before its barrier": {
			electorate: func(r *replica) electorate { return upstart{r} },
			faults:     func(s *sim) []func() { return []func(){s.slowDown, s.killSome, s.startDown, s.startDown} },
		},
		"reads do not wait for the index":          {electorate: func(r *replica) electorate { return eager{r} }},
		"a revocation that failed is acknowledged": {appender: func(r *replica) appender { return careless{r} }},
		"each attempt has its own id":              {appender: func(r *replica) appender { return forgetful{r} }},
		"a lease never ends": {lease: simLease, tamper: func(r *replica) {
			r.lease.bootTime = func() time.Duration { return 0 }
		}},
		"leases go by the wall clock": {lease: simLease, tamper: byWall, faults: func(s *sim) []func() {
			return []func(){s.setClocks, s.setClocks, s.pauseLeader, s.cutOff, s.net.heal}
		}},
		"leases are granted in memory": {lease: 2 * simLease, tamper: inMemory, faults: func(s *sim) []func() {
			return []func(){s.pauseLeader, s.pauseLeader, s.cutOff, s.net.heal}
		}},
		"a revocation waits for nobody":    {lease: simLease, tamper: func(r *replica) { r.coverage.bootTime = hasty(1000) }},
		"a new leader inherits no lease":   {lease: 2 * simLease, tamper: func(r *replica) { r.inherited = func() []fsm.ReadLease { return nil } }},
		"what is pending is not looked at": {lease: simLease, knows: unaware},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(limit) {
				if _, problems := randomHistory(t, seed, v); len(problems) > 0 {
					t.Logf("caught by history %d: %s", seed+1, firstLine(problems[0]))
					return
				}
			}
			t.Errorf("not caught by %d histories", limit)
		})
	}
}

func firstLine(text string) string {
	for i, r := range text {
		if r == '\n' {
			return text[:i]
		}
	}
	return text
}
