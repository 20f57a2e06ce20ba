package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"

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

// sealFormat is the first byte of an entry's seal, headFormat that of the head. Numbers are
// big-endian.
const (
	sealFormat = 2
	headFormat = 1
)

const (
	sumBytes = 4
	// sealBytes is an entry's seal, which goes before its extensions: format u8, checksum of
	// the entry before u32, checksum u32.
	sealBytes = 1 + 2*sumBytes
	// headBytes is the head's size without values: format u8, first u64, last u64,
	// checksum of the last entry u32, checksum u32.
	headBytes = 1 + 2*8 + 4 + sumBytes
)

var (
	errUnreadable = errors.New("the checksum is wrong")
	errFormat     = errors.New("its format is unknown")
)

// checksum is CRC-32C, which finds every error that is shorter than it.
func checksum(parts ...[]byte) (sum uint32) {
	for _, part := range parts {
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), part)
	}
	return sum
}

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

// sumOf is the checksum of all that an entry is and of the one before it.
func sumOf(entry *raft.Log, before uint32, extensions []byte) uint32 {
	var appended int64
	if !entry.AppendedAt.IsZero() {
		appended = entry.AppendedAt.UnixNano()
	}
	fields := make([]byte, 0, 64)
	fields = append(fields, sealFormat, byte(entry.Type))
	fields = binary.BigEndian.AppendUint64(fields, entry.Index)
	fields = binary.BigEndian.AppendUint64(fields, entry.Term)
	fields = binary.BigEndian.AppendUint64(fields, uint64(appended))
	fields = binary.BigEndian.AppendUint32(fields, before)
	fields = binary.BigEndian.AppendUint32(fields, uint32(len(extensions))) //nolint:gosec // far less
	return checksum(fields, extensions, entry.Data)
}

// withSeal returns an entry as it is stored after one with that checksum, and its own. The
// entry itself, which raft may be sending to others, stays as it is.
func withSeal(entry *raft.Log, before uint32) (stored *raft.Log, sum uint32) {
	sum = sumOf(entry, before, entry.Extensions)
	seal := make([]byte, 0, sealBytes+len(entry.Extensions))
	seal = append(seal, sealFormat)
	seal = binary.BigEndian.AppendUint32(seal, before)
	seal = binary.BigEndian.AppendUint32(seal, sum)
	stored = new(raft.Log)
	*stored = *entry
	stored.Extensions = append(seal, entry.Extensions...)
	return stored, sum
}

// withoutSeal turns an entry as it is stored into what it was, if it still is that.
func withoutSeal(entry *raft.Log) (before, sum uint32, err error) {
	if len(entry.Extensions) < sealBytes || entry.Extensions[0] != sealFormat {
		return 0, 0, errFormat
	}
	seal, extensions := entry.Extensions[1:sealBytes], entry.Extensions[sealBytes:]
	before, sum = binary.BigEndian.Uint32(seal), binary.BigEndian.Uint32(seal[sumBytes:])
	if sumOf(entry, before, extensions) != sum {
		return 0, 0, errUnreadable
	}
	if entry.Extensions = extensions; len(extensions) == 0 {
		entry.Extensions = nil
	}
	return before, sum, nil
}

// head is what the log was after its last change. It is stored in the place of an entry with
// index 0, which raft never has. It is never changed itself.
type head struct {
	first, last uint64 // entries; zero: there are none
	sum         uint32 // of the last one
	values      map[string][]byte
}

func (h *head) entry() *raft.Log { return &raft.Log{Type: raft.LogNoop, Data: h.encode()} }

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

// holds tells whether the log has an entry.
func (h *head) holds(index uint64) bool { return index > 0 && h.first <= index && index <= h.last }

// changes is how often the log was changed before.
func (h *head) changes() uint64 {
	if value := h.values[changesKey]; len(value) == 8 {
		return binary.BigEndian.Uint64(value)
	}
	return 0
}

// with returns a head with another value.
func (h *head) with(key string, value []byte) *head {
	changed := *h
	changed.values = maps.Clone(h.values)
	changed.values[key] = slices.Clone(value)
	return &changed
}
