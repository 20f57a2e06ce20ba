package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// DamageError says that the disk does not hold what was written to it.
type DamageError struct {
	File string // or folder
	What string
}

// Error implements error. The text tells an operator what to do.
func (e *DamageError) Error() string {
	return e.File + " is damaged: " + e.What + ". The disk does not hold what this node wrote to it, and the node cannot go on: " +
		"remove it from the cluster (jeton operator raft remove-peer), empty its path.data, perhaps on another disk, and start it; " +
		"it joins as a new member. Nothing is lost while a majority of the members is well. A cluster of one needs its backup"
}

// recordFormat is the first byte of an entry as it is stored, headFormat that of the
// head. Both are big-endian and end with their checksum.
const (
	recordFormat = 1
	headFormat   = 1
)

const (
	sumBytes = 4
	// recordBytes is an entry's size without data and extensions: format u8, type u8,
	// index u64, term u64, appended at i64 (nanoseconds since 1970, or 0), checksum of
	// the entry before u32, length of the extensions u32, checksum u32.
	recordBytes = 2 + 3*8 + 2*4 + sumBytes
	// headBytes is the head's size without values: format u8, first u64, last u64,
	// checksum of the last entry u32, checksum u32.
	headBytes = 1 + 2*8 + 4 + sumBytes
)

var (
	errUnreadable = errors.New("the checksum is wrong")
	errFormat     = errors.New("its format is unknown")
)

// checksum is CRC-32C, which finds every error that is shorter than it.
func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// sealed appends the checksum of b.
func sealed(b []byte) []byte { return binary.BigEndian.AppendUint32(b, checksum(b)) }

// unsealed returns b without its checksum, if that is right.
func unsealed(b []byte) ([]byte, error) {
	content := b[:max(len(b)-sumBytes, 0)]
	if len(b) < sumBytes || checksum(content) != binary.BigEndian.Uint32(b[len(content):]) {
		return nil, errUnreadable
	}
	return content, nil
}

// sumOf is the checksum of an entry as it is stored.
func sumOf(record []byte) uint32 { return binary.BigEndian.Uint32(record[len(record)-sumBytes:]) }

// encodeRecord returns an entry as it is stored after one with that checksum.
func encodeRecord(entry *raft.Log, before uint32) []byte {
	var appended int64
	if !entry.AppendedAt.IsZero() {
		appended = entry.AppendedAt.UnixNano()
	}
	b := make([]byte, 0, recordBytes+len(entry.Extensions)+len(entry.Data))
	b = append(b, recordFormat, byte(entry.Type))
	b = binary.BigEndian.AppendUint64(b, entry.Index)
	b = binary.BigEndian.AppendUint64(b, entry.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(appended))
	b = binary.BigEndian.AppendUint32(b, before)
	b = binary.BigEndian.AppendUint32(b, uint32(len(entry.Extensions))) //nolint:gosec // far less
	b = append(b, entry.Extensions...)
	b = append(b, entry.Data...)
	return sealed(b)
}

// decodeRecord is the inverse of encodeRecord. The entry has its own memory.
func decodeRecord(record []byte, entry *raft.Log) (before uint32, err error) {
	b, err := unsealed(record)
	if err != nil {
		return 0, err
	}
	if len(b) < recordBytes-sumBytes || b[0] != recordFormat {
		return 0, errFormat
	}
	*entry = raft.Log{Type: raft.LogType(b[1]), Index: binary.BigEndian.Uint64(b[2:]), Term: binary.BigEndian.Uint64(b[10:])}
	if appended := int64(binary.BigEndian.Uint64(b[18:])); appended != 0 { //nolint:gosec // as it was
		entry.AppendedAt = time.Unix(0, appended)
	}
	before = binary.BigEndian.Uint32(b[26:])
	extensions, rest := int64(binary.BigEndian.Uint32(b[30:])), b[recordBytes-sumBytes:]
	if extensions > int64(len(rest)) {
		return 0, errUnreadable
	}
	if extensions > 0 {
		entry.Extensions = slices.Clone(rest[:extensions])
	}
	entry.Data = slices.Clone(rest[extensions:])
	return before, nil
}

// head is what the log was after its last change. It is never changed itself.
type head struct {
	first, last uint64 // entries; zero: there are none
	sum         uint32 // of the last one
	values      map[string][]byte
}

func (h *head) encode() []byte {
	b := make([]byte, 0, 512)
	b = append(b, headFormat)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = binary.BigEndian.AppendUint64(b, h.last)
	b = binary.BigEndian.AppendUint32(b, h.sum)
	for _, key := range slices.Sorted(maps.Keys(h.values)) {
		for _, part := range [][]byte{[]byte(key), h.values[key]} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(part))) //nolint:gosec // far less
			b = append(b, part...)
		}
	}
	return sealed(b)
}

func decodeHead(stored []byte) (*head, error) {
	b, err := unsealed(stored)
	if err != nil {
		return nil, err
	}
	if len(b) < headBytes-sumBytes || b[0] != headFormat {
		return nil, errFormat
	}
	h := &head{
		first: binary.BigEndian.Uint64(b[1:]), last: binary.BigEndian.Uint64(b[9:]), sum: binary.BigEndian.Uint32(b[17:]),
		values: map[string][]byte{},
	}
	for b = b[headBytes-sumBytes:]; len(b) > 0; {
		var parts [2][]byte
		for i := range parts {
			if len(b) < 4 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4) {
				return nil, errUnreadable
			}
			end := 4 + int(binary.BigEndian.Uint32(b))
			parts[i], b = b[4:end], b[end:]
		}
		h.values[string(parts[0])] = slices.Clone(parts[1])
	}
	return h, nil
}

// with returns a head with another value.
func (h *head) with(key string, value []byte) *head {
	changed := *h
	changed.values = maps.Clone(h.values)
	changed.values[key] = slices.Clone(value)
	return &changed
}
