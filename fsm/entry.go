package fsm

import (
	"encoding/binary"
	"hash/crc32"
)

// entryFormat is the first byte of every entry.
const entryFormat = 1

// Entry is one entry of the raft log: a batch of commands, applied in their order,
// and the moment at which the leader built it. That is the only time the state
// machine knows: it keeps the largest it has seen, so that a new leader's lagging
// clock revives nothing. Commands carry no time, so a node whose clock is wrong
// harms nobody unless it leads.
type Entry struct {
	At       UnixMilli
	Commands []Command
}

// castagnoli is computed once; hash/crc32 uses the processor's instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendEntry appends the encoding of an entry to dst: format, time, count, each
// command with its length, and the CRC-32C of all that. The commands are encoded
// already. The caller keeps within [MaxCommands] and [MaxEntryBytes].
func AppendEntry(dst []byte, at UnixMilli, commands [][]byte) []byte {
	start := len(dst)
	x := codec{buf: append(dst, entryFormat)}
	x.millis((*int64)(&at), uint64(MaxMoment))
	x.length(len(commands), MaxCommands)
	for _, c := range commands {
		x.length(len(c), MaxCommandBytes)
		x.raw(c)
	}
	return binary.LittleEndian.AppendUint32(x.buf, crc32.Checksum(x.buf[start:], castagnoli))
}

// decodeEntry is the inverse of [AppendEntry] and as strict as [DecodeCommand].
func decodeEntry(b []byte) (Entry, error) {
	x := codec{buf: b, reading: true}
	sum := len(b) - crc32.Size
	if sum < 1 || len(b) > MaxEntryBytes {
		x.unreadable("entry of %d bytes", len(b))
		return Entry{}, x.err
	}
	if b[0] != entryFormat {
		x.unreadable("entry format %d", b[0])
		return Entry{}, x.err
	}
	if crc32.Checksum(b[:sum], castagnoli) != binary.LittleEndian.Uint32(b[sum:]) {
		x.unreadable("entry checksum")
		return Entry{}, x.err
	}
	x.buf = b[1:sum]
	return decodeEntryBody(&x)
}

func decodeEntryBody(x *codec) (Entry, error) {
	var e Entry
	x.millis((*int64)(&e.At), uint64(MaxMoment))
	n := x.length(0, MaxCommands)
	x.require(n > 0, "no commands")
	if x.err == nil {
		e.Commands = make([]Command, 0, n)
	}
	for range n {
		c, err := DecodeCommand(x.take(x.length(0, MaxCommandBytes)))
		if err != nil {
			return Entry{}, err
		}
		e.Commands = append(e.Commands, c)
	}
	if err := x.end(); err != nil {
		return Entry{}, err
	}
	return e, nil
}
