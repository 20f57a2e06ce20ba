package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"jeton/fsm"
)

// Load reads a whole file into memory. What it returns is what was saved, to the last
// byte, if there is a key; without effect on anything.
//
// Errors: those of [Reader], and that of a state which this release cannot read.
func Load(from io.Reader, key Key) (*fsm.FSM, Header, error) {
	r, err := Open(from, key)
	if err != nil {
		return nil, Header{}, err
	}
	state := fsm.New(nil)
	if err := state.Restore(io.NopCloser(r)); err != nil {
		for _, known := range []error{ErrCutOff, ErrTampered} {
			if errors.Is(err, known) {
				return nil, Header{}, known
			}
		}
		return nil, Header{}, fmt.Errorf("read a snapshot file: %w", err)
	}
	said := Header{ClusterName: r.header.ClusterName, NodeName: r.header.NodeName, Version: r.header.Version, SavedAt: r.header.SavedAt}
	if r.header != said.describe(state.Summary()) {
		return nil, Header{}, ErrTampered
	}
	return state, r.header, nil
}

// Restoring says how a state is to be restored.
type Restoring struct {
	// Propose has the cluster apply an encoded command that has its operation id, and
	// tries again for as long as it is worth it.
	Propose func(ctx context.Context, command []byte) (fsm.Outcome, error)
	// From is the cluster whose state it may be.
	From ID
	// Epoch is the cluster's present recovery epoch.
	Epoch        uint64
	KeepSessions bool
	// Progress is told now and then how many bytes of how many have been brought. Nil:
	// nobody is.
	Progress func(done, total int64)
}

// Restore puts a state that was loaded in the place of a cluster's; see [fsm.Restore].
// Nothing changes until all has been brought. After an error of Propose at the end it may
// have, or may yet.
func Restore(ctx context.Context, state *fsm.FSM, how Restoring) error {
	var total counter
	if err := state.SaveForRestore(&total, how.KeepSessions); err != nil {
		return err
	}
	if total > fsm.MaxRestoreBytes {
		return fmt.Errorf("what is to be restored takes %d MiB, and %d MiB is the most that all members can be asked to hold at once: restore without the sessions",
			total>>20, fsm.MaxRestoreBytes>>20)
	}
	b := &bringer{ctx: ctx, how: how, total: int64(total), hash: sha256.New(), buf: make([]byte, 0, fsm.MaxChunkBytes)}
	_, _ = rand.Read(b.id[:]) // never fails
	if err := state.SaveForRestore(b, how.KeepSessions); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	if err := b.propose(fsm.Restore{
		Restore: b.id, Digest: [sha256.Size]byte(b.hash.Sum(nil)), From: how.From, Epoch: how.Epoch + 1, KeepSessions: how.KeepSessions,
	}); err != nil {
		return unless(err, "whether it was restored is not known; to repeat the command is safe")
	}
	return nil
}

// unless says what an error means, if it does not do so itself.
func unless(err error, meaning string) error {
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return err
	}
	return fmt.Errorf("%s: %w", meaning, err)
}

// counter counts what is written to it.
type counter int64

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// bringer proposes what is written to it, chunk by chunk.
type bringer struct {
	ctx   context.Context //nolint:containedctx // of the one call of Restore
	how   Restoring
	id    [16]byte
	total int64

	done     int64
	sequence uint32
	hash     hash.Hash
	buf      []byte
}

// Write implements io.Writer.
func (b *bringer) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n := min(len(p)-written, cap(b.buf)-len(b.buf))
		b.buf = append(b.buf, p[written:written+n]...)
		written += n
		if len(b.buf) == cap(b.buf) {
			if err := b.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (b *bringer) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	_, _ = b.hash.Write(b.buf) // never fails
	if err := b.propose(fsm.RestoreChunk{Restore: b.id, Sequence: b.sequence, Data: b.buf}); err != nil {
		return unless(err, "not restored, and nothing has changed")
	}
	b.sequence++
	b.done += int64(len(b.buf))
	b.buf = b.buf[:0]
	if b.how.Progress != nil {
		b.how.Progress(b.done, b.total)
	}
	return nil
}

// propose gives a command its operation id, so that it may be proposed again and again.
func (b *bringer) propose(c fsm.Command) error {
	var operation fsm.OperationID
	_, _ = rand.Read(operation[:]) // never fails
	command := fsm.AppendCommand(nil, c)
	operation.Name(command)
	outcome, err := b.how.Propose(b.ctx, command)
	if err != nil {
		return err
	}
	if outcome.Reason != fsm.Done {
		return &RefusedError{Reason: outcome.Reason, KeepSessions: b.how.KeepSessions}
	}
	return nil
}

// RefusedError says why the cluster has not restored a state. Nothing has changed.
type RefusedError struct {
	Reason       fsm.Reason
	KeepSessions bool // it was asked for
}

// Error implements error, in words for the operator.
func (e *RefusedError) Error() string {
	switch {
	case e.Reason == fsm.RestoreLost:
		return "not restored: another restore has begun meanwhile, or this one was interrupted for more than ten minutes"
	case e.Reason == fsm.RestoreOutdated && e.KeepSessions:
		return "not restored: the cluster was restored or recovered since this snapshot was saved, or just now, and no longer knows which of its sessions have ended. Without --keep-sessions it can be restored"
	case e.Reason == fsm.RestoreOutdated:
		return "not restored: the cluster was restored or recovered just now by somebody else. Look at it, then try again"
	case e.Reason == fsm.RestoreForeign:
		return "not restored: the snapshot is of another cluster, or the cluster has another cluster key"
	case e.Reason == fsm.RestoreAhead:
		return "not restored: the snapshot's time is more than a minute ahead of the cluster's, and its sessions cannot be kept without it. Set the clocks right, or restore without --keep-sessions"
	case e.Reason == fsm.RestoreUnreadable:
		return "not restored: the members cannot read what they were brought; do all of them run the release that this command is of?"
	}
	return "not restored: " + e.Reason.String()
}
