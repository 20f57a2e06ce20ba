package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// The benchmarks run over a state of JETON_BENCH_PAIRS pairs (100,000 if not set)
// of one user for every thousand pairs, or of JETON_BENCH_USERS. See DESIGN.md.
const (
	benchBatch = 64
	benchNow   = UnixMilli(1_700_000_000_000)
)

func setting(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		b.Fatalf("%s=%q", name, text)
	}
	return n
}

// world is a large state, built once for all benchmarks.
type world struct {
	fsm   *FSM
	pairs int
	users int
	index uint64
	ops   uint64

	heapPerPair float64 // measured
	peakPerPair float64 // of tables and indexes at the worst moment since a tenth of the pairs
}

var bigWorld = sync.OnceValue(func() *world { return &world{fsm: New(nil)} })

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := bigWorld()
	if w.pairs > 0 {
		return w
	}
	n := setting(b, "JETON_BENCH_PAIRS", 100_000)
	w.users = setting(b, "JETON_BENCH_USERS", max(1, n/1000))
	before := heap()
	began := time.Now()
	w.apply(benchNow, []Command{Initialize{ClusterID: [16]byte{1}}})
	for w.pairs < n {
		var commands []Command
		for range min(MaxCommands/2, n-w.pairs) {
			commands = append(commands, w.issue(w.pairs))
			w.pairs++
		}
		w.apply(benchNow+UnixMilli(w.pairs/10), commands)
		if w.pairs > n/10 {
			w.peakPerPair = max(w.peakPerPair, float64(w.structure())/float64(w.pairs))
		}
	}
	b.Logf("%d pairs of %d users in %v", n, w.users, time.Since(began))
	w.forget()
	w.heapPerPair = float64(heap()-before) / float64(n)
	return w
}

// forget lets the memory of operations run empty.
func (w *world) forget() {
	at := w.fsm.Now() + OperationMemory + 1
	for range w.fsm.state.operations.done.len()/MaxCollect + 1 {
		w.apply(at, []Command{CollectExpired{Limit: MaxCollect}})
	}
}

func (w *world) apply(at UnixMilli, commands []Command) []Outcome {
	return w.fsm.Apply(w.entry(at, commands)).([]Outcome)
}

func (w *world) entry(at UnixMilli, commands []Command) *raft.Log {
	var raw [][]byte
	for _, c := range commands {
		w.ops++
		b := AppendCommand(make([]byte, 0, 300), c)
		var id OperationID
		binary.LittleEndian.PutUint64(id[:], w.ops*0x9e3779b97f4a7c15)
		id[15] = 1
		id.Name(b)
		raw = append(raw, b)
	}
	w.index++
	return &raft.Log{Index: w.index, Data: AppendEntry(nil, at, raw)}
}

// digestOf is as random as a real one and can be computed again.
func digestOf(kind byte, n int) (d Digest) {
	r := rand.NewPCG(uint64(n), uint64(kind))
	for i := 0; i < len(d); i += 8 {
		binary.LittleEndian.PutUint64(d[i:], r.Uint64())
	}
	return d
}

func (w *world) username(n int) Username { return Username(fmt.Sprintf("user%07d", n%w.users)) }

func (w *world) issue(n int) Issue {
	return Issue{
		Access: digestOf('a', n), Refresh: digestOf('r', n),
		Identity: Identity{
			Principal: Principal{w.username(n), Realm{RealmNative, "native"}},
			Roles:     []RoleName{"monitoring_user", "ingest_admin"},
		},
		Client:         Client{Principal: Principal{"kibana_system", Realm{RealmReserved, "reserved"}}},
		AccessLifetime: 20 * 60_000, RefreshLifetime: 24 * 3_600_000,
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// structure counts the bytes of tables and indexes, with what they hold in reserve.
func (w *world) structure() (n int) {
	p := w.fsm.state.pairs
	n = len(p.records.pages) * (pageSlots*pairSize + 8 + 72)
	for _, ix := range []*index{&p.access, &p.refresh} {
		n += 32 * len(ix.directory)
		for i, s := range ix.directory {
			if i == 0 || ix.directory[i-1] != s {
				n += 5*s.size() + 32
			}
		}
	}
	return n
}

func BenchmarkMemory(b *testing.B) {
	w := benchWorld(b)
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric(w.heapPerPair, "B/pair")
	b.ReportMetric(w.peakPerPair, "peak-B/pair")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.PauseNs[(m.NumGC+255)%256]), "gc-pause-ns")
}

// BenchmarkOperation measures what a remembered Issue costs.
func BenchmarkOperation(b *testing.B) {
	const n = 1_000_000
	s := newState()
	var id OperationID
	before := heap()
	for i := range uint64(n) {
		binary.LittleEndian.PutUint64(id[:], i*0x9e3779b97f4a7c15)
		s.operations.remember(id, benchNow+UnixMilli(i/100), Outcome{})
	}
	perOperation := float64(heap()-before) / n
	i := uint64(0)
	for b.Loop() {
		i++
		binary.LittleEndian.PutUint64(id[:], i%n*0x9e3779b97f4a7c15)
		if _, ok := s.operations.recall(id); !ok {
			b.Fatal("forgotten")
		}
	}
	b.ReportMetric(perOperation, "B/operation")
}

func BenchmarkLookup(b *testing.B) {
	w := benchWorld(b)
	const sample = 1 << 16
	hits, misses := make([]Digest, sample), make([]Digest, sample)
	for i := range hits {
		hits[i], misses[i] = digestOf('a', rand.IntN(w.pairs)), digestOf('x', i)
	}
	for name, digests := range map[string][]Digest{"hit": hits, "miss": misses} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, ok := w.fsm.AccessToken(digests[i%sample]); ok != (name == "hit") {
					b.Fatal(ok)
				}
			}
		})
	}
	// Without the lock, whose atomic operations keep the processor from beginning one
	// look-up before the last has ended: the store alone.
	b.Run("store", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if w.fsm.state.pairs.byAccess(hits[i%sample]) == 0 {
				b.Fatal("not found")
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(sample); pb.Next(); i++ {
				w.fsm.AccessToken(hits[i%sample])
			}
		})
	})
}

// BenchmarkYardstick is one read at a random place, which depends on the one before
// it, in as much memory as the pairs take: what the machine allows at this moment.
// A look-up needs two of them, in the index and in the record.
func BenchmarkYardstick(b *testing.B) {
	const line = 16 // uint32s
	lines := setting(b, "JETON_BENCH_PAIRS", 100_000) * pairSize / 64
	order := rand.Perm(lines)
	memory := make([]uint32, lines*line)
	for i, at := range order {
		memory[at*line] = uint32(order[(i+1)%lines] * line)
	}
	at := uint32(0)
	for b.Loop() {
		at = memory[at]
	}
}

// BenchmarkApply measures entries of 64 commands, decoding included, per command.
func BenchmarkApply(b *testing.B) {
	w := benchWorld(b)
	fresh, spent, dead := w.pairs, 0, w.pairs/2
	kinds := []struct {
		name string
		make func(i int) Command
		done func(Outcome) bool
	}{
		{"issue", func(int) Command { fresh++; return w.issue(fresh) }, nil},
		{"refresh", func(int) Command {
			fresh++
			spent++
			return Refresh{
				Presented: digestOf('r', spent%w.pairs), Client: Client{Principal: Principal{"kibana_system", Realm{RealmReserved, "reserved"}}}, Salt: Salt{1},
				Access: digestOf('a', fresh), Refresh: digestOf('r', fresh), AccessLifetime: 20 * 60_000, RefreshLifetime: 24 * 3_600_000,
				Window: 30_000, KeepFamily: true,
			}
		}, nil},
		{"invalidate", func(int) Command { dead++; return Invalidate{Access: digestOf('a', dead%w.pairs)} }, nil},
		{"put_user", func(i int) Command {
			return PutUser{Username: Username(strconv.Itoa(i % 1000)), Verifier: "$2a$10$abcdefghijklmnopqrstuv", Roles: []RoleName{"r"}, Enabled: true}
		}, nil},
		{"put_role", func(i int) Command { return PutRole{Role: Role{Name: RoleName(strconv.Itoa(i % 1000))}} }, nil},
	}
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			at := w.fsm.Now()
			for n := 0; n < b.N; n += benchBatch {
				b.StopTimer()
				var commands []Command
				for i := range min(benchBatch, b.N-n) {
					commands = append(commands, k.make(n+i))
				}
				entry := w.entry(at+UnixMilli(n/1000), commands)
				b.StartTimer()
				w.fsm.Apply(entry)
			}
		})
	}
	w.forget()
}

// BenchmarkInvalidateUser ends all tokens of one user of a thousand pairs.
func BenchmarkInvalidateUser(b *testing.B) {
	w := benchWorld(b)
	var ended uint32
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		entry := w.entry(w.fsm.Now(), []Command{Invalidate{Realm: RealmNative, Username: w.username(i)}})
		b.StartTimer()
		ended += w.fsm.Apply(entry).([]Outcome)[0].Invalidated
	}
	b.ReportMetric(float64(ended)/float64(i), "tokens/op")
}

func BenchmarkSnapshot(b *testing.B) {
	w := benchWorld(b)
	for b.Loop() {
		s, err := w.fsm.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}

// BenchmarkApplyWhileShared measures commands that copy pages: a snapshot is held.
func BenchmarkApplyWhileShared(b *testing.B) {
	w := benchWorld(b)
	s, err := w.fsm.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Release()
	at := w.fsm.Now()
	for n := 0; n < b.N; n += benchBatch {
		b.StopTimer()
		var commands []Command
		for range min(benchBatch, b.N-n) {
			commands = append(commands, Invalidate{Refresh: digestOf('r', rand.IntN(w.pairs))})
		}
		entry := w.entry(at, commands)
		b.StartTimer()
		w.fsm.Apply(entry)
	}
}

// counter is a sink that counts.
type counter struct{ sink }

func (c *counter) Write(p []byte) (int, error) { return io.Discard.Write(p) }

func BenchmarkPersist(b *testing.B) {
	w := benchWorld(b)
	_, size := w.fsm.Size()
	b.SetBytes(int64(size))
	for b.Loop() {
		s, err := w.fsm.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Persist(&counter{}); err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}

func BenchmarkRestore(b *testing.B) {
	w := benchWorld(b)
	var to bytes.Buffer
	_, size := w.fsm.Size()
	to.Grow(size + size/8)
	s, err := w.fsm.Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Persist(&buffer{Buffer: &to}); err != nil {
		b.Fatal(err)
	}
	s.Release()
	b.SetBytes(int64(to.Len()))
	for b.Loop() {
		if err := New(nil).Restore(source(to.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

type buffer struct {
	*bytes.Buffer
	sink
}

func (b *buffer) Write(p []byte) (int, error) { return b.Buffer.Write(p) }
