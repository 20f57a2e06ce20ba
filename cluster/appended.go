package cluster

import (
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// noteAppended tells what a member's answer proves: it holds this leader's log up to
// the last entry that it was sent, or, if it was sent none, the one before.
func (t *Transport) noteAppended(id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	if !resp.Success || resp.Term != args.Term {
		return
	}
	index := args.PrevLogEntry
	if n := len(args.Entries); n > 0 {
		index = args.Entries[n-1].Index
	}
	t.appended(id, args.Term, index)
}

// AppendEntries implements raft.Transport.
func (t *Transport) AppendEntries(id raft.ServerID, address raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.NetworkTransport.AppendEntries(id, t.target(id, address), args, resp); err != nil {
		return err //nolint:wrapcheck // raft compares
	}
	t.noteAppended(id, args, resp)
	return nil
}

// InstallSnapshot implements raft.Transport.
func (t *Transport) InstallSnapshot(id raft.ServerID, address raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.NetworkTransport.InstallSnapshot(id, t.target(id, address), args, resp, data); err != nil {
		return err //nolint:wrapcheck // raft compares
	}
	if resp.Success && resp.Term == args.Term { // raft answers once the state is restored; see answerOutgrown
		t.appended(id, args.Term, args.LastLogIndex)
	}
	return nil
}

// AppendEntriesPipeline implements raft.Transport.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, address raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, t.target(id, address))
	if err != nil {
		return nil, err //nolint:wrapcheck // raft compares
	}
	p := &pipeline{AppendPipeline: inner, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.relay(func(f raft.AppendFuture) { t.noteAppended(id, f.Request(), f.Response()) })
	return p, nil
}

// pipeline looks at the answers before raft does.
type pipeline struct {
	raft.AppendPipeline
	answers chan raft.AppendFuture
	closed  chan struct{}
	once    sync.Once
}

// relay hands the answers to raft until the pipeline is closed.
func (p *pipeline) relay(look func(raft.AppendFuture)) {
	for {
		select {
		case answer := <-p.AppendPipeline.Consumer():
			look(answer)
			select {
			case p.answers <- answer:
			case <-p.closed:
				return
			}
		case <-p.closed:
			return
		}
	}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close() //nolint:wrapcheck // raft compares
}
