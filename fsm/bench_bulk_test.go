package fsm

import (
	"testing"
)

// BenchmarkInvalidateAll ends every pair there is, in one command. With a snapshot held
// every page is copied, too.
func BenchmarkInvalidateAll(b *testing.B) {
	for _, shared := range []string{"alone", "snapshot"} {
		b.Run(shared, func(b *testing.B) {
			w := benchWorld(b)
			var ended uint32
			for b.Loop() {
				b.StopTimer()
				w.revive()
				s, err := w.fsm.Snapshot()
				if err != nil {
					b.Fatal(err)
				}
				if shared == "alone" {
					s.Release()
				}
				entry := w.entry(w.fsm.Now(), []Command{Invalidate{All: true}})
				b.StartTimer()
				ended = w.fsm.Apply(entry).([]Outcome)[0].Invalidated
				b.StopTimer()
				s.Release()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(w.pairs), "ns/pair")
			b.ReportMetric(float64(ended), "tokens/op")
			w.revive()
		})
	}
}

// BenchmarkInvalidateRealm ends every pair there is, too, along the owners' chains.
func BenchmarkInvalidateRealm(b *testing.B) {
	w := benchWorld(b)
	for b.Loop() {
		b.StopTimer()
		w.revive()
		entry := w.entry(w.fsm.Now(), []Command{Invalidate{Realm: RealmNative}})
		b.StartTimer()
		w.fsm.Apply(entry)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(w.pairs), "ns/pair")
	w.revive()
}

// revive undoes what no command can undo.
func (w *world) revive() {
	p := &w.fsm.state.pairs.records
	p.all(func(r ref, _ *pair) bool {
		v := p.edit(r)
		v[30], v[31] = 0, 0
		return true
	})
}

// BenchmarkList reads pages of the usual size.
func BenchmarkList(b *testing.B) {
	w := benchWorld(b)
	for name, q := range map[string]Listing{
		"owner":     {Realm: RealmNative, Username: w.username(1), Limit: 100},
		"everybody": {Limit: 100},
		"nobody":    {Realm: RealmReserved, Limit: 100}, // the most that one call looks at
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			q := q
			for b.Loop() {
				_, q.After = w.fsm.List(q)
			}
		})
	}
}
