package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// fakeLog is an appender whose every attempt is scripted.
type fakeLog struct {
	mu       sync.Mutex
	attempt  func(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error)
	batches  [][][]byte
	inFlight int
	most     int
	leader   bool
	changed  broadcast
}

func (l *fakeLog) append(ctx context.Context, commands [][]byte) ([]fsm.Outcome, error) {
	l.mu.Lock()
	l.batches = append(l.batches, commands)
	l.inFlight++
	l.most = max(l.most, l.inFlight)
	attempt := l.attempt
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.inFlight--
		l.mu.Unlock()
	}()
	return attempt(ctx, commands)
}

func (l *fakeLog) leads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leader
}

func (l *fakeLog) leaderChanged() <-chan struct{} { return l.changed.wait() }

func (l *fakeLog) lead(leads bool) {
	l.mu.Lock()
	l.leader = leads
	l.mu.Unlock()
	l.changed.wake()
}

// applied answers every command after a round trip.
func applied(latency time.Duration) func(context.Context, [][]byte) ([]fsm.Outcome, error) {
	return func(_ context.Context, commands [][]byte) ([]fsm.Outcome, error) {
		time.Sleep(latency)
		return make([]fsm.Outcome, len(commands)), nil
	}
}

func deleteRole(n int) fsm.Command {
	c := fsm.DeleteRole{Name: fsm.RoleName(fmt.Sprintf("role-%d", n))}
	c.Operation[0], c.Operation[1] = byte(n), byte(n>>8)
	return c
}

func TestProposerBatchesWhatArrivesWhileBatchesAreInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{leader: true, attempt: applied(time.Millisecond)}
		p := newProposer(log)
		var callers sync.WaitGroup
		for n := range 1000 {
			callers.Go(func() {
				if _, err := p.Propose(t.Context(), deleteRole(n)); err != nil {
					t.Errorf("propose %d: %v", n, err)
				}
			})
		}
		callers.Wait()
		p.close()
		if log.most != maxInFlight {
			t.Errorf("%d batches were in flight at once, want %d", log.most, maxInFlight)
		}
		total := 0
		for _, batch := range log.batches {
			total += len(batch)
			if len(batch) > fsm.MaxCommands {
				t.Errorf("batch of %d commands, limit %d", len(batch), fsm.MaxCommands)
			}
		}
		if total != 1000 || len(log.batches) > 10 {
			t.Errorf("%d commands went in %d batches, want 1000 in at most 10", total, len(log.batches))
		}
	})
}

func TestProposerRepeatsTheSameBytesUntilThereIsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 0
		log := &fakeLog{attempt: func(_ context.Context, commands [][]byte) ([]fsm.Outcome, error) {
			if failures++; failures <= 5 {
				return nil, fmt.Errorf("%w: lost", errRetry)
			}
			return make([]fsm.Outcome, len(commands)), nil
		}}
		p := newProposer(log)
		if _, err := p.Propose(t.Context(), deleteRole(7)); err != nil {
			t.Fatal(err)
		}
		want := string(fsm.AppendCommand(nil, deleteRole(7)))
		for i, batch := range log.batches {
			if len(batch) != 1 || string(batch[0]) != want {
				t.Errorf("attempt %d sent other bytes than the first", i)
			}
		}
		if len(log.batches) != 6 {
			t.Errorf("%d attempts, want 6", len(log.batches))
		}
		p.close()
	})
}

func TestProposerAnswersUnavailableAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{attempt: func(ctx context.Context, _ [][]byte) ([]fsm.Outcome, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("%w: %w", errRetry, ctx.Err())
		}}
		p := newProposer(log)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		_, err := p.Propose(ctx, deleteRole(1))
		if !errors.Is(err, realm.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, realm.ErrUnavailable)
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("answered after %v, want the deadline of 10s", waited)
		}
		p.close()
	})
}

func TestProposerRefusesAtOnceWhenTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log := &fakeLog{leader: true, attempt: func(_ context.Context, commands [][]byte) ([]fsm.Outcome, error) {
			<-release
			return make([]fsm.Outcome, len(commands)), nil
		}}
		p := newProposer(log)
		var callers sync.WaitGroup
		var mu sync.Mutex
		counts := map[bool]int{}
		for n := range maxQueued + maxInFlight*fsm.MaxCommands + 100 {
			callers.Go(func() {
				_, err := p.Propose(t.Context(), deleteRole(n))
				mu.Lock()
				defer mu.Unlock()
				counts[err == nil]++
				if err != nil && !errors.Is(err, realm.ErrOverloaded) {
					t.Errorf("got %v, want %v", err, realm.ErrOverloaded)
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if counts[false] == 0 || counts[true] != 0 {
			t.Errorf("before the log moved: %d refused, %d done", counts[false], counts[true])
		}
		mu.Unlock()
		close(release)
		callers.Wait()
		if counts[true] < maxQueued {
			t.Errorf("%d proposals done, want at least %d", counts[true], maxQueued)
		}
		p.close()
	})
}

func TestARestoreBeginsAnEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log := &fakeLog{leader: true, attempt: func(_ context.Context, commands [][]byte) ([]fsm.Outcome, error) {
			<-release
			return make([]fsm.Outcome, len(commands)), nil
		}}
		p := newProposer(log)
		var callers sync.WaitGroup
		propose := func(c fsm.Command) {
			callers.Go(func() { _, _ = p.Propose(t.Context(), c) })
			synctest.Wait()
		}
		for n := range maxInFlight + 1 {
			propose(deleteRole(n))
		}
		propose(fsm.Restore{Restore: [16]byte{1}, From: [16]byte{1}})
		propose(deleteRole(9))
		close(release)
		callers.Wait()
		var first []fsm.Kind
		for _, batch := range log.batches {
			first = append(first, fsm.Kind(batch[0][0]))
		}
		if last := len(log.batches) - 1; last != maxInFlight+1 || first[last] != fsm.KindRestore || len(log.batches[last]) != 2 {
			t.Errorf("%d batches, which begin with %v", len(log.batches), first)
		}
		p.close()
	})
}

func TestForwardedCommandsAreNotForwardedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{leader: false, attempt: applied(time.Millisecond)}
		p := newProposer(log)
		_, err := p.ProposeForwarded(t.Context(), [][]byte{fsm.AppendCommand(nil, deleteRole(1))})
		if !errors.Is(err, errNotLeader) {
			t.Errorf("got %v, want %v", err, errNotLeader)
		}
		if len(log.batches) != 0 {
			t.Error("a command of a peer was forwarded by a follower")
		}
		log.lead(true)
		outcomes, err := p.ProposeForwarded(t.Context(), [][]byte{fsm.AppendCommand(nil, deleteRole(1)), fsm.AppendCommand(nil, deleteRole(2))})
		if err != nil || len(outcomes) != 2 {
			t.Errorf("on the leader: %d outcomes, %v", len(outcomes), err)
		}
		p.close()
	})
}
