// Package histogram counts durations. The load tool and the laboratory share it.
package histogram

import (
	"math/bits"
	"time"
)

const (
	subBucketBits = 7 // 128 steps for each power of two: a bucket is at most 0.8 % wide
	maxShift      = 30
	bucketCount   = (maxShift + 2) << subBucketBits // up to 2^38 ns, four and a half minutes
)

// Histogram counts durations in buckets whose width grows with the value, so
// that a percentile is right within 0.8 % at any scale. The zero value is ready.
// Not safe for concurrent use: each caller fills its own and they are merged.
type Histogram struct {
	counts [bucketCount]uint32
	total  uint64
	max    time.Duration
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// Percentile returns the smallest recorded duration that at least p percent of
// all recorded ones do not exceed (nearest rank), rounded up to its bucket's end
// but never above the largest. Zero if nothing was recorded.
func (h *Histogram) Percentile(p float64) time.Duration {
	rank := uint64(p / 100 * float64(h.total))
	if float64(rank) < p/100*float64(h.total) {
		rank++
	}
	rank = max(rank, 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += uint64(n); seen >= rank {
			return min(bucketEnd(i), h.max)
		}
	}
	return h.max
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Max returns the largest of them.
func (h *Histogram) Max() time.Duration { return h.max }

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-subBucketBits-1, 0)
	if shift > maxShift {
		return bucketCount - 1
	}
	return shift<<subBucketBits + int(v>>shift) //nolint:gosec // v>>shift is below 256
}

func bucketEnd(bucket int) time.Duration {
	shift := max(bucket>>subBucketBits-1, 0)
	top := bucket - shift<<subBucketBits
	return time.Duration((top+1)<<shift - 1)
}
