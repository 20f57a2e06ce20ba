package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrUnreadable is wrapped by every error of the decoders: the bytes are damaged,
// over a limit, not canonical, or written by a newer release.
var ErrUnreadable = errors.New("fsm: unreadable")

// codec writes or reads one value. Each encoded form is described once, by a
// function that hands its fields to a codec in order, so that the writing and the
// reading cannot drift apart. When writing, a codec stores nothing through the
// pointers it is given: a snapshot is written from values that others read.
//
// Numbers are minimal uvarints, texts and lists are preceded by their length,
// digests and ids are raw. There is exactly one encoding of each value, and a
// reader refuses all others: replicas compare and checksum bytes.
type codec struct {
	buf     []byte // writing: all that was written; reading: what is left
	reading bool
	err     error // reading: the first thing that was wrong
}

// unreadable reports the first fault of what is being read.
func (x *codec) unreadable(format string, args ...any) {
	if x.err == nil {
		x.err = fmt.Errorf("%w: %s", ErrUnreadable, fmt.Sprintf(format, args...))
	}
	x.buf = nil
}

// require refuses what is being read unless ok. It does nothing when writing: a
// faulty command is refused by the leader, which reads it before it proposes it.
func (x *codec) require(ok bool, what string) {
	if x.reading && x.err == nil && !ok {
		x.unreadable("%s", what)
	}
}

// end returns the fault of what was read, if any; bytes left over are one.
func (x *codec) end() error {
	if x.err == nil && len(x.buf) > 0 {
		x.unreadable("%d trailing bytes", len(x.buf))
	}
	return x.err
}

// take returns the next n bytes of what is being read, or nil.
func (x *codec) take(n int) []byte {
	if x.err != nil || n > len(x.buf) {
		x.unreadable("truncated")
		return nil
	}
	b := x.buf[:n]
	x.buf = x.buf[n:]
	return b
}

// uint codes a number of at most limit.
func (x *codec) uint(v *uint64, limit uint64) {
	if !x.reading {
		x.buf = binary.AppendUvarint(x.buf, *v)
		return
	}
	n, size := binary.Uvarint(x.buf)
	switch {
	case size <= 0:
		x.unreadable("truncated or overlong number")
	case size > 1 && x.buf[size-1] == 0:
		x.unreadable("number not minimal")
	case n > limit:
		x.unreadable("%d is over the limit of %d", n, limit)
	default:
		*v, x.buf = n, x.buf[size:]
	}
}

// millis codes a span or moment in milliseconds, at most limit. A negative one
// is written as a huge number, which no reader accepts.
func (x *codec) millis(v *int64, limit uint64) {
	n := uint64(*v) //nolint:gosec // negative becomes huge, see above
	x.uint(&n, limit)
	if x.reading {
		*v = int64(n) //nolint:gosec // within the limit
	}
}

// count codes a uint32.
func (x *codec) count(v *uint32) {
	n := uint64(*v)
	x.uint(&n, 1<<32-1)
	if x.reading {
		*v = uint32(n) //nolint:gosec // within the limit
	}
}

// flag codes a bool as one byte, 0 or 1.
func (x *codec) flag(v *bool) {
	if !x.reading {
		b := byte(0)
		if *v {
			b = 1
		}
		x.buf = append(x.buf, b)
		return
	}
	b := x.take(1)
	if b == nil {
		return
	}
	x.require(b[0] <= 1, "flag is neither 0 nor 1")
	*v = b[0] == 1
}

// raw codes bytes of fixed length.
func (x *codec) raw(v []byte) {
	if !x.reading {
		x.buf = append(x.buf, v...)
		return
	}
	copy(v, x.take(len(v)))
}

// length codes the length of what follows, at most limit. When it returns more
// than zero to a reader, that many bytes are there to be read.
func (x *codec) length(n int, limit uint64) int {
	v := uint64(n) //nolint:gosec // a length
	x.uint(&v, limit)
	if x.reading && v > uint64(len(x.buf)) {
		x.unreadable("truncated")
	}
	if x.err != nil {
		return 0
	}
	return int(v) //nolint:gosec // within the limit
}

// text codes a string of at most limit bytes.
func text[S ~string](x *codec, v *S, limit uint64) {
	n := x.length(len(*v), limit)
	if !x.reading {
		x.buf = append(x.buf, *v...)
		return
	}
	*v = S(x.take(n))
}

// texts codes a list of names. A list that was read is never nil.
func texts[S ~string](x *codec, v *[]S) {
	n := x.length(len(*v), MaxListLength) // each takes a byte at least, so n is no more than what is there
	if x.reading {
		*v = make([]S, n)
	}
	for i := range *v {
		text(x, &(*v)[i], MaxNameBytes)
	}
}

// document codes bytes of at most MaxDocumentBytes. Empty is read as nil.
func (x *codec) document(v *[]byte) { x.blob(v, MaxDocumentBytes) }

// blob codes bytes of at most limit. Empty is read as nil.
func (x *codec) blob(v *[]byte, limit uint64) {
	n := x.length(len(*v), limit)
	switch {
	case !x.reading:
		x.buf = append(x.buf, *v...)
	case n > 0:
		*v = append([]byte(nil), x.take(n)...) // a copy: the source may be a whole log entry
	}
}

// optionalText codes a string that may be absent (nil).
func (x *codec) optionalText(v **string) {
	present := *v != nil
	x.flag(&present)
	if !present || x.err != nil {
		return
	}
	if x.reading {
		*v = new(string)
	}
	text(x, *v, MaxTextBytes)
}

// digest codes a digest that must be there.
func (x *codec) digest(v *Digest) {
	x.raw(v[:])
	x.require(*v != Digest{}, "no digest")
}

// optionalDigest codes a digest that may be zero.
func (x *codec) optionalDigest(v *Digest) {
	present := *v != Digest{}
	x.flag(&present)
	if present {
		x.digest(v)
	}
}

func (x *codec) principal(v *Principal) {
	text(x, &v.Username, MaxNameBytes)
	text(x, &v.Realm.Name, MaxNameBytes)
	text(x, &v.Realm.Type, MaxNameBytes)
}

// optionalPrincipal codes a principal that may be zero, and tells whether it is there.
func (x *codec) optionalPrincipal(v *Principal) bool {
	present := *v != Principal{}
	x.flag(&present)
	if !present || x.err != nil {
		return false
	}
	x.principal(v)
	x.require(*v != Principal{}, "no principal")
	return true
}

func (x *codec) client(v *Client) {
	x.principal(&v.Principal)
	x.optionalPrincipal(&v.RunBy)
}

func (x *codec) identity(v *Identity) {
	x.principal(&v.Principal)
	texts(x, &v.Roles)
	x.optionalText(&v.FullName)
	x.optionalText(&v.Email)
	x.document(&v.Metadata)
	x.scope(&v.Scope)
	x.actor(&v.RunBy)
}

// scope codes a list that is absent (nil), or in ascending order and not empty.
func (x *codec) scope(v *[]string) {
	present := *v != nil
	x.flag(&present)
	if !present || x.err != nil {
		return
	}
	texts(x, v)
	x.require(len(*v) > 0, "empty scope")
	for i := 1; i < len(*v); i++ {
		x.require((*v)[i-1] < (*v)[i], "scope out of order")
	}
}

func (x *codec) actor(v **Actor) {
	present := *v != nil
	x.flag(&present)
	if !present || x.err != nil {
		return
	}
	if x.reading {
		*v = new(Actor)
	}
	a := *v
	x.principal(&a.Principal)
	texts(x, &a.Roles)
	x.uint((*uint64)(&a.Generation), 1<<64-1)
}

func (x *codec) header(v *Header) {
	x.raw(v.Operation[:])
	x.require(v.Operation != OperationID{}, "no operation id")
	x.principal(&v.Guard.Caller)
	x.uint((*uint64)(&v.Guard.CallerGeneration), 1<<64-1)
	if x.optionalPrincipal(&v.Guard.RunBy) {
		x.uint((*uint64)(&v.Guard.RunByGeneration), 1<<64-1)
	}
	x.optionalDigest(&v.Guard.Bearer)
	x.uint(&v.Guard.RolesVersion, 1<<64-1)
}
