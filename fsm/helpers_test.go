package fsm

import (
	"bytes"
	"io"

	"github.com/hashicorp/raft"
)

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	fail      error
	closed    bool
	cancelled bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(p)
}

func (s *sink) Close() error  { s.closed = true; return s.fail }
func (s *sink) ID() string    { return "sink" }
func (s *sink) Cancel() error { s.cancelled = true; return nil }

var _ raft.SnapshotSink = (*sink)(nil)

func source(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

// failer is a test, or one case of a property test.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// persisted returns a snapshot of f.
func persisted(t failer, f *FSM) []byte {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer s.Release()
	var to sink
	if err := s.Persist(&to); err != nil || !to.closed {
		t.Fatalf("persist: %v", err)
	}
	return to.Bytes()
}
