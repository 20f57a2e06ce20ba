package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/scripts/histogram"
)

// errExhausted is returned by a caller that has nothing left to do, such as no
// more tokens to invalidate. It ends the measurement for all, without an error.
var errExhausted = errors.New("nothing left to do")

// figures are the result of one measurement. Durations are in nanoseconds in JSON.
type figures struct {
	PerSecond  float64       `json:"per_second"`
	P50        time.Duration `json:"p50_ns"`
	P99        time.Duration `json:"p99_ns"`
	Max        time.Duration `json:"max_ns"`
	Operations uint64        `json:"operations"`
	Seconds    float64       `json:"seconds"`
	Errors     int           `json:"errors"`
	// ServerCPU and LoadCPU are what one operation cost in processor time, in all
	// server processes and in this one. They say more than the rate on a machine
	// that does other work too.
	ServerCPU time.Duration `json:"server_cpu_ns"`
	LoadCPU   time.Duration `json:"load_cpu_ns"`
}

// window is when a measurement counts, in nanoseconds since the loop began.
type window struct {
	start time.Duration
	end   atomic.Int64
}

// drive lets each caller do one operation after the other: for warmup uncounted,
// then for length. Throughput counts what was completed in the window; latency
// counts what began in it, so that an operation which is slow at the end is not
// forgotten. A caller that fails stops; its error is returned with the figures.
// The processes of servers are those whose processor time is counted.
func drive(callers []func() error, warmup, length time.Duration, servers ...int) (figures, error) {
	w := &window{start: warmup}
	w.end.Store(int64(warmup + length))
	histograms := make([]histogram.Histogram, len(callers))
	completed := make([]uint64, len(callers))
	failures := make([]error, len(callers))
	began := time.Now()
	var all sync.WaitGroup
	for i, call := range callers {
		all.Go(func() { completed[i], failures[i] = w.loop(began, call, &histograms[i]) })
	}
	var meter cpuMeter
	all.Go(func() {
		time.Sleep(warmup)
		meter = newCPUMeter(servers)
	})
	all.Wait()
	serverCPU, loadCPU := meter.read()

	merged := new(histogram.Histogram)
	total, failed := uint64(0), 0
	for i := range callers {
		merged.Merge(&histograms[i])
		total += completed[i]
		if failures[i] != nil {
			failed++
		}
	}
	seconds := (time.Duration(w.end.Load()) - w.start).Seconds()
	result := figures{
		PerSecond: float64(total) / seconds, P50: merged.Percentile(50), P99: merged.Percentile(99), Max: merged.Max(),
		Operations: total, Seconds: seconds, Errors: failed,
	}
	if merged.Count() > 0 {
		result.ServerCPU = serverCPU / time.Duration(merged.Count()) //nolint:gosec // a count
		result.LoadCPU = loadCPU / time.Duration(merged.Count())     //nolint:gosec // a count
	}
	if failed > 0 {
		return result, fmt.Errorf("%d of %d callers failed: %w", failed, len(callers), firstError(failures))
	}
	if seconds < length.Seconds()/4 || total == 0 {
		return result, fmt.Errorf("only %d operations in %.2f s of the %v that were asked for", total, seconds, length)
	}
	return result, nil
}

// loop is one caller's work; it returns how many operations it completed in the window.
func (w *window) loop(began time.Time, call func() error, latencies *histogram.Histogram) (uint64, error) {
	completed := uint64(0)
	before := time.Since(began)
	for before < time.Duration(w.end.Load()) {
		err := call()
		after := time.Since(began)
		if errors.Is(err, errExhausted) {
			w.endAt(before)
			return completed, nil
		}
		if err != nil {
			return completed, err
		}
		if before >= w.start {
			latencies.Record(after - before)
		}
		if after >= w.start && after < time.Duration(w.end.Load()) {
			completed++
		}
		before = after
	}
	return completed, nil
}

func (w *window) endAt(at time.Duration) {
	for {
		end := w.end.Load()
		if int64(at) >= end || w.end.CompareAndSwap(end, int64(at)) {
			return
		}
	}
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// inParallel calls work for 0 to n-1, at most limit at a time, and returns the first error.
func inParallel(limit, n int, work func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() error { return work(i) })
	}
	return group.Wait()
}
