package main

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sleeper is an operation that takes a known time, in the bubble's clock.
func sleeper(d time.Duration) func() error {
	return func() error {
		time.Sleep(d)
		return nil
	}
}

func TestThroughputAndLatencyOfTheWindowOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := true
		first := func() error { // a slow start falls into the warm-up
			if slow {
				slow = false
				return sleeper(900 * time.Millisecond)()
			}
			return sleeper(10 * time.Millisecond)()
		}
		result, err := drive([]func() error{first, sleeper(10 * time.Millisecond)}, time.Second, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if result.PerSecond < 199 || result.PerSecond > 201 || result.Seconds != 2 || result.Max != 10*time.Millisecond {
			t.Errorf("two callers at 100/s: %+v", result)
		}
	})
}

// An operation that is still under way when the window closes is waited for and its latency counts.
func TestSlowLastOperationIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result, err := drive([]func() error{sleeper(10 * time.Millisecond), sleeper(1500 * time.Millisecond)}, 0, 2*time.Second)
		if err != nil || result.Max != 1500*time.Millisecond || result.Operations != 199+1 {
			t.Errorf("%+v, %v", result, err)
		}
	})
}

func TestAnyErrorFailsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		failing := func() error {
			if calls++; calls > 50 {
				return errors.New("status 503")
			}
			return sleeper(10 * time.Millisecond)()
		}
		result, err := drive([]func() error{failing, sleeper(10 * time.Millisecond)}, 0, time.Second)
		if err == nil || !strings.Contains(err.Error(), "1 of 2 callers failed: status 503") || result.Errors != 1 {
			t.Errorf("%+v, %v", result, err)
		}
	})
}

// When what there was to do is done, the window ends there, and the rate stays right.
func TestExhaustionEndsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left atomic.Int64
		left.Store(120)
		call := func() error {
			if left.Add(-1) < 0 {
				return errExhausted
			}
			return sleeper(10 * time.Millisecond)()
		}
		result, err := drive([]func() error{call, call}, 100*time.Millisecond, time.Second)
		if err != nil || result.Seconds != 0.5 || result.PerSecond < 195 || result.PerSecond > 205 {
			t.Errorf("%+v, %v", result, err)
		}
		left.Store(5)
		if _, err := drive([]func() error{call}, 0, time.Second); err == nil {
			t.Error("a window of a twentieth of what was asked for was taken for a measurement")
		}
	})
}
