package node

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"jeton/fsm"
)

// clockOf is a boot-time clock that follows a bubble's.
func clockOf() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// testLease is a lease of one second whose requests the test decides on.
func testLease(t *testing.T, grant func(fsm.Lease) error) (*lease, *fsm.FSM) {
	t.Helper()
	state := fsm.New(nil)
	l := newLease("n1", 7, time.Second, clockOf())
	l.state = state
	var operations byte
	l.name = func() fsm.OperationID { operations++; return fsm.OperationID{operations, 1} }
	var index uint64
	l.append = func(_ context.Context, commands [][]byte) ([]fsm.Outcome, error) {
		asked, err := leasesOf(commands)
		if err != nil || len(asked) != 1 {
			t.Errorf("asked for %x: %v", commands[0], err)
		}
		if err := grant(asked[0]); err != nil {
			return nil, err
		}
		index++
		outcomes, _ := state.Apply(&raft.Log{Index: index, Data: fsm.AppendEntry(nil, 1, commands)}).([]fsm.Outcome)
		l.learn()
		return outcomes, nil
	}
	return l, state
}

func TestALeaseCountsFromBeforeItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := testLease(t, func(fsm.Lease) error {
			time.Sleep(300 * time.Millisecond) // the way to the leader and back
			return nil
		})
		if l.holds() {
			t.Error("holds before it was granted")
		}
		l.renew(t.Context())
		if !l.holds() {
			t.Error("does not hold")
		}
		time.Sleep(700*time.Millisecond - 1)
		if !l.holds() {
			t.Error("ended early")
		}
		time.Sleep(time.Nanosecond)
		if l.holds() {
			t.Error("holds for a second and more after it was asked for")
		}
	})
}

func TestALeaseOfAnotherProcessOrNodeIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, state := testLease(t, func(fsm.Lease) error { return errors.New("no leader") })
		l.renew(t.Context())
		for i, granted := range []fsm.Lease{
			{Holder: "n1", Boot: 8, Number: 1, Span: 1000}, // before the restart
			{Holder: "n2", Boot: 7, Number: 1, Span: 1000},
			{Holder: "n1", Boot: 7, Number: 99, Span: 1000}, // never asked for
		} {
			granted.Operation = fsm.OperationID{byte(i), 2}
			state.Apply(&raft.Log{Index: uint64(i + 1), Data: fsm.AppendEntry(nil, 1, [][]byte{fsm.AppendCommand(nil, granted)})})
			if l.learn() || l.holds() {
				t.Errorf("took %+v for its own", granted)
			}
		}
	})
}

// A node that was stopped for an hour found the lease of then in its log, took the hour
// of its entry for the present one, and accepted what had expired meanwhile.
func TestALeaseThatIsOverTellsNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked fsm.Lease
		l, state := testLease(t, func(c fsm.Lease) error { asked = c; return errors.New("no answer") })
		for i, c := range []struct {
			late time.Duration
			news bool
		}{{time.Second, false}, {time.Second - 1, true}, {time.Hour, false}} {
			l.renew(t.Context())
			time.Sleep(c.late)
			asked.Operation = fsm.OperationID{byte(i), 3}
			state.Apply(&raft.Log{Index: uint64(i + 1), Data: fsm.AppendEntry(nil, 1, [][]byte{fsm.AppendCommand(nil, asked)})})
			if l.learn() != c.news {
				t.Errorf("applied %v after it was asked for: news %t", c.late, !c.news)
			}
		}
	})
}

func TestALeaseIsKeptWhileThereAreReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		l, _ := testLease(t, func(fsm.Lease) error { asked.Add(1); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.keep(ctx) }()
		time.Sleep(time.Hour)
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times without readers", n)
		}
		l.holds()
		synctest.Wait()
		for range 100 {
			if !l.holds() {
				t.Fatal("does not hold although it is read all the time")
			}
			time.Sleep(400 * time.Millisecond)
		}
		before := asked.Load()
		time.Sleep(time.Hour)
		if idle := asked.Load() - before; idle > int64(leaseIdle/time.Second)*leaseRenewals+1 {
			t.Errorf("asked %d times after the last reader", idle)
		}
		cancel()
		<-done
	})
}

// awaited reports whether a revocation at index, in term 3, is still held up.
func awaited(t *testing.T, c *coverage, index uint64) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.await(t.Context(), 3, index) }()
	synctest.Wait()
	return done
}

func held(done <-chan error) bool {
	synctest.Wait()
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func TestARevocationWaitsForWhoMayRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoverage("n1", clockOf())
		if done := awaited(t, c, 10); held(done) {
			t.Error("waits although nobody has a lease")
		}
		c.granted("n1", time.Second) // itself
		c.granted("n2", time.Second)
		c.granted("n3", time.Second)
		done := awaited(t, c, 10)
		c.appended("n2", 3, 10)
		c.appended("n3", 2, 99) // the log of an earlier leader says nothing
		c.appended("n3", 3, 9)
		if !held(done) {
			t.Error("does not wait for a holder that has not appended it")
		}
		c.appended("n3", 3, 11)
		if held(done) {
			t.Error("waits although all have appended it")
		}
	})
}

func TestARevocationWaitsNoLongerThanTheLeaseOfADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoverage("n1", clockOf())
		c.granted("n2", time.Second)
		done := awaited(t, c, 10)
		time.Sleep(time.Second)
		if !held(done) {
			t.Error("the holder may still read by its own clock")
		}
		c.granted("n2", time.Second) // a later lease, which takes effect only where the entry is known
		time.Sleep(100 * time.Millisecond)
		if held(done) {
			t.Error("still waits")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.await(ctx, 3, 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhoIsBehindGetsNoLease(t *testing.T) {
	c := newCoverage("n1", bootTime)
	if !c.keepsUp("n1", 3) {
		t.Error("the leader itself")
	}
	if c.keepsUp("n2", 3) {
		t.Error("nothing is known of it")
	}
	c.appended("n2", 3, 20)
	c.leased("n2", 21)
	if c.keepsUp("n2", 3) {
		t.Error("it has not appended its last lease")
	}
	c.appended("n2", 3, 21)
	if !c.keepsUp("n2", 3) || c.keepsUp("n2", 4) {
		t.Error("it has appended it in term 3, and nothing in term 4")
	}
}

// A node that is about to end reads by no lease any more, asks for none, and leaves none behind that anybody has to wait for.
func TestALeaseIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		refuse := errors.New("no leader")
		l, state := testLease(t, func(fsm.Lease) error {
			if asked.Add(1) == 2 {
				return refuse
			}
			return nil
		})
		l.renew(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.keep(ctx) }()
		l.retire(t.Context()) // asks again: nobody was there to hear it
		if l.holds() {
			t.Error("holds after it was given back")
		}
		want := []fsm.ReadLease{{Holder: "n1", Boot: 7, Number: 3, Span: 1, Index: 2}}
		if diff := cmp.Diff(want, state.ReadLeases()); diff != "" {
			t.Errorf("leases that a new leader inherits (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour)
		if l.holds() || asked.Load() != 3 {
			t.Errorf("asked %d times", asked.Load())
		}
		cancel()
		<-done
	})
}

func TestALeaseThatNeverWasNeedNotBeGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := testLease(t, func(fsm.Lease) error { t.Error("asked"); return nil })
		l.retire(t.Context())
	})
}

// Without a leader nobody takes it back, and the process ends all the same.
func TestALeaseIsGivenBackInVainForAWhileOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := true
		l, _ := testLease(t, func(fsm.Lease) error {
			if leader {
				return nil
			}
			return errors.New("no leader")
		})
		l.renew(t.Context())
		leader = false
		began := time.Now()
		l.retire(t.Context())
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v, want as long as the lease", took)
		}
	})
}
