// Package clock gives a process the clocks of a machine whose clocks are wrong: the
// laboratory sets them, in a file, and the node under test, which has it in its memory,
// reads them.
//
// It sets what is read, not what passes: a timer still goes off after the true time.
package clock

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Variable names, in the environment of a process, the file with its clocks.
const Variable = "JETON_LAB_CLOCK"

// face is what the file holds. It has a sequence lock, for it is read by other
// processes: odd while it is being written.
type face struct {
	sequence   atomic.Uint64
	since      atomic.Int64  // true boot time, in nanoseconds, of the offsets
	wallOffset atomic.Int64  // nanoseconds
	wallDrift  atomic.Uint64 // a float64: nanoseconds for each since then
	bootOffset atomic.Int64
	bootDrift  atomic.Uint64
	hangs      atomic.Int64 // not zero: who reads the boot-time clock waits
}

// Clock is the clocks of one machine: the wall clock, which people set, and the
// boot-time clock, by which leases are measured. Its methods may be called
// concurrently, but only one process may set.
type Clock struct {
	mu     sync.Mutex // held by who sets
	face   *face
	memory []byte // the file's; nil: no file
}

// Open opens a file of clocks, or makes it, with clocks that are right.
func Open(path string) (*Clock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open clocks: %w", err)
	}
	defer file.Close() // the memory stays
	const size = int(unsafe.Sizeof(face{}))
	if err := file.Truncate(int64(size)); err != nil {
		return nil, fmt.Errorf("make clocks: %w", err)
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map clocks %s: %w", path, err)
	}
	return &Clock{face: (*face)(unsafe.Pointer(unsafe.SliceData(memory))), memory: memory}, nil //nolint:gosec // a page is aligned, and as large as the file
}

// OfEnvironment returns the clocks of this process: those of the file that [Variable]
// names, which it takes out of the environment, where it would pass for a setting; or
// clocks that are right. It panics if the file cannot be used.
func OfEnvironment() *Clock {
	path, named := os.LookupEnv(Variable)
	if !named {
		return &Clock{face: &face{}}
	}
	c, err := Open(path)
	if err = errors.Join(err, os.Unsetenv(Variable)); err != nil {
		panic(err)
	}
	return c
}

// Close lets go of the file; the Clock must not be used any more.
func (c *Clock) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory == nil {
		return nil
	}
	if err := unix.Munmap(c.memory); err != nil {
		return fmt.Errorf("close clocks: %w", err)
	}
	c.memory, c.face = nil, nil
	return nil
}

// reading is a face at one moment.
type reading struct {
	since, wallOffset, bootOffset int64
	wallDrift, bootDrift          float64
}

func (f *face) read() reading {
	for {
		before := f.sequence.Load()
		r := reading{
			since:      f.since.Load(),
			wallOffset: f.wallOffset.Load(), wallDrift: math.Float64frombits(f.wallDrift.Load()),
			bootOffset: f.bootOffset.Load(), bootDrift: math.Float64frombits(f.bootDrift.Load()),
		}
		if before%2 == 0 && f.sequence.Load() == before {
			return r
		}
	}
}

// errors returns how far the clocks are off at a true boot time.
func (r reading) errors(now int64) (wall, boot int64) {
	passed := float64(now - r.since)
	return r.wallOffset + int64(passed*r.wallDrift), r.bootOffset + int64(passed*r.bootDrift)
}

// Wall is the time of day by this clock. As of a time that was read from a wall clock,
// nobody can tell from two how much time passed between them.
func (c *Clock) Wall() time.Time {
	wall, _ := c.face.read().errors(trueBoot())
	return time.Now().Round(0).Add(time.Duration(wall))
}

// Boot is the time since the machine started by this clock, its sleep included.
func (c *Clock) Boot() time.Duration {
	for c.face.hangs.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	now := trueBoot()
	_, boot := c.face.read().errors(now)
	return time.Duration(now + boot)
}

// Jump sets the wall clock forward, or back if d is negative.
func (c *Clock) Jump(d time.Duration) { c.set(func(r *reading) { r.wallOffset += int64(d) }) }

// WallRate makes the wall clock run so many times as fast as it should. 1 is right.
func (c *Clock) WallRate(rate float64) { c.set(func(r *reading) { r.wallDrift = rate - 1 }) }

// Rate makes the boot-time clock run so many times as fast as it should. 1 is right.
func (c *Clock) Rate(rate float64) { c.set(func(r *reading) { r.bootDrift = rate - 1 }) }

// Hang makes whoever reads the boot-time clock wait until release is called, as if the
// scheduler had forgotten about that thread alone.
func (c *Clock) Hang() (release func()) {
	c.face.hangs.Store(1)
	return func() { c.face.hangs.Store(0) }
}

// Mend makes the clocks run, and the wall clock be, right. The boot-time clock goes on
// from where it is: such a clock is never set.
func (c *Clock) Mend() {
	c.set(func(r *reading) { r.wallOffset, r.wallDrift, r.bootDrift = 0, 0, 0 })
}

// set changes the clocks from now on.
func (c *Clock) set(change func(*reading)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, now := c.face.read(), trueBoot()
	r.wallOffset, r.bootOffset = r.errors(now)
	r.since = now
	change(&r)
	f := c.face
	f.sequence.Add(1)
	f.since.Store(r.since)
	f.wallOffset.Store(r.wallOffset)
	f.wallDrift.Store(math.Float64bits(r.wallDrift))
	f.bootOffset.Store(r.bootOffset)
	f.bootDrift.Store(math.Float64bits(r.bootDrift))
	f.sequence.Add(1)
}

// trueBoot is this machine's own boot-time clock, in nanoseconds.
func trueBoot() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock: no boot-time clock: " + err.Error()) // Linux has it since 2.6.39
	}
	return ts.Nano()
}
