package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

// FuzzDecodeCommand: refuse, or be the one encoding of a command.
func FuzzDecodeCommand(f *testing.F) {
	for _, c := range goldens() {
		f.Add(AppendCommand(nil, c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(b, AppendCommand(nil, c)) {
			t.Fatalf("%x has two encodings", b)
		}
	})
}

// FuzzDecodeEntry mends the checksum, so that it gets past it, and applies what
// can be read.
func FuzzDecodeEntry(f *testing.F) {
	_, b := goldenEntry()
	f.Add(b[:len(b)-4])
	for _, c := range goldens() {
		raw := AppendCommand(nil, c)
		b := AppendEntry(nil, start, [][]byte{raw, raw})
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
		e, err := decodeEntry(b)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			return
		}
		var raw [][]byte
		for _, c := range e.Commands {
			raw = append(raw, AppendCommand(nil, c))
		}
		if !bytes.Equal(b, AppendEntry(nil, e.At, raw)) {
			t.Fatalf("%x has two encodings", b)
		}
		s := newState()
		if got := len(s.apply(1, e)); got != len(e.Commands) {
			t.Fatalf("%d outcomes of %d commands", got, len(e.Commands))
		}
	})
}

// FuzzRestore mends the checksums of a damaged snapshot. Refuse it, or hold a state
// that can be worked with and that writes itself.
func FuzzRestore(f *testing.F) {
	rich := written(&testing.T{}, richState(&testing.T{}))
	f.Add(rich, uint32(0), byte(0))
	f.Add(written(&testing.T{}, newState()), uint32(0), byte(0))
	for at := uint32(0); at < uint32(len(rich)); at += 13 {
		f.Add(rich, at, byte(1))
		f.Add(rich, at, byte(0x80))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint32, mask byte) {
		b = bytes.Clone(b)
		if len(b) > 0 {
			b[at%uint32(len(b))] ^= mask
		}
		s, err := restore(bytes.NewReader(mended(b)))
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			return
		}
		if _, err := restore(bytes.NewReader(written(t, s))); err != nil {
			t.Fatal(err)
		}
		play := &story{t: t, state: s, at: max(s.now, start), index: 1000}
		for _, c := range []Command{
			pairOf(9), refreshOf(1, 8), refreshOf(3, 9),
			DeleteUser{Username: "bob"},
			Invalidate{Username: "ada"},
			Invalidate{Refresh: Digest{1, 'r'}, Reach: ReachFamily},
			Invalidate{Realm: RealmNative},
			Invalidate{All: true},
		} {
			play.apply(c)
		}
		for _, q := range []Listing{adas, {}} {
			q.Limit = 3
			names(fsmOf(play), q, func() {})
		}
		play.at = max(s.now, start+48*hour)
		for range 3 {
			play.apply(CollectExpired{Limit: MaxCollect})
		}
		if _, err := restore(bytes.NewReader(written(t, s))); err != nil {
			t.Fatal(err)
		}
	})
}

// mended gives what looks like frames the right checksums and end.
func mended(b []byte) []byte {
	const start = len(snapshotMagic) + 1
	if len(b) < start {
		return b
	}
	var to bytes.Buffer
	w := newFrameWriter(&to)
	for rest := b[start:]; len(rest) > frameHead; {
		size := int(min(binary.LittleEndian.Uint32(rest[1:]), maxFrame, uint32(len(rest)-frameHead)))
		if s := section(rest[0]); s != sectionEnd {
			w.done(append(w.room(s, size), rest[frameHead:][:size]...))
		}
		rest = rest[min(frameHead+size+crc32.Size, len(rest)):]
	}
	if w.end() != nil {
		return b
	}
	return append(b[:start:start], to.Bytes()[start:]...)
}
