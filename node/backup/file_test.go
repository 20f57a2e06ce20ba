package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testKey(tb testing.TB, first byte) Key {
	tb.Helper()
	key, err := NewKey(bytes.Repeat([]byte{first}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func testHeader(key Key) Header {
	return Header{
		ClusterName: "prod", ClusterID: ID{1, 2}, KeyCheck: key.Check, Epoch: 3, Level: 1, Index: 77,
		LastWrite: time.UnixMilli(1_700_000_000_123).UTC(), SavedAt: time.UnixMilli(1_700_000_009_000).UTC(), NodeName: "a", Version: "1.2.3", Counts: Counts{1, 2, 3, 4, 5},
	}
}

func writeFile(tb testing.TB, key Key, content []byte) []byte {
	tb.Helper()
	var to bytes.Buffer
	w, err := NewWriter(&to, key, testHeader(key))
	if err != nil {
		tb.Fatal(err)
	}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 1+len(rest)/3)
		if _, err := w.Write(rest[:n]); err != nil {
			tb.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if size, digest := w.Content(); size != uint64(len(content)) || digest != sha256.Sum256(content) {
		tb.Fatalf("content of %d bytes, digest %x", size, digest)
	}
	return to.Bytes()
}

func readFile(b []byte, key Key) (Header, []byte, error) {
	r, err := Open(bytes.NewReader(b), key)
	if err != nil {
		return Header{}, nil, err
	}
	content, err := io.ReadAll(r)
	return r.Header(), content, err
}

func TestAFileIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	for _, size := range []int{0, 1, 1000, maxPart, maxPart + 1, 3*maxPart + 5} {
		content := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		b := writeFile(t, key, content)
		for what, k := range map[string]Key{"with the key": key, "without": {}} {
			header, got, err := readFile(b, k)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, read %s: %d bytes, %v", size, what, len(got), err)
			}
			if diff := cmp.Diff(testHeader(key), header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		}
	}
}

// TestAnyChangeIsNoticed flips every bit, cuts everywhere, appends, and moves frames about.
func TestAnyChangeIsNoticed(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	b := writeFile(t, key, bytes.Repeat([]byte("content "), 20))
	for i := range b {
		for bit := range 8 {
			changed := bytes.Clone(b)
			changed[i] ^= 1 << bit
			if _, _, err := readFile(changed, key); !isKnown(err) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		_, _, err := readFile(b[:i], key)
		if empty := err != nil && strings.Contains(err.Error(), "it is empty"); !errors.Is(err, ErrCutOff) || empty != (i == 0) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if _, _, err := readFile(append(bytes.Clone(b), 0), key); !errors.Is(err, ErrTampered) {
		t.Errorf("appended: %v", err)
	}
	parts := split(t, writeFile(t, key, bytes.Repeat([]byte("content "), maxPart/4)))
	other := split(t, writeFile(t, key, bytes.Repeat([]byte("CONTENT "), maxPart/4)))
	for what, frames := range map[string][][]byte{
		"a part missing":       {parts[0], parts[1], parts[3]},
		"a part twice":         {parts[0], parts[1], parts[1], parts[2], parts[3]},
		"parts in other order": {parts[0], parts[2], parts[1], parts[3]},
		"another file's part":  {parts[0], other[1], parts[2], parts[3]},
		"another file's end":   {parts[0], parts[1], parts[2], other[3]},
		"no header":            {parts[1], parts[2], parts[3]},
		"two headers":          {parts[0], parts[0], parts[1], parts[2], parts[3]},
	} {
		joined := append([]byte(fileStart), bytes.Join(frames, nil)...)
		if _, _, err := readFile(joined, key); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func isKnown(err error) bool {
	return errors.Is(err, ErrNoBackup) || errors.Is(err, ErrCutOff) || errors.Is(err, ErrTampered) || errors.Is(err, ErrOtherKey)
}

func split(t *testing.T, b []byte) (frames [][]byte) {
	t.Helper()
	for b = b[len(fileStart):]; len(b) > 0; {
		size := frameHead + int(binary.BigEndian.Uint32(b[1:])) + sha256.Size
		frames = append(frames, b[:size])
		b = b[size:]
	}
	if len(frames) != 4 {
		t.Fatalf("%d frames", len(frames))
	}
	return frames
}

// TestAnotherKeyIsTold: not to be taken for damage.
func TestAnotherKeyIsTold(t *testing.T) {
	t.Parallel()
	b := writeFile(t, testKey(t, 7), []byte("content"))
	_, _, err := readFile(b, testKey(t, 8))
	if !errors.Is(err, ErrOtherKey) || !strings.Contains(err.Error(), `cluster "prod" (ID 0102`) {
		t.Error(err)
	}
	// Who has another key cannot pass its file off as one of this cluster.
	forged := testKey(t, 8)
	forged.Check = testKey(t, 7).Check
	if _, _, err := readFile(writeFile(t, forged, []byte("content")), testKey(t, 7)); !errors.Is(err, ErrTampered) {
		t.Errorf("forged: %v", err)
	}
}

func TestAFileNeedsTheClustersKey(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	if _, err := NewWriter(io.Discard, Key{}, testHeader(key)); err == nil {
		t.Error("written without a key")
	}
	if _, err := NewWriter(io.Discard, testKey(t, 8), testHeader(key)); !errors.Is(err, ErrOtherKey) {
		t.Errorf("with another key: %v", err)
	}
}

// TestFailuresOfTheDiskAreTold: nothing of them is lost on the way.
func TestFailuresOfTheDiskAreTold(t *testing.T) {
	t.Parallel()
	key, full := testKey(t, 7), errors.New("disk full")
	content := make([]byte, 3*maxPart)
	for room := range 12 {
		w, err := NewWriter(&limited{room: room, err: full}, key, testHeader(key))
		if err == nil {
			_, err = w.Write(content)
		}
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, full) {
			t.Errorf("after %d writes: %v", room, err)
		}
	}
	b := writeFile(t, key, content)
	for _, n := range []int{3, 20, len(b) / 2, len(b)} {
		r, err := Open(io.MultiReader(bytes.NewReader(b[:n]), failing{full}), key)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, full) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// limited fails after so many writes.
type limited struct {
	room int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.room--; l.room < 0 {
		return 0, l.err
	}
	return len(p), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzReader: refuse, or be what was written with the key; without it, never crash.
func FuzzReader(f *testing.F) {
	key := testKey(f, 7)
	f.Add(writeFile(f, key, nil), uint32(0), byte(0))
	f.Add(writeFile(f, key, []byte("content")), uint32(100), byte(1))
	f.Add([]byte(fileStart), uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint32, mask byte) {
		b = bytes.Clone(b)
		if len(b) > 0 {
			b[at%uint32(len(b))] ^= mask
		}
		_, _, _ = readFile(b, Key{})
		header, content, err := readFile(b, key)
		if err != nil {
			if !isKnown(err) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, key, header)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(content)
		if w.Close() != nil || len(again.Bytes()) == 0 {
			t.Fatal("cannot be written again")
		}
	})
}
