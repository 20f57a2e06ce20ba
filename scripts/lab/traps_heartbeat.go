package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// heartbeatTraps are those of a leader that is told by a heartbeat that it is none any more.
func heartbeatTraps() []trap {
	return []trap{{
		name:     "heartbeat-past-a-write",
		what:     "a leader that does not notice that nobody hears it gets the first heartbeat of its successor while a thread of its own stands still just before it appends a write",
		catches:  []string{"heartbeats-aside"},
		settings: map[string]string{"read.mode": "quorum", "request.timeout": "15s"}, slow: true, spring: heartbeatPastWrite,
	}}
}

const (
	// beforeHeartbeat is how long after an election the two are joined again. A new leader calls the others at once, with
	// entries, and for a heartbeat after 100 to 200 ms. What is not answered is tried again after a second: so the one is
	// still in vain, and the other is not.
	beforeHeartbeat = 1030 * time.Millisecond
	// afterHeartbeat is how long after the election the write goes on. The entries are not there for two seconds more.
	afterHeartbeat = 1260 * time.Millisecond
)

// heartbeatPastWrite is about hashicorp/raft #695. A heartbeat that is not answered by the main loop changes the term
// under it. What that loop, which still waits as a leader, is then given to append gets the new term, and the place of an
// entry that the new leader has written there.
func heartbeatPastWrite(ctx context.Context, s *stage) error {
	leader, err := s.sleepyLeader(ctx)
	if err != nil {
		return err
	}
	pause(ctx, time.Second) // whoever is elected must have all entries
	isolated := s.weather.add(between(leader.name, s.peersOf(leader), cutLink(), cutLink()))
	defer isolated()
	for _, n := range s.others(leader) { // what the leader sends again must not come through later
		if err := s.network.Orphan(leader.name, n.name); err != nil {
			return err
		}
	}
	goOn := leader.clock.Hang()
	defer goOn()
	written := make(chan error, 1)
	go func() {
		_, err := s.patient.issue(ctx, leader.url()) // it reads the clock once it knows that it leads
		written <- err
	}()
	term, successor := leader.leads.Load()+1, ""
	if err := s.await(ctx, "another leader", func() bool { successor = s.record.winner(term); return successor != "" }); err != nil {
		return err
	}
	won := time.Now()
	others := slices.DeleteFunc(s.peersOf(leader), func(name string) bool { return name == successor })
	apart := s.weather.add(between(leader.name, others, cutLink(), cutLink()))
	defer apart()
	pause(ctx, time.Until(won.Add(beforeHeartbeat)))
	isolated()
	pause(ctx, time.Until(won.Add(afterHeartbeat)))
	goOn()
	if err := <-written; err != nil {
		return fmt.Errorf("the write that stood still: %w", err)
	}
	apart()
	return s.compareLogs(ctx)
}

// compareLogs lets everything come to rest and compares the logs of the nodes.
func (s *stage) compareLogs(ctx context.Context) error {
	if err := s.awaitReady(ctx, startPatience); err != nil {
		return err
	}
	s.halt(ctx)
	_, err := s.openLogs()
	return err
}
