package backup

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

const (
	fileStart = "jetonbak\x01" // magic and format
	frameHead = 5
	// maxPart bounds the bytes of a frame, which a reader holds before it knows whether
	// to believe them.
	maxPart = 256 << 10
	endSize = 8 + sha256.Size
)

// The kinds of frames.
const (
	kindHeader = 1
	kindPart   = 2
	kindEnd    = 3
)

// What can be wrong with a file.
var (
	// ErrNoBackup says that it never was a backup, or is one of a later release.
	ErrNoBackup = errors.New("not a file of jeton snapshot, or made by a later release")
	// ErrCutOff says that its end is missing.
	ErrCutOff = errors.New("the file is cut off: its end is missing. Copy it again, or take another backup")
	// ErrTampered says that it is not what was written.
	ErrTampered = errors.New("the file is damaged, or was tampered with. Copy it again, or take another backup")
	// ErrOtherKey says that it was made with another cluster key, so nothing can be said
	// about it.
	ErrOtherKey = errors.New("the file was made with another cluster key")
)

// Key is a cluster key. The zero Key is none: files are read without being verified.
type Key struct {
	Secret []byte
	Check  Fingerprint // tells whether two nodes have the same key, and nothing about it
}

// NewKey returns a cluster key with its fingerprint.
func NewKey(secret []byte) (Key, error) {
	key := Key{Secret: secret}
	derived, err := hkdf.Key(sha256.New, secret, nil, "jeton cluster key check v1", len(key.Check))
	if err != nil {
		return Key{}, fmt.Errorf("derive the fingerprint of the cluster key: %w", err)
	}
	copy(key.Check[:], derived)
	return key, nil
}

// sealer computes the seals of one file. With no key it seals nothing.
type sealer struct {
	mac  hash.Hash // nil: no key
	last []byte
}

func newSealer(key []byte) (*sealer, error) {
	if len(key) == 0 {
		return &sealer{}, nil
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "jeton snapshot file v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a snapshot file: %w", err)
	}
	return &sealer{mac: hmac.New(sha256.New, derived), last: []byte(fileStart)}, nil
}

// seal returns the seal of the next frame.
func (s *sealer) seal(frame ...[]byte) []byte {
	s.mac.Reset()
	for _, b := range append([][]byte{s.last}, frame...) {
		_, _ = s.mac.Write(b) // never fails
	}
	s.last = s.mac.Sum(nil)
	return s.last
}

// verifies tells whether that is the seal of the next frame.
func (s *sealer) verifies(seal []byte, frame ...[]byte) bool {
	return s.mac == nil || hmac.Equal(seal, s.seal(frame...))
}

func appendHead(dst []byte, kind byte, size int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, kind), uint32(size)) //nolint:gosec // at most maxPart
}

// sums are what the last frame says of the parts.
type sums struct {
	count uint64
	hash  hash.Hash
}

func (s *sums) add(part []byte) {
	s.count += uint64(len(part))
	_, _ = s.hash.Write(part) // never fails
}

func (s *sums) end() []byte {
	return s.hash.Sum(binary.BigEndian.AppendUint64(nil, s.count))
}

func (s *sums) match(end []byte) bool { return bytes.Equal(end, s.end()) }
