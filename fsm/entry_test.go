package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func goldenEntry() (Entry, []byte) {
	e := Entry{At: 1_764_000_000_123}
	var raw [][]byte
	for _, name := range []string{"issue", "collect_expired"} {
		c := goldens()[name]
		e.Commands = append(e.Commands, c)
		raw = append(raw, AppendCommand(nil, c))
	}
	return e, AppendEntry(nil, e.At, raw)
}

func TestEntryGolden(t *testing.T) {
	t.Parallel()
	want, now := goldenEntry()
	b := golden(t, "entries/two.v1", now)
	got, err := decodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("decoded (-want +got):\n%s", d)
	}
	if d := cmp.Diff(b, now); d != "" {
		t.Errorf("encoded again (-want +got):\n%s", d)
	}
}

// TestEntryIsAppended: the checksum covers the entry, not what stood before it.
func TestEntryIsAppended(t *testing.T) {
	t.Parallel()
	_, alone := goldenEntry()
	e, _ := goldenEntry()
	raw := [][]byte{AppendCommand(nil, e.Commands[0]), AppendCommand(nil, e.Commands[1])}
	if got := AppendEntry([]byte("before"), e.At, raw); !bytes.Equal(got, append([]byte("before"), alone...)) {
		t.Error("differs from the entry alone")
	}
}

// TestEntryDamage flips every bit and cuts everywhere.
func TestEntryDamage(t *testing.T) {
	t.Parallel()
	_, b := goldenEntry()
	for i := range b {
		for bit := range 8 {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1 << bit
			if _, err := decodeEntry(damaged); !errors.Is(err, ErrUnreadable) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if _, err := decodeEntry(b[:i]); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

// TestDecodeEntryIsStrict gives entries a right checksum, so that only what is
// within can be the reason.
func TestDecodeEntryIsStrict(t *testing.T) {
	t.Parallel()
	sealed := func(parts ...[]byte) []byte {
		b := slices.Concat(parts...)
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	}
	command := AppendCommand(nil, DeleteUser{goldenHeader(), "ada"})
	one := append([]byte{byte(len(command))}, command...)
	late := binary.AppendUvarint(nil, uint64(MaxMoment)+1)
	cases := map[string]struct {
		b  []byte
		ok bool
	}{
		"as it should be":    {b: sealed([]byte{1, 5, 1}, one), ok: true},
		"unknown format":     {b: sealed([]byte{2, 5, 1}, one)},
		"no commands":        {b: sealed([]byte{1, 5, 0})},
		"one too few":        {b: sealed([]byte{1, 5, 1}, one, one)},
		"one too many":       {b: sealed([]byte{1, 5, 2}, one)},
		"time out of range":  {b: sealed([]byte{1}, late, []byte{1}, one)},
		"time not minimal":   {b: sealed([]byte{1, 0x85, 0, 1}, one)},
		"count over limit":   {b: sealed([]byte{1, 5, 0x81, 2}, bytes.Repeat(one, 257))},
		"unreadable command": {b: sealed([]byte{1, 5, 1, 1, 1})},
		"over the limit":     {b: sealed([]byte{1, 5, 1}, make([]byte, MaxEntryBytes))},
		"only a checksum":    {b: sealed()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decodeEntry(c.b)
			if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrUnreadable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOutcomeGolden(t *testing.T) {
	t.Parallel()
	cases := map[string]Outcome{
		"done":    {},
		"salted":  {Salt: fill[Salt](1)},
		"counted": {Reason: Reused, Existed: true, Invalidated: 301, PreviouslyInvalidated: 302, Collected: 1<<32 - 1},
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := golden(t, "outcomes/"+name+".v1", want.Append(nil))
			var got Outcome
			if err := got.Decode(b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("decoded (-want +got):\n%s", d)
			}
			if d := cmp.Diff(b, got.Append(nil)); d != "" {
				t.Errorf("encoded again (-want +got):\n%s", d)
			}
			for n := range b {
				if err := new(Outcome).Decode(b[:n]); !errors.Is(err, ErrUnreadable) {
					t.Errorf("cut to %d bytes: %v", n, err)
				}
			}
		})
	}
}

func TestDecodeOutcomeIsStrict(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"format":        {2, 0, 0, 0, 0, 0, 0},
		"trailing byte": {1, 0, 0, 0, 0, 0, 0, 0},
		"salt of zero":  append([]byte{1, 0, 0, 0, 0, 0, 1}, make([]byte, 16)...),
		"large reason":  {1, 0x80, 2, 0, 0, 0, 0, 0},
		"large count":   {1, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0, 0},
	} {
		var o Outcome
		if err := o.Decode(b); !errors.Is(err, ErrUnreadable) || o != (Outcome{}) {
			t.Errorf("%s: got %v, %v", name, o, err)
		}
	}
}

func TestReasonsHaveWords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for r := Done; r <= Expired; r++ {
		text := r.String()
		if seen[text] || text == Reason(200).String() {
			t.Errorf("reason %d: %q", r, text)
		}
		seen[text] = true
	}
	if got := (&RefusalError{Reason(200)}).Error(); got != "refused: reason 200" {
		t.Errorf("got %q", got)
	}
}
