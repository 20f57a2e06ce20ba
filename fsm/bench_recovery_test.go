package fsm

import (
	"bytes"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRestoreThroughTheLog restores all pairs into the state that has them: what the
// state machine takes for it, and how long a look-up waits meanwhile at most.
func BenchmarkRestoreThroughTheLog(b *testing.B) {
	w := benchWorld(b)
	for b.Loop() {
		var backup bytes.Buffer
		if err := w.fsm.SaveForRestore(&backup, true); err != nil {
			b.Fatal(err)
		}
		before := heap()
		id := [16]byte{byte(w.index), byte(w.index >> 8), byte(w.index >> 16), 1}
		chunks, began := 0, time.Now()
		for rest := backup.Bytes(); len(rest) > 0; chunks++ {
			n := min(len(rest), MaxChunkBytes)
			if got := w.apply(benchNow, []Command{RestoreChunk{Restore: id, Sequence: uint32(chunks), Data: rest[:n]}}); got[0].Reason != Done {
				b.Fatal(got[0].Reason)
			}
			rest = rest[n:]
		}
		staged := time.Since(began)
		restore := w.entry(benchNow, []Command{Restore{
			Restore: id, Digest: sha256.Sum256(backup.Bytes()), From: [16]byte{1}, Epoch: w.fsm.Summary().Epoch + 1, KeepSessions: true,
		}})
		var done atomic.Bool
		stall := make(chan time.Duration)
		go func() {
			var longest time.Duration
			for n := 0; !done.Load(); n++ {
				asked := time.Now()
				w.fsm.AccessToken(digestOf('a', n%w.pairs))
				longest = max(longest, time.Since(asked))
			}
			stall <- longest
		}()
		began = time.Now()
		if got := w.fsm.Apply(restore).([]Outcome); got[0].Reason != Done {
			b.Fatal(got[0].Reason)
		}
		took := time.Since(began)
		done.Store(true)
		b.ReportMetric(float64(staged.Nanoseconds())/float64(chunks), "ns/chunk")
		b.ReportMetric(took.Seconds(), "s/restore")
		b.ReportMetric(float64((<-stall).Microseconds()), "µs/longest-look-up")
		b.ReportMetric(float64(heap()-before)/float64(w.pairs), "B/pair-more")
		b.ReportMetric(float64(backup.Len())/float64(w.pairs), "B/pair-brought")
	}
}
