package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reader reads a file: what is read from it are the bytes of a snapshot, io.EOF coming
// only if the whole file is as it was written. Not for concurrent use.
//
// Errors: [ErrNoBackup], [ErrCutOff], [ErrTampered], [ErrOtherKey], those of the source.
type Reader struct {
	from   *bufio.Reader
	seal   *sealer
	header Header
	buf    []byte // a frame with its seal
	rest   []byte // of the part that is being read
	sums   sums
	err    error // the first one, io.EOF included
}

// Open reads the header. With the zero Key only that is verified which whoever changes a
// file can make right again: that it is whole and has its checksum.
func Open(from io.Reader, key Key) (*Reader, error) {
	seal, err := newSealer(key.Secret)
	if err != nil {
		return nil, err
	}
	r := &Reader{from: bufio.NewReaderSize(from, 16<<10), seal: seal, sums: sums{hash: sha256.New()}}
	start := make([]byte, len(fileStart))
	switch n, err := io.ReadFull(r.from, start); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("it is empty: %w", ErrCutOff)
	case errors.Is(err, io.ErrUnexpectedEOF) && strings.HasPrefix(fileStart, string(start[:n])):
		return nil, ErrCutOff
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("read a snapshot file: %w", err)
	case string(start) != fileStart:
		return nil, ErrNoBackup
	}
	f, err := r.next()
	if err != nil {
		return nil, err
	}
	// Another key's seal proves nothing: what the header says of the key comes first.
	err = decodeStrictly(f.body, &r.header)
	if err == nil && len(key.Secret) > 0 && r.header.KeyCheck != key.Check {
		return nil, fmt.Errorf("%w: that of cluster %q (ID %s)", ErrOtherKey, r.header.ClusterName, r.header.ClusterID)
	}
	if err != nil || f.kind != kindHeader || !f.verified {
		return nil, ErrTampered
	}
	return r, nil
}

// Header returns what the file says of itself.
func (r *Reader) Header() Header { return r.header }

// Content returns how many bytes of a snapshot were read so far, and their SHA-256.
func (r *Reader) Content() (size uint64, digest [sha256.Size]byte) {
	return r.sums.count, [sha256.Size]byte(r.sums.hash.Sum(nil))
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.rest, r.err = r.part()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// part returns the next part, verified, or io.EOF after the last frame.
func (r *Reader) part() ([]byte, error) {
	f, err := r.next()
	if err != nil {
		return nil, err
	}
	switch {
	case !f.verified, len(f.body) == 0:
		return nil, ErrTampered
	case f.kind == kindPart:
		r.sums.add(f.body)
		return f.body, nil
	case f.kind != kindEnd, !r.sums.match(f.body):
		return nil, ErrTampered
	}
	switch _, err := r.from.ReadByte(); {
	case err == nil:
		return nil, ErrTampered
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read a snapshot file: %w", err)
	}
	return nil, io.EOF
}

// frame is valid until the next one is read.
type frame struct {
	kind     byte
	body     []byte
	verified bool
}

func (r *Reader) next() (frame, error) {
	var head [frameHead]byte
	if err := r.fill(head[:]); err != nil {
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxPart {
		return frame{}, ErrTampered
	}
	if len(r.buf) < int(size)+sha256.Size {
		r.buf = make([]byte, size+sha256.Size)
	}
	body, seal := r.buf[:size], r.buf[size:][:sha256.Size]
	if err := r.fill(r.buf[:size+sha256.Size]); err != nil {
		return frame{}, err
	}
	return frame{kind: head[0], body: body, verified: r.seal.verifies(seal, head[:], body)}, nil
}

func (r *Reader) fill(b []byte) error {
	_, err := io.ReadFull(r.from, b)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrCutOff
	case err != nil:
		return fmt.Errorf("read a snapshot file: %w", err)
	}
	return nil
}
