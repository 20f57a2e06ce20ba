package fsm

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// TestLeasesAreBounded: of many holders, more than a cluster has, the one that was
// granted its lease longest ago is forgotten; and what was handed out stays as it was.
func TestLeasesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	var before []ReadLease
	for i := range maxLeases + 1 {
		before = s.state.leases
		s.play(step{0, Lease{Holder: fmt.Sprintf("holder-%03d", (i*37)%(maxLeases+1)), Boot: 1, Number: 1, Span: 1000}, Outcome{}})
	}
	if n := len(s.state.leases); n != maxLeases {
		t.Errorf("%d leases", n)
	}
	if _, known := s.state.leases.find("holder-000"); known {
		t.Error("the oldest lease is kept")
	}
	if _, known := (*leases)(&before).find("holder-000"); !known {
		t.Error("what was handed out has changed")
	}
	if _, err := restore(bytes.NewReader(written(t, s.state))); err != nil {
		t.Error(err)
	}
}

// TestRevocationsNameWhateverAnEntryEnds: a token that an entry takes from its owner
// is among what a skimming of the entry says it may end. Else a node with a read
// lease would accept the token after the invalidation was acknowledged.
func TestRevocationsNameWhateverAnEntryEnds(t *testing.T) {
	t.Parallel()
	ended := 0
	rapid.Check(t, func(rt *rapid.T) {
		l := &logs{t: rt, at: 1_700_000_000_000}
		m, f := newModel(), New(nil)
		for index := range uint64(rapid.IntRange(1, 60).Draw(rt, "entries")) {
			e, raw := l.entry()
			var named []Revocation
			Revocations(raw, func(r Revocation) {
				// As a node does that appends the entry: a refresh counts if it may find a reuse.
				for _, before := range named {
					r.Any = r.Any || r.Presented != Digest{} && before.Presented == r.Presented
				}
				if t, known := f.RefreshToken(r.Presented); known && t.Refreshed {
					r.Any = true
				}
				named = append(named, r)
			})
			live := map[Digest]bool{}
			for _, p := range m.pairs {
				token, _ := f.AccessToken(p.access)
				live[p.access] = !token.AccessInvalidated
			}
			m.apply(e)
			f.Apply(&raft.Log{Index: index + 1, Data: raw})
			for access, was := range live {
				token, known := f.AccessToken(access)
				if !was || !known || !token.AccessInvalidated || token.MadeFromToken { // that one is always confirmed
					continue
				}
				ended++
				if !anyEnds(named, access, token.Identity) {
					rt.Fatalf("entry %+v ended a token of %v; named: %+v", e, token.Identity.Principal, named)
				}
			}
		}
	})
	if ended == 0 {
		t.Error("nothing was ever ended: this proves nothing")
	}
}

func anyEnds(named []Revocation, access Digest, identity *Identity) bool {
	for i := range named {
		if named[i].Ends(access, identity) {
			return true
		}
	}
	return false
}

// TestRevocationsOfWhatCannotBeRead are everything.
func TestRevocationsOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	command := AppendCommand(nil, Invalidate{Header: Header{Operation: OperationID{1}}, Access: Digest{1}})
	entry := AppendEntry(nil, 1, [][]byte{command})
	for name, b := range map[string][]byte{
		"empty": {}, "another format": append([]byte{9}, entry[1:]...), "cut": entry[:len(entry)-8],
		"another command": bytes.Replace(entry, command[:2], []byte{200, 1}, 1),
	} {
		all := false
		Revocations(b, func(r Revocation) { all = all || r.Any })
		if !all {
			t.Errorf("%s: not everything", name)
		}
	}
	Revocations(AppendEntry(nil, 1, [][]byte{AppendCommand(nil, pairOf(1))}), func(r Revocation) {
		t.Errorf("an issue revokes %+v", r)
	})
}

// A lease of a former process that was given back came late, and hid the one that the present
// process read by.
func TestALateLeaseChangesNothing(t *testing.T) {
	s := newStory(t)
	for _, c := range []struct{ boot, number, want uint64 }{{2, 5, 5}, {1, 9, 5}, {2, 4, 5}, {2, 5, 5}, {2, 6, 6}, {3, 1, 1}, {2, 7, 1}} {
		s.play(step{0, Lease{Holder: "n1", Boot: c.boot, Number: c.number, Span: 1}, Outcome{}})
		if held := s.state.leases[0]; held.Number != c.want {
			t.Errorf("after %+v: %+v", c, held)
		}
	}
}
