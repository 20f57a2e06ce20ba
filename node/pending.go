package node

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"jeton/fsm"
)

// pendingLog is the log as raft should see it where reads may need no confirmation:
// it knows which revocations this node has appended and not applied. A leader may
// acknowledge a revocation as soon as this node has appended it; so from then on no
// read here may go by the state alone that it concerns.
type pendingLog struct {
	raft.LogStore
	state *fsm.FSM
	// found is the last entry that the log began with. What came before is not in list.
	found uint64

	waiting atomic.Int64 // entries in list, for readers without a lock
	mu      sync.RWMutex
	list    []pendingRevocation // by index
}

func newPendingLog(logs raft.LogStore, state *fsm.FSM) (*pendingLog, error) {
	found, err := logs.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("find the end of the log: %w", err)
	}
	return &pendingLog{LogStore: logs, state: state, found: found}, nil
}

// pendingRevocation is what one command in the log may end.
type pendingRevocation struct {
	index uint64
	what  fsm.Revocation
}

// StoreLog implements raft.LogStore.
func (p *pendingLog) StoreLog(entry *raft.Log) error { return p.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore. The revocations count from before they are
// stored, and so from before anybody is told that they are.
func (p *pendingLog) StoreLogs(entries []*raft.Log) error {
	for _, entry := range entries {
		if entry.Type == raft.LogCommand {
			fsm.Revocations(entry.Data, func(r fsm.Revocation) { p.add(entry.Index, r) })
		}
	}
	return p.LogStore.StoreLogs(entries) //nolint:wrapcheck // raft sees the store's own error
}

// DeleteRange implements raft.LogStore. What is deleted is either in the state, or was
// never committed.
func (p *pendingLog) DeleteRange(low, high uint64) error {
	if err := p.LogStore.DeleteRange(low, high); err != nil {
		return err //nolint:wrapcheck // raft sees the store's own error
	}
	p.remove(func(index uint64) bool { return low <= index && index <= high })
	return nil
}

// add takes note of a revocation. A refresh counts only as one if it may find a
// reuse: its token has been consumed by the state, or may be by an entry before it. Other
// entries that the log began with need no such care: before this process gets a lease, the
// state has them.
func (p *pendingLog) add(index uint64, r fsm.Revocation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Presented != (fsm.Digest{}) {
		r.Any = p.presented(r.Presented) || p.state.Applied() < p.found
		if t, known := p.state.RefreshToken(r.Presented); known && t.Refreshed {
			r.Any = true
		}
	}
	p.list = append(p.list, pendingRevocation{index, r})
	p.waiting.Store(int64(len(p.list)))
}

// presented tells whether a refresh of that token is pending already.
func (p *pendingLog) presented(d fsm.Digest) bool {
	for i := range p.list {
		if p.list[i].what.Presented == d {
			return true
		}
	}
	return false
}

// applied says that the state includes everything up to index.
func (p *pendingLog) applied(index uint64) {
	if p.waiting.Load() > 0 {
		p.remove(func(i uint64) bool { return i <= index })
	}
}

func (p *pendingLog) remove(gone func(index uint64) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.list[:0]
	for _, r := range p.list {
		if !gone(r.index) {
			kept = append(kept, r)
		}
	}
	clear(p.list[len(kept):])
	p.list = kept
	p.waiting.Store(int64(len(p.list)))
}

// concerns tells whether what is pending may end an access token. Whatever is not
// pending and was appended is in the state, if the state is looked at afterwards.
func (p *pendingLog) concerns(access fsm.Digest, identity *fsm.Identity) bool {
	if p.waiting.Load() == 0 {
		return false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i := range p.list {
		if p.list[i].what.Ends(access, identity) {
			return true
		}
	}
	return false
}
