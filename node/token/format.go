package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"jeton/fsm"
	"jeton/node/realm"
)

// prefix tells the kinds of token apart.
type prefix string

const (
	accessPrefix  prefix = "jat_"
	refreshPrefix prefix = "jrt_"
)

const (
	prefixBytes   = 4
	secretBytes   = 32 // 256 random bits
	checksumBytes = 4
	textBytes     = prefixBytes + (secretBytes+checksumBytes)*4/3
)

// secret is the random part of a token.
type secret [secretBytes]byte

// text is a token as its holder writes it.
type text [textBytes]byte

// write returns the token of kind p with this secret.
func (s *secret) write(p prefix) text {
	var t text
	copy(t[:], p)
	var payload [secretBytes + checksumBytes]byte
	copy(payload[:], s[:])
	binary.BigEndian.PutUint32(payload[secretBytes:], s.checksum(p))
	base64.RawURLEncoding.Encode(t[prefixBytes:], payload[:])
	return t
}

// read is the inverse of write. It refuses what write would not have produced,
// and does the same work for every string of a token's length.
func read(p prefix, written realm.Secret) (s secret, t text, ok bool) {
	exposed := written.Expose()
	if len(exposed) != textBytes {
		return secret{}, text{}, false
	}
	copy(t[:], exposed)
	var payload [secretBytes + checksumBytes]byte
	// The decoder skips line breaks, but then too few bytes come out. 36 bytes are
	// 48 whole characters: no bit is left over that two spellings could differ in.
	n, err := base64.RawURLEncoding.Decode(payload[:], t[prefixBytes:])
	copy(s[:], payload[:])
	want := s.checksum(p)
	ok = err == nil && n == len(payload) && string(t[:prefixBytes]) == string(p) &&
		binary.BigEndian.Uint32(payload[secretBytes:]) == want
	if !ok {
		return secret{}, text{}, false
	}
	return s, t, true
}

// checksum is the CRC-32 of prefix and secret. It goes by the table because
// hash/crc32's own update would move its input to the heap, at the price of the
// whole sum.
func (s *secret) checksum(p prefix) uint32 {
	crc := ^uint32(0)
	for _, b := range [...]byte{p[0], p[1], p[2], p[3]} {
		crc = crc32.IEEETable[byte(crc&0xff)^b] ^ crc>>8
	}
	for _, b := range s {
		crc = crc32.IEEETable[byte(crc&0xff)^b] ^ crc>>8
	}
	return ^crc
}

// digest is the name of the token on the log and in the state.
func (t *text) digest() fsm.Digest {
	sum := sha256.Sum256(t[:])
	return fsm.Digest(sum[:len(fsm.Digest{})])
}

func (t *text) secret() realm.Secret { return realm.NewSecret(string(t[:])) }
