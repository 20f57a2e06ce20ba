package histogram

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The histogram answers as sorted samples do, within the width of a bucket.
func TestPercentilesAgreeWithSortedSamples(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 2, 10, 99, 100, 1000, 50_000} {
		var all, half Histogram
		samples := make([]time.Duration, size)
		for i := range samples {
			samples[i] = time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
			if i%2 == 0 {
				all.Record(samples[i])
			} else {
				half.Record(samples[i])
			}
		}
		all.Merge(&half)
		slices.Sort(samples)
		for _, p := range []float64{0.1, 50, 90, 99, 99.9, 100} {
			rank := int(p / 100 * float64(size))
			if float64(rank) < p/100*float64(size) {
				rank++
			}
			want := samples[max(rank, 1)-1]
			got := all.Percentile(p)
			if got < want || float64(got) > float64(want)*1.008+1 {
				t.Errorf("%d samples: p%g = %v, sorted samples say %v", size, p, got, want)
			}
		}
	}
}

func TestBucketsAreContiguous(t *testing.T) {
	if got := new(Histogram).Percentile(50); got != 0 {
		t.Errorf("an empty histogram has p50 %v", got)
	}
	for bucket := range bucketCount - 1 {
		end := bucketEnd(bucket)
		if bucketOf(end) != bucket || bucketOf(end+1) != bucket+1 {
			t.Fatalf("bucket %d ends at %d: in bucket %d, the next in %d", bucket, end, bucketOf(end), bucketOf(end+1))
		}
	}
	if got := bucketOf(24 * time.Hour); got != bucketCount-1 {
		t.Errorf("a day falls into bucket %d, not the last", got)
	}
}
