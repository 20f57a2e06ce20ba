package fsm

import (
	"crypto/sha256"
	"io"
)

// Limits of a restore.
const (
	// MaxChunkBytes is how much one RestoreChunk brings: nearly all that fits into a
	// command, so that a restore has few of them.
	MaxChunkBytes = 59 << 10
	// MaxRestoreBytes bounds what a restore brings in all, which every member holds in
	// memory until it is over: as much as 40 million pairs.
	MaxRestoreBytes = 4 << 30
	// RestorePatience is how long, in milliseconds of the state's time, an unfinished
	// restore waits for its next chunk before it is forgotten.
	RestorePatience = 10 * 60_000
)

// RestoreChunk brings part of what a [Restore] will put in the state's place. Nothing
// changes by it: a restore is complete before it begins, whatever happens to the leader
// meanwhile. There is one restore at a time, and a new one drops the other. Refusals:
// RestoreLost, RestoreUnreadable (too much).
type RestoreChunk struct {
	Header
	Restore  [16]byte // drawn at random; names the attempt
	Sequence uint32   // from 0; one that is there already counts as brought
	Data     []byte   // 1 to MaxChunkBytes; see [FSM.SaveForRestore]
}

// Kind implements [Command].
func (RestoreChunk) Kind() Kind { return KindRestoreChunk }

func (c RestoreChunk) code(x *codec) Command {
	x.header(&c.Header)
	x.restoreID(&c.Restore)
	x.count(&c.Sequence)
	x.chunk(&c.Data)
	return c
}

func (x *codec) restoreID(v *[16]byte) {
	x.raw(v[:])
	x.require(*v != [16]byte{}, "no id of a restore")
}

func (x *codec) chunk(v *[]byte) {
	x.blob(v, MaxChunkBytes)
	x.require(len(*v) > 0, "empty chunk")
}

func (c RestoreChunk) apply(s *State) Outcome {
	if c.Restore != s.staged.id {
		if c.Sequence > 0 {
			return Outcome{Reason: RestoreLost}
		}
		s.staged = staged{id: c.Restore}
	}
	next := len(s.staged.chunks)
	switch {
	case int(c.Sequence) > next:
		return Outcome{Reason: RestoreLost}
	case int(c.Sequence) < next:
		return Outcome{}
	case s.staged.bytes+len(c.Data) > MaxRestoreBytes:
		return Outcome{Reason: RestoreUnreadable}
	}
	s.staged.add(c.Data)
	s.staged.at = s.now
	return Outcome{}
}

// staged is what an unfinished restore has brought so far. Zero: there is none.
type staged struct {
	id     [16]byte
	at     UnixMilli // when the newest chunk came
	chunks [][]byte  // only appended to: snapshots share it
	bytes  int
}

func (v *staged) add(chunk []byte) {
	v.chunks = append(v.chunks, chunk)
	v.bytes += len(chunk)
}

// abandon forgets a restore that nobody goes on with.
func (v *staged) abandon(now UnixMilli) {
	if v.id != [16]byte{} && v.at+RestorePatience < now {
		*v = staged{}
	}
}

func (v *staged) digest() (sum [sha256.Size]byte) {
	hash := sha256.New()
	for _, chunk := range v.chunks {
		_, _ = hash.Write(chunk) // never fails
	}
	hash.Sum(sum[:0])
	return sum
}

// relink refuses what no chunks would have made.
func (v *staged) relink(x *codec, now UnixMilli) {
	x.require((v.id == [16]byte{}) == (len(v.chunks) == 0), "chunks of no restore")
	x.require(v.id != [16]byte{} || v.at == 0, "time of no restore")
	x.require(v.at <= now && v.bytes <= MaxRestoreBytes, "restore of the future, or too large")
}

// chunkReader reads chunks one after the other.
type chunkReader struct {
	chunks [][]byte
	at     int // in the first of them
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	if len(r.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.chunks[0][r.at:])
	if r.at += n; r.at == len(r.chunks[0]) {
		r.chunks, r.at = r.chunks[1:], 0
	}
	return n, nil
}
