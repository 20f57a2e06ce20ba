package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"jeton/cluster"
)

const (
	// autopilotInterval is how often a leader looks at its members, and how often it acts
	// on what it saw. A member has half of it to answer.
	autopilotInterval = time.Second
	// autopilotChangeTimeout bounds one change of the membership.
	autopilotChangeTimeout = 10 * time.Second
)

// errNotByAutopilot is the answer to what raft-autopilot is never to do here.
var errNotByAutopilot = errors.New("autopilot takes no vote away, and removes nobody but through pilot")

// keepAutopilot looks after the members whenever this node leads, until ctx ends.
func (n *Node) keepAutopilot(ctx context.Context) {
	for ctx.Err() == nil {
		changed := n.replica.leaderChanged()
		if term, fit := n.replica.inOffice(); fit {
			n.fly(ctx, term)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// fly looks after the members for one term of office. What it knows ends with that.
func (n *Node) fly(ctx context.Context, term uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &pilot{n: n, ctx: ctx, contacts: map[raft.ServerID]*contact{}}
	a := autopilot.New(pilotedRaft{n.replica.raft, p}, p,
		autopilot.WithPromoter(p), autopilot.WithLogger(hclog.NewNullLogger()),
		autopilot.WithUpdateInterval(autopilotInterval), autopilot.WithReconcileInterval(autopilotInterval))
	a.Start(ctx)
	for ctx.Err() == nil {
		changed := n.replica.leaderChanged()
		if now, fit := n.replica.inOffice(); !fit || now != term {
			break
		}
		if err := n.raiseLevel(ctx, p); err != nil && ctx.Err() == nil {
			n.log.Debug("it will be tried again", "error", err)
		}
		timer := time.NewTimer(autopilotInterval) // not every change is told
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	cancel()
	<-a.Stop()
	n.health.Store(nil)
}

// pilot answers what raft-autopilot asks, and does what it decides: members get a vote
// when they have been healthy for a while, one at a time, and those that are dead are
// removed, one at a time, if that is set. Nobody loses a vote otherwise.
type pilot struct {
	autopilot.StablePromoter
	n   *Node
	ctx context.Context //nolint:containedctx // the term of office; fly ends it

	mu       sync.Mutex
	contacts map[raft.ServerID]*contact
	looked   time.Time
}

// contact is what the leader knows of a member.
type contact struct {
	// silence is how long the member has not answered, as looks count it: while this
	// process was stopped, or the machines of all were, nobody was silent.
	silence time.Duration
	stats   autopilot.ServerStats // of its newest answer
	level   uint64                // of the command set, which it understands
	runs    process
	healthy bool      // at the last look
	since   time.Time // when that began
}

// process is that by which a member answers.
type process struct {
	id      string
	fresh   bool   // it has answered since its answers were counted
	answers uint64 // looks at which it did
}

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (p *pilot) AutopilotConfig() *autopilot.Config {
	c := p.n.config.Autopilot
	return &autopilot.Config{
		CleanupDeadServers:      c.CleanupDeadServers,
		LastContactThreshold:    c.LastContactThreshold,
		MaxTrailingLogs:         uint64(c.MaxTrailingLogs), //nolint:gosec // validated to be positive
		MinQuorum:               uint(c.MinQuorum),
		ServerStabilizationTime: c.ServerStabilizationTime,
	}
}

// NotifyState implements autopilot.ApplicationIntegration. raft-autopilot calls it before
// anybody else sees the new state, and it mends what is wrong there: version 0.3.0 compares
// a member's health with itself (state.go, previousHealthy points to what is overwritten),
// so who comes back would be stable since it was first seen.
func (p *pilot) NotifyState(state *autopilot.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for id, server := range state.Servers {
		seen := p.contactLocked(id)
		if seen.since.IsZero() || seen.healthy != server.Health.Healthy {
			seen.healthy, seen.since = server.Health.Healthy, now
		}
		if seen.runs.fresh {
			seen.runs.fresh, seen.runs.answers = false, seen.runs.answers+1
		}
		server.Health.StableSince, server.Server.Name, server.Server.Ext = seen.since, p.n.names.of(id), seen.runs
	}
	p.n.health.Store(state)
}

// KnownServers implements autopilot.ApplicationIntegration: everybody in raft's
// configuration is known, so nobody is ever taken for stale.
func (p *pilot) KnownServers() map[raft.ServerID]*autopilot.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[raft.ServerID]*autopilot.Server{}
	for _, server := range p.n.replica.servers() {
		seen := p.contactLocked(server.ID)
		s := &autopilot.Server{
			ID: server.ID, Name: p.n.names.of(server.ID), Address: server.Address, NodeStatus: autopilot.NodeAlive, IsLeader: server.ID == p.n.replica.id,
		}
		if server.Suffrage == raft.Voter {
			s.NodeType = autopilot.NodeVoter // those count for the minimum quorum
		}
		if seen.silence > p.n.config.Autopilot.DeadServerLastContactThreshold {
			s.NodeStatus = autopilot.NodeFailed
		}
		known[server.ID] = s
	}
	return known
}

func (p *pilot) contactLocked(id raft.ServerID) *contact {
	if p.contacts[id] == nil {
		p.contacts[id] = &contact{}
	}
	return p.contacts[id]
}

// FetchServerStats implements autopilot.ApplicationIntegration. Everybody has stats: for
// a member without any, raft-autopilot would go on with the last, which were good.
func (p *pilot) FetchServerStats(ctx context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	var addresses []string
	for id, server := range servers {
		if id != p.n.replica.id {
			addresses = append(addresses, string(p.n.replica.addressOf(raft.Server{ID: id, Address: server.Address})))
		}
	}
	answers, _ := p.n.askStatus(ctx, addresses)
	p.mu.Lock()
	defer p.mu.Unlock()
	now, since := time.Now(), time.Duration(0)
	if !p.looked.IsZero() {
		since = min(now.Sub(p.looked), 2*autopilotInterval)
	}
	p.looked = now
	for id := range servers {
		p.contactLocked(id).silence += since
	}
	for _, answer := range append(answers, p.n.status()) {
		if _, asked := servers[answer.ServerID]; asked {
			p.contactLocked(answer.ServerID).answered(answer)
		}
	}
	stats := map[raft.ServerID]*autopilot.ServerStats{}
	for id := range servers {
		seen := *p.contactLocked(id)
		if seen.silence > 0 {
			seen.stats.LastContact = max(seen.stats.LastContact, seen.silence)
		}
		stats[id] = &seen.stats
	}
	return stats
}

func (c *contact) answered(status cluster.Status) {
	c.silence, c.level = 0, status.Level
	if c.runs.id != status.Process {
		c.runs = process{id: status.Process}
	}
	c.runs.fresh = true
	c.stats = autopilot.ServerStats{
		LastContact: time.Duration(status.LastContact) * time.Millisecond, LastTerm: status.LastTerm, LastIndex: status.LastIndex,
	}
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter. Unlike the promoter of
// raft-autopilot it also waits where this node has not led for as long as a member must
// have been healthy: a new leader has seen nothing yet.
// The state is of the last look: who got its vote since is a voter in the configuration.
func (p *pilot) CalculatePromotionsAndDemotions(c *autopilot.Config, s *autopilot.State) (changes autopilot.RaftChanges) {
	voters := map[raft.ServerID]bool{}
	for _, voter := range p.n.replica.voters() {
		voters[voter.id] = true
	}
	for id, server := range s.Servers {
		if server.State == autopilot.RaftNonVoter && !voters[id] && server.Health.IsStable(time.Now(), c.ServerStabilizationTime) {
			changes.Promotions = append(changes.Promotions, id)
		}
	}
	slices.Sort(changes.Promotions)
	changes.Promotions = changes.Promotions[:min(len(changes.Promotions), 1)]
	return changes
}

// FilterFailedServerRemovals implements autopilot.Promoter: one at a time, and a voter
// only if most of those that are left answer.
func (p *pilot) FilterFailedServerRemovals(_ *autopilot.Config, s *autopilot.State, failed *autopilot.FailedServers) *autopilot.FailedServers {
	if len(failed.FailedNonVoters) > 0 {
		return &autopilot.FailedServers{FailedNonVoters: failed.FailedNonVoters[:1]}
	}
	healthy := 0
	for _, id := range s.Voters {
		if s.Servers[id].Health.Healthy {
			healthy++
		}
	}
	if left := len(s.Voters) - 1; len(failed.FailedVoters) == 0 || healthy < left/2+1 {
		return &autopilot.FailedServers{}
	}
	return &autopilot.FailedServers{FailedVoters: failed.FailedVoters[:1]}
}

// RemoveFailedServer implements autopilot.ApplicationIntegration. The minimum quorum is
// looked at again, in the very configuration that is changed.
func (p *pilot) RemoveFailedServer(server *autopilot.Server) {
	ctx, cancel := context.WithTimeout(p.ctx, autopilotChangeTimeout)
	defer cancel()
	c := p.n.config.Autopilot
	log := p.n.log.With("server_id", server.ID, "peer", server.Name, "address", server.Address)
	if err := p.n.membership.Remove(ctx, server.ID, c.MinQuorum); err != nil {
		log.Warn("a dead member was not removed", "error", err)
		return
	}
	log.Warn("a dead member was removed", "silent_for_more_than", c.DeadServerLastContactThreshold)
}

// promote gives a member its vote.
func (p *pilot) promote(id raft.ServerID) error {
	ctx, cancel := context.WithTimeout(p.ctx, autopilotChangeTimeout)
	defer cancel()
	if err := p.n.membership.Promote(ctx, id); err != nil {
		p.n.log.Warn("a member did not get its vote; it will be tried again", "server_id", id, "error", err)
		return err
	}
	p.n.log.Info("a member has a vote now", "server_id", id)
	return nil
}

// pilotedRaft is raft as raft-autopilot sees it: what changes the membership goes the
// way that every change goes, planned on the newest configuration.
type pilotedRaft struct {
	*raft.Raft
	pilot *pilot
}

// AddVoter implements autopilot.Raft.
func (r pilotedRaft) AddVoter(id raft.ServerID, _ raft.ServerAddress, _ uint64, _ time.Duration) raft.IndexFuture {
	return settled{r.pilot.promote(id)}
}

// DemoteVoter implements autopilot.Raft.
func (pilotedRaft) DemoteVoter(raft.ServerID, uint64, time.Duration) raft.IndexFuture {
	return settled{errNotByAutopilot}
}

// RemoveServer implements autopilot.Raft.
func (pilotedRaft) RemoveServer(raft.ServerID, uint64, time.Duration) raft.IndexFuture {
	return settled{errNotByAutopilot}
}

// settled is a future that has come.
type settled struct{ err error }

func (s settled) Error() error { return s.err }
func (settled) Index() uint64  { return 0 }

// judge adds to a leader's members what its autopilot thinks of them.
func (n *Node) judge(status *cluster.Status) {
	state := n.health.Load()
	if state == nil || state.Leader != n.replica.id {
		return
	}
	status.Judged, status.FailureTolerance = true, state.FailureTolerance
	for i := range status.Members {
		m := &status.Members[i]
		if server := state.Servers[m.ID]; server != nil {
			m.Healthy, m.StableSince = server.Health.Healthy, server.Health.StableSince
			m.Dead = server.Server.NodeStatus == autopilot.NodeFailed
			if runs, ok := server.Server.Ext.(process); ok {
				m.Process, m.Answers = runs.id, runs.answers
			}
			m.LastContact, m.LastTerm, m.LastIndex = server.Stats.LastContact.Milliseconds(), server.Stats.LastTerm, server.Stats.LastIndex
		}
	}
}
