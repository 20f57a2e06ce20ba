package realm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"jeton/fsm"
)

// verdictLifetime is Elasticsearch's cache.ttl. Verdicts do not go wrong with time;
// it bounds how long a password that is no longer used stays derivable from memory.
const verdictLifetime = 20 * time.Minute

// Sizes of the two memories, about 80 bytes an entry. Every user has at most one
// right password, so right ones cannot be flooded; wrong ones can, by anybody, and
// therefore have a memory of their own.
const (
	maxRightVerdicts = 1 << 16
	maxWrongVerdicts = 1 << 12
)

// verdictKey stands for a user name, a verifier and a password. The user name is
// part of it so that the time of an answer tells nothing: all unknown users share
// one verifier.
type verdictKey [sha256.Size]byte

// verdicts remembers which passwords match which verifiers. That is a fact about
// the two and cannot change, whatever happens to the user. Concurrent questions for
// the same fact share one hash.
type verdicts struct {
	matches matchFunc
	now     func() time.Time
	secret  [sha256.Size]byte // of this process: the digests are worthless elsewhere

	right, wrong memory

	mu      sync.Mutex
	flights map[verdictKey]*flight
}

// flight is a hash under way. Its fields may be read once done is closed.
type flight struct {
	done  chan struct{}
	match bool
	err   error
}

// matchFunc checks a password that was presented for a user name against a verifier.
type matchFunc func(ctx context.Context, name fsm.Username, encoded string, password Secret) (bool, error)

func newVerdicts(matches matchFunc, now func() time.Time) *verdicts {
	v := &verdicts{
		matches: matches,
		now:     now,
		right:   memory{expiry: map[verdictKey]int64{}, limit: maxRightVerdicts},
		wrong:   memory{expiry: map[verdictKey]int64{}, limit: maxWrongVerdicts},
		flights: map[verdictKey]*flight{},
	}
	_, _ = rand.Read(v.secret[:]) // never fails, see its documentation
	return v
}

// ask reports whether the password matches the verifier, from memory if it can.
func (v *verdicts) ask(ctx context.Context, username fsm.Username, encoded string, password Secret) (bool, error) {
	key := v.key(username, encoded, password)
	for {
		if match, known := v.recall(key); known {
			return match, nil
		}
		f, mine := v.join(key)
		if f == nil {
			continue // just found out by somebody else
		}
		if mine {
			v.find(key, f, func() (bool, error) { return v.matches(ctx, username, encoded, password) })
			return f.match, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return false, fmt.Errorf("wait for a password to be verified: %w", context.Cause(ctx))
		}
		if f.err == nil {
			return f.match, nil
		}
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return false, f.err
		}
		// The caller we waited for has lost its patience. We have not.
	}
}

// forget empties both memories. Hashes under way are remembered all the same.
func (v *verdicts) forget() {
	v.right.clear()
	v.wrong.clear()
}

func (v *verdicts) key(username fsm.Username, encoded string, password Secret) verdictKey {
	var room [384]byte // enough for nearly all: no allocation
	b := append(room[:0], v.secret[:]...)
	b = binary.AppendUvarint(b, uint64(len(username)))
	b = append(b, username...)
	b = binary.AppendUvarint(b, uint64(len(encoded)))
	b = append(b, encoded...)
	b = append(b, password.Expose()...)
	return sha256.Sum256(b)
}

func (v *verdicts) recall(key verdictKey) (match, known bool) {
	now := v.now().UnixNano()
	if v.right.has(key, now) {
		return true, true
	}
	return false, v.wrong.has(key, now)
}

// join returns the flight for the key, and whether the caller must fly it; nil if
// the verdict has become known meanwhile.
func (v *verdicts) join(key verdictKey) (f *flight, mine bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f, ok := v.flights[key]; ok {
		return f, false
	}
	if _, known := v.recall(key); known {
		return nil, false
	}
	f = &flight{done: make(chan struct{})}
	v.flights[key] = f
	return f, true
}

// find does the work of a flight, remembers the verdict, and wakes who waits, in
// this order: whoever sees no flight must see the verdict.
func (v *verdicts) find(key verdictKey, f *flight, hash func() (bool, error)) {
	defer func() {
		v.mu.Lock()
		delete(v.flights, key)
		v.mu.Unlock()
		close(f.done)
	}()
	f.err = ErrBusy // should the work panic, nobody must be let in
	match, err := hash()
	if err == nil {
		now := v.now()
		until := now.Add(verdictLifetime)
		if match {
			v.right.add(key, now.UnixNano(), until.UnixNano())
		} else {
			v.wrong.add(key, now.UnixNano(), until.UnixNano())
		}
	}
	f.match, f.err = match, err
}

// expire drops the verdicts whose time is over.
func (v *verdicts) expire() {
	now := v.now().UnixNano()
	v.right.expire(now)
	v.wrong.expire(now)
}

// memory is a bounded set whose entries expire, all after the same time.
type memory struct {
	mu     sync.RWMutex
	expiry map[verdictKey]int64 // Unix nanoseconds
	order  []verdictKey         // of the entries, the oldest first
	limit  int
}

func (m *memory) has(key verdictKey, now int64) bool {
	m.mu.RLock()
	until, ok := m.expiry[key]
	m.mu.RUnlock()
	return ok && now < until
}

func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.expiry)
	m.order = nil
}

// add forgets what has expired, and if there still is no room, the oldest entry.
func (m *memory) add(key verdictKey, now, until int64) {
	m.expire(now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.expiry[key]; ok {
		return // the clock was set back, or else it had expired
	}
	if len(m.order) >= m.limit {
		m.drop()
	}
	m.expiry[key] = until
	m.order = append(m.order, key)
}

// expire drops what has expired.
func (m *memory) expire(now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.order) > 0 && m.expiry[m.order[0]] <= now {
		m.drop()
	}
}

func (m *memory) drop() {
	delete(m.expiry, m.order[0])
	m.order = m.order[1:]
}
