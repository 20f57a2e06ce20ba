package cluster_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/cluster"
)

func TestAFrameIsReadBackAsItWasWritten(t *testing.T) {
	var stream []byte
	bodies := [][]byte{{}, []byte("x"), bytes.Repeat([]byte("y"), 40<<10)}
	for i, body := range bodies {
		stream = cluster.AppendFrame(stream, cluster.KindPropose, uint64(i)+math.MaxUint64-2, body)
	}
	in := cluster.NewFrameReader(bytes.NewReader(stream))
	for i, want := range bodies {
		k, id, body, err := cluster.NextFrame(in)
		if err != nil || k != cluster.KindPropose || id != uint64(i)+math.MaxUint64-2 || !bytes.Equal(body, want) {
			t.Fatalf("frame %d: kind %d, id %d, %d bytes, %v", i, k, id, len(body), err)
		}
	}
	if _, _, _, err := cluster.NextFrame(in); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want a clean end", err)
	}
}

func TestAFrameIsLimitedByItsKindBeforeItsBodyIsAllocated(t *testing.T) {
	cases := []struct {
		kind byte
		size uint32
		ok   bool
	}{
		{cluster.KindPropose, cluster.MaxProposeBody, true},
		{cluster.KindPropose, cluster.MaxProposeBody + 1, false},
		{cluster.KindPropose, math.MaxUint32, false},
		{cluster.KindConfirm, 0, true},
		{cluster.KindConfirm, 1, false},
		{cluster.KindFailure, 8 << 10, true},
		{cluster.KindFailure, 8<<10 + 1, false},
		{5, 8<<10 + 1, false}, // status
		{0x85, 256 << 10, true},
		{0x85, 256<<10 + 1, false},
		{77, 8 << 10, true}, // of a later release: skipped
		{77, 8<<10 + 1, false},
	}
	for _, c := range cases {
		head := binary.BigEndian.AppendUint32(nil, c.size)
		head = append(head, c.kind, 0, 0, 0, 0, 0, 0, 0, 1)
		// The body never comes: with a good size that is the error.
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _, err := cluster.NextFrame(cluster.NewFrameReader(bytes.NewReader(head)))
		runtime.ReadMemStats(&after)
		wantEOF := c.ok && c.size > 0
		if got := errors.Is(err, io.ErrUnexpectedEOF); got != wantEOF || (err == nil) != (c.ok && c.size == 0) {
			t.Errorf("kind %d, size %d: %v", c.kind, c.size, err)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; !c.ok && allocated > 256<<10 {
			t.Errorf("kind %d, size %d: %d bytes allocated", c.kind, c.size, allocated)
		}
	}
}

func TestAFrameCutOffAnywhereIsAnUnexpectedEnd(t *testing.T) {
	whole := cluster.AppendFrame(nil, cluster.KindPropose, 9, []byte("body"))
	for n := 1; n < len(whole); n++ {
		_, _, _, err := cluster.NextFrame(cluster.NewFrameReader(bytes.NewReader(whole[:n])))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestAListRefusesWhatItDoesNotHold(t *testing.T) {
	good := cluster.AppendList(nil, [][]byte{[]byte("one"), {}, []byte("three")})
	if got, err := cluster.DecodeList(good); err != nil || len(got) != 3 || len(good) != cluster.ListSize(got) {
		t.Fatalf("%v %v", got, err)
	}
	huge := binary.BigEndian.AppendUint32(nil, math.MaxUint32)
	for name, b := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0), "count beyond": huge,
		"size beyond": append([]byte{0, 0, 0, 1}, huge...), "item missing": {0, 0, 0, 2, 0, 0, 0, 1, 7, 0, 0, 0},
	} {
		if items, err := cluster.DecodeList(b); err == nil {
			t.Errorf("%s: got %d items", name, len(items))
		}
	}
}

func TestAnAnswerToAProposalIsReadBack(t *testing.T) {
	leader, outcomes := (&fakeHandler{}).Confirm(), [][]byte{[]byte("one"), {}}
	good := cluster.AppendProposed(outcomes, leader)
	items, said, err := cluster.DecodeProposed(good)
	if diff := cmp.Diff(outcomes, items) + cmp.Diff(leader, said); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for size := range good {
		if _, _, err := cluster.DecodeProposed(good[:size]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", size, len(good))
		}
	}
	for name, b := range map[string][]byte{
		"trailing": append(bytes.Clone(good), 0), "size beyond": append([]byte{255, 255, 255, 255}, good[4:]...), "none": append([]byte{0, 0, 0, 0}, good[4:]...),
	} {
		if _, _, err := cluster.DecodeProposed(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAConfirmationIsReadBack(t *testing.T) {
	want := (&fakeHandler{}).Confirm()
	raw := cluster.AppendConfirmation(nil, want)
	for _, last := range []string{"", "server-1", "server-2"} {
		got, err := cluster.DecodeConfirmation(raw, "server-1")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after %q: %v %s", last, err, diff)
		}
	}
	for _, bad := range [][]byte{nil, raw[:32], append([]byte{8}, raw[1:]...)} {
		if _, err := cluster.DecodeConfirmation(bad, ""); err == nil {
			t.Errorf("accepted % x", bad)
		}
	}
}

func TestPatienceIsRoundedUpAndBounded(t *testing.T) {
	for give, want := range map[time.Duration]time.Duration{
		-time.Second: time.Millisecond, 0: time.Millisecond, time.Nanosecond: time.Millisecond,
		1500 * time.Microsecond: 2 * time.Millisecond, time.Second: time.Second, time.Hour: 5 * time.Minute,
	} {
		got, rest, err := cluster.CutPatience(cluster.AppendPatience(nil, give))
		if got != want || len(rest) != 0 || err != nil {
			t.Errorf("%s: got %s, %v", give, got, err)
		}
	}
	if got, _, _ := cluster.CutPatience([]byte{0xff, 0xff, 0xff, 0xff}); got != 5*time.Minute {
		t.Errorf("the most a peer can ask for is %s", got)
	}
	if _, _, err := cluster.CutPatience([]byte{1, 2, 3}); err == nil {
		t.Error("three bytes accepted")
	}
}

// FuzzFrame feeds a server's reader: it refuses or reads exactly what was sent, and
// no decoder of a body fails in another way than with an error.
func FuzzFrame(f *testing.F) {
	f.Add(cluster.AppendFrame(nil, cluster.KindPropose, 1, append([]byte{0, 0, 0, 9}, cluster.AppendList(nil, [][]byte{[]byte("command")})...)))
	f.Add(cluster.AppendFrame(nil, cluster.KindConfirm, 2, nil))
	f.Add(cluster.AppendFrame(nil, cluster.KindConfirm|0x80, 2, cluster.AppendConfirmation(nil, cluster.Confirmation{ServerID: "s"})))
	f.Add(cluster.AppendFrame(nil, cluster.KindFailure, 3, cluster.AppendFailure(nil, cluster.ErrNotLeader)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := cluster.NewFrameReader(bytes.NewReader(stream))
		var back []byte
		for {
			k, id, body, err := cluster.NextFrame(in)
			if err != nil {
				break
			}
			back = cluster.AppendFrame(back, k, id, body)
			checkBodies(t, body)
		}
		if !bytes.HasPrefix(stream, back) {
			t.Errorf("read % x from % x", back, stream)
		}
	})
}

func checkBodies(t *testing.T, body []byte) {
	t.Helper()
	if _, rest, err := cluster.CutPatience(body); err == nil {
		body = rest
	}
	if items, err := cluster.DecodeList(body); err == nil {
		if again := cluster.AppendList(nil, items); !bytes.Equal(again, body) {
			t.Errorf("list % x became % x", body, again)
		}
	}
	if items, c, err := cluster.DecodeProposed(body); err == nil && len(c.ServerID) < 256 {
		if again := cluster.AppendProposed(items, c); !bytes.Equal(again, body) {
			t.Errorf("answer to a proposal % x became % x", body, again)
		}
	}
	if c, err := cluster.DecodeConfirmation(body, "last"); err == nil && len(c.ServerID) < 256 {
		if again := cluster.AppendConfirmation(nil, c); !bytes.Equal(again, body) {
			t.Errorf("confirmation % x became % x", body, again)
		}
	}
	if err := cluster.DecodeFailure(body); err == nil || len(err.Error()) > 4096 || strings.ToValidUTF8(err.Error(), "") != err.Error() {
		t.Errorf("failure % x became %v", body, err)
	}
	_, _ = cluster.DecodeVote(body)
}
