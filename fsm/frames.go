package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A snapshot is a magic, a format byte, and frames: section (1), length (4),
// that many bytes, CRC-32C of all three (4). Items do not cross frames. The last
// frame says how many there were before it and gives the CRC-32C of their
// checksums, so that a missing, repeated or moved frame is noticed, too. Nothing
// follows it.
const (
	snapshotMagic  = "jetonfsm"
	snapshotFormat = 1
	frameHead      = 5
	maxFrame       = 256 << 10 // bytes of items: what a reader allocates at once
)

// section numbers what a frame holds. Sections come in this order.
type section uint8

const (
	sectionSummary    section = 1
	sectionRealms     section = 2
	sectionOwners     section = 3
	sectionHolders    section = 4
	sectionPairs      section = 5
	sectionDue        section = 6
	sectionUsers      section = 7
	sectionRoles      section = 8
	sectionOperations section = 9
	sectionAnswers    section = 10
	sectionLeases     section = 11
	sectionStaged     section = 12
	sectionEnd        section = 255
)

// frameWriter collects items into frames. The first error of the destination
// sticks, and is what end returns.
type frameWriter struct {
	to     io.Writer
	buf    []byte // head and items of the frame that is being filled
	count  uint64
	digest uint32
	err    error
}

func newFrameWriter(to io.Writer) *frameWriter {
	w := &frameWriter{to: to, buf: make([]byte, frameHead, frameHead+maxFrame+crc32.Size)}
	_, w.err = io.WriteString(to, snapshotMagic+string(rune(snapshotFormat)))
	return w
}

// room begins an item of at most size bytes: append it to what room returns and
// hand that to done.
func (w *frameWriter) room(s section, size int) []byte {
	if section(w.buf[0]) != s || len(w.buf)-frameHead+size > maxFrame {
		w.flush()
		w.buf[0] = byte(s)
	}
	return w.buf
}

func (w *frameWriter) done(b []byte) { w.buf = b }

func (w *frameWriter) flush() {
	if len(w.buf) > frameHead {
		binary.LittleEndian.PutUint32(w.buf[1:], uint32(len(w.buf)-frameHead)) //nolint:gosec // at most maxFrame
		sum := crc32.Checksum(w.buf, castagnoli)
		w.buf = binary.LittleEndian.AppendUint32(w.buf, sum)
		w.digest = crc32.Update(w.digest, castagnoli, w.buf[len(w.buf)-crc32.Size:])
		w.count++
		if w.err == nil {
			_, w.err = w.to.Write(w.buf)
		}
	}
	w.buf = w.buf[:frameHead]
}

// end writes the last frame.
func (w *frameWriter) end() error {
	w.flush()
	b := w.room(sectionEnd, 12)
	b = binary.LittleEndian.AppendUint64(b, w.count)
	w.done(binary.LittleEndian.AppendUint32(b, w.digest))
	w.flush()
	if w.err != nil {
		return fmt.Errorf("write snapshot: %w", w.err)
	}
	return nil
}

// frameReader is the inverse of frameWriter.
type frameReader struct {
	from   *bufio.Reader
	buf    []byte
	last   section
	count  uint64
	digest uint32
}

func newFrameReader(from io.Reader) (*frameReader, error) {
	r := &frameReader{from: bufio.NewReaderSize(from, 64<<10), buf: make([]byte, maxFrame+crc32.Size)}
	start := r.buf[:len(snapshotMagic)+1]
	if err := r.fill(start); err != nil {
		return nil, err
	}
	if string(start) != snapshotMagic+string(rune(snapshotFormat)) {
		return nil, fmt.Errorf("%w: no snapshot of a known format", ErrUnreadable)
	}
	return r, nil
}

// next returns the next frame with its checksum verified. The items are valid
// until the next call. The last frame, of sectionEnd, has none.
func (r *frameReader) next() (section, []byte, error) {
	var head [frameHead]byte
	if err := r.fill(head[:]); err != nil {
		return 0, nil, err
	}
	s, size := section(head[0]), binary.LittleEndian.Uint32(head[1:])
	if s < r.last || size == 0 || size > maxFrame {
		return 0, nil, fmt.Errorf("%w: frame %d of section %d with %d bytes", ErrUnreadable, r.count, s, size)
	}
	body := r.buf[:size+crc32.Size]
	if err := r.fill(body); err != nil {
		return 0, nil, err
	}
	items, sum := body[:size], body[size:]
	if crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, items) != binary.LittleEndian.Uint32(sum) {
		return 0, nil, fmt.Errorf("%w: checksum of frame %d", ErrUnreadable, r.count)
	}
	if s == sectionEnd {
		return s, nil, r.finish(items)
	}
	r.last = s
	r.count++
	r.digest = crc32.Update(r.digest, castagnoli, sum)
	return s, items, nil
}

// finish checks the last frame and that nothing follows.
func (r *frameReader) finish(items []byte) error {
	if len(items) != 12 || binary.LittleEndian.Uint64(items) != r.count || binary.LittleEndian.Uint32(items[8:]) != r.digest {
		return fmt.Errorf("%w: frames are missing or moved", ErrUnreadable)
	}
	switch _, err := r.from.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: more after the last frame", ErrUnreadable)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: after the last frame: %w", ErrUnreadable, err)
	}
	return nil
}

func (r *frameReader) fill(b []byte) error {
	if _, err := io.ReadFull(r.from, b); err != nil {
		return fmt.Errorf("%w: snapshot ends early: %w", ErrUnreadable, err)
	}
	return nil
}
