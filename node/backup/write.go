package backup

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Writer writes a file: what is written to it are the bytes of a snapshot. Not for
// concurrent use.
type Writer struct {
	to   io.Writer
	seal *sealer
	buf  []byte // of the next part
	sums sums
}

// NewWriter writes the header, and seals the file with the key, which is required.
func NewWriter(to io.Writer, key Key, header Header) (*Writer, error) {
	if len(key.Secret) == 0 {
		return nil, errors.New("write a snapshot file: no cluster key")
	}
	if key.Check != header.KeyCheck {
		return nil, ErrOtherKey
	}
	seal, err := newSealer(key.Secret)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("encode the header of a snapshot file: %w", err)
	}
	w := &Writer{to: to, seal: seal, buf: make([]byte, 0, maxPart), sums: sums{hash: sha256.New()}}
	if _, err := io.WriteString(to, fileStart); err != nil {
		return nil, fmt.Errorf("write a snapshot file: %w", err)
	}
	return w, w.frame(kindHeader, encoded)
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n := min(len(p)-written, maxPart-len(w.buf))
		w.buf = append(w.buf, p[written:written+n]...)
		written += n
		if len(w.buf) == maxPart {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	w.sums.add(w.buf)
	err := w.frame(kindPart, w.buf)
	w.buf = w.buf[:0]
	return err
}

// Close writes the last frame. Without it the file is cut off.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.frame(kindEnd, w.sums.end())
}

// Content returns how many bytes of a snapshot were written, and, after Close, their
// SHA-256: the same for all members that have applied the same entries.
func (w *Writer) Content() (size uint64, digest [sha256.Size]byte) {
	return w.sums.count, [sha256.Size]byte(w.sums.hash.Sum(nil))
}

func (w *Writer) frame(kind byte, body []byte) error {
	head := appendHead(nil, kind, len(body))
	for _, b := range [][]byte{head, body, w.seal.seal(head, body)} {
		if _, err := w.to.Write(b); err != nil {
			return fmt.Errorf("write a snapshot file: %w", err)
		}
	}
	return nil
}
