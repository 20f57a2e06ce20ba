package node

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
)

func (s *sim) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problemLocked(format, args...)
}

func (s *sim) problemLocked(format string, args ...any) {
	if len(s.problems) < 20 {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

// sent checks that one term has one sender of entries.
func (s *sim) sent(name string, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.senders[term]; ok && first != name {
		s.problemLocked("%s and %s both sent entries in term %d", first, name, term)
	}
	s.senders[term] = name
}

// stored checks that entries of the same index and term are equal wherever they
// are stored.
func (s *sim) stored(name string, log *raft.Log) {
	content := append([]byte{byte(log.Type)}, log.Data...)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := entryID{log.Index, log.Term}
	if first, ok := s.entries[id]; ok && !bytes.Equal(first, content) {
		s.problemLocked("%s stores another entry at index %d of term %d than was stored before", name, log.Index, log.Term)
	}
	s.entries[id] = content
}

// snapshotted checks that snapshots at the same index are equal.
func (s *sim) snapshotted(name string, index uint64, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.snapshots[index]; ok && !bytes.Equal(first, content) {
		s.problemLocked("%s has another snapshot at index %d than was taken before (%d bytes, %d bytes)", name, index, len(content), len(first))
	}
	s.snapshots[index] = content
}

// leader returns the member that leads, fit to answer for the cluster.
func (s *sim) leader() *member {
	s.t.Helper()
	for deadline := time.Now().Add(recovery); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var leader *member
		var newest uint64
		for _, m := range s.members {
			if p := m.running(); p != nil {
				answer := p.node.replica.confirmSelf()
				if answer.Leader && answer.Term > newest {
					leader, newest = m, answer.Term
				}
			}
		}
		if leader != nil {
			return leader
		}
	}
	s.t.Fatalf("no leader within %v", recovery)
	return nil
}

// followers returns the running members that do not lead.
func (s *sim) followers() (followers []*member) {
	leader := s.leader()
	for _, m := range s.members {
		if m != leader && m.running() != nil {
			followers = append(followers, m)
		}
	}
	return followers
}

// awaitReady waits until every running member that votes can confirm a read.
func (s *sim) awaitReady() {
	s.t.Helper()
	for _, m := range s.members {
		if err := s.ready(m); err != nil {
			s.problem("%s is not ready within %v in a healthy cluster: %v", m.name, recovery, err)
		}
	}
}

// ready waits until a member that runs can confirm a read. One that gives up meanwhile
// is started again.
func (s *sim) ready(m *member) (err error) {
	for end := time.Now().Add(recovery); time.Now().Before(end); {
		p := m.running()
		if p == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		err = p.node.confirmer.ConfirmRead(ctx)
		cancel()
		if err == nil {
			return nil
		}
		s.supervise()
	}
	return err
}

// settle ends all faults and checks that the members agree.
func (s *sim) settle() {
	s.t.Helper()
	s.net.heal()
	for _, m := range s.members {
		if m.sleepy { // it may have the newest log, and would not stand for election for a minute
			m.kill()
			m.sleepy = false
		}
		m.start()
	}
	for _, m := range s.members[s.options.members:] {
		s.eventually("the spare member has a vote", func() bool { return s.enlist(m, true) == nil })
	}
	s.awaitReady()
	// One more command: everybody has applied everything when it has applied this.
	ctx, cancel := context.WithTimeout(s.t.Context(), recovery)
	defer cancel()
	if _, err := s.leader().running().node.Propose(ctx, fsm.DeleteRole{Name: "nobody"}); err != nil {
		s.problem("a healthy cluster does not accept a command: %v", err)
	}
	s.awaitReady()
	// What was on its way in the faults may still arrive, also between two looks.
	s.eventually("all members have applied the same", func() bool {
		s.supervise()
		first, firstAt := s.members[0].content()
		same := true
		for _, m := range s.members[1:] {
			content, at := m.content()
			if at != firstAt {
				return false
			}
			same = same && bytes.Equal(first, content)
		}
		if !same {
			s.problem("members differ in state at index %d", firstAt)
		}
		return true
	})
}

// supervise starts again whoever gave up.
func (s *sim) supervise() {
	for _, m := range s.members {
		p := m.running()
		if p == nil {
			continue
		}
		select {
		case reason := <-p.node.failed:
			s.log.Info("started again", "member", m.name, "reason", reason)
			m.kill()
			m.start()
		default:
		}
	}
}

// enlist asks the leader to make a member of a spare, with a vote if it can be.
func (s *sim) enlist(m *member, voter bool) error {
	for _, leader := range s.members {
		if p := leader.running(); p != nil && p.node.replica.leads() {
			ctx, cancel := context.WithTimeout(p.ctx, time.Second)
			defer cancel()
			suffrage, err := p.node.membership.AddOrUpdate(ctx, m.id, m.address)
			if err == nil && voter && suffrage != raft.Voter {
				err = p.node.membership.Promote(ctx, m.id)
			}
			return err
		}
	}
	return errNotLeader
}

// content returns the state of a member as a snapshot would have it, and the index
// up to which it is applied.
func (m *member) content() ([]byte, uint64) {
	m.sim.t.Helper()
	state := m.running().node.replica.state
	view, err := state.Snapshot()
	if err != nil {
		m.sim.t.Fatal(err)
	}
	defer view.Release()
	at := state.Applied()
	var content bytes.Buffer
	if err := view.Persist(bufferSink{&content}); err != nil {
		m.sim.t.Fatal(err)
	}
	return content.Bytes(), at
}

// bufferSink is a snapshot sink in memory.
type bufferSink struct{ *bytes.Buffer }

func (bufferSink) ID() string    { return "buffer" }
func (bufferSink) Cancel() error { return nil }
func (bufferSink) Close() error  { return nil }
