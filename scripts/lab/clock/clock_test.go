package clock

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// open opens the clocks of a machine twice, as the laboratory and as a node does.
func open(t *testing.T) (laboratory, node *Clock) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clock")
	laboratory, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = laboratory.Close() })
	t.Setenv(Variable, path)
	node = OfEnvironment()
	t.Cleanup(func() { _ = node.Close() })
	if left, there := os.LookupEnv(Variable); there {
		t.Errorf("%s=%s is left for the node's settings to find", Variable, left)
	}
	return laboratory, node
}

func near(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if (got - want).Abs() > 50*time.Millisecond {
		t.Errorf("%s is off by %v, want %v", what, got, want)
	}
}

// off tells how far a clock is from the truth.
func off(c *Clock) (wall, boot time.Duration) {
	return c.Wall().Sub(time.Now().Round(0)), c.Boot() - time.Duration(trueBoot())
}

func TestANodeReadsWhatTheLaboratorySets(t *testing.T) {
	laboratory, node := open(t)
	for _, step := range []struct {
		name       string
		set        func()
		wall, boot time.Duration
	}{
		{"untouched", func() {}, 0, 0},
		{"forward", func() { laboratory.Jump(time.Hour) }, time.Hour, 0},
		{"and back", func() { laboratory.Jump(-3 * time.Hour) }, -2 * time.Hour, 0},
		{"right again", laboratory.Mend, 0, 0},
	} {
		step.set()
		wall, boot := off(node)
		near(t, step.name+": the wall clock", wall, step.wall)
		near(t, step.name+": the boot-time clock", boot, step.boot)
	}
}

// Rates are tested by the arithmetic alone: the test waits for nothing.
func TestClocksRunAtTheirRates(t *testing.T) {
	r := reading{since: 100, wallOffset: 10, wallDrift: 0.5, bootOffset: -10, bootDrift: -0.25}
	if wall, boot := r.errors(1100); wall != 510 || boot != -260 {
		t.Errorf("after 1000 ns the clocks are off by %d and %d", wall, boot)
	}
}

func TestAClockGoesOnFromWhereItIs(t *testing.T) {
	laboratory, node := open(t)
	laboratory.Rate(1e6)
	for before := node.Boot(); node.Boot()-before < time.Hour; { // a few milliseconds
	}
	fast := node.Boot()
	laboratory.Rate(1)
	if slow := node.Boot(); slow < fast {
		t.Errorf("the boot-time clock went back from %v to %v", fast, slow)
	}
	laboratory.Mend()
	if _, boot := off(node); boot < time.Hour {
		t.Errorf("the boot-time clock was set back to %v", boot)
	}
}

// A reader never sees half of a change: the jump there and back cancel out.
func TestReadersSeeWholeChanges(t *testing.T) {
	laboratory, node := open(t)
	var setting sync.WaitGroup
	setting.Go(func() {
		for range 20_000 {
			laboratory.set(func(r *reading) { r.wallOffset, r.bootOffset = r.wallOffset+1e15, r.bootOffset-1e15 })
		}
	})
	for range 20_000 {
		if r := node.face.read(); r.wallOffset+r.bootOffset != 0 {
			t.Fatalf("half of a change: %+v", r)
		}
	}
	setting.Wait()
}

func TestWhoReadsAClockThatHangsWaits(t *testing.T) {
	laboratory, node := open(t)
	release := laboratory.Hang()
	read := make(chan time.Duration, 1)
	go func() { read <- node.Boot() }()
	_ = node.Wall() // does not hang
	select {
	case <-read:
		t.Error("it was read while it hung")
	case <-time.After(20 * time.Millisecond):
		release()
		<-read
	}
}

func TestWithoutAFileTheClocksAreRight(t *testing.T) {
	wall, boot := off(OfEnvironment())
	near(t, "the wall clock", wall, 0)
	near(t, "the boot-time clock", boot, 0)
}
