package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInvalidateNamed is told about two sessions of ada's, of which one was refreshed
// twice, and one of bob's. Both were obtained by kibana.
func TestInvalidateNamed(t *testing.T) {
	t.Parallel()
	const all = "1a 1r 2a 2r 3a 3r 4a 4r 5a 5r"
	bob := Principal{"bob", ada.Realm}
	named := func(reach Reach, ids ...byte) Invalidate {
		c := Invalidate{Reach: reach}
		for _, n := range ids {
			c.Pairs = append(c.Pairs, Digest{n, 'a'})
		}
		return c
	}
	access := func(n byte, reach Reach, by Principal) Invalidate {
		return Invalidate{Access: Digest{n, 'a'}, Reach: reach, OwnedBy: by}
	}
	refresh := func(n byte, reach Reach, by Principal) Invalidate {
		return Invalidate{Refresh: Digest{n, 'r'}, Reach: reach, OwnedBy: by}
	}
	owned := func(c Invalidate, by Principal) Invalidate { c.OwnedBy = by; return c }
	cases := map[string]struct {
		steps []step
		live  string
	}{
		"pair of an access token, again": {[]step{
			{0, access(1, ReachPair, Principal{}), counts(2, 0)},
			{0, access(1, ReachPair, Principal{}), counts(0, 2)},
		}, "2a 2r 3a 3r 4a 4r 5a 5r"},
		"pair of a refresh token": {[]step{
			{0, Invalidate{Access: Digest{1, 'a'}}, counts(1, 0)},
			{0, refresh(1, ReachPair, Principal{}), counts(1, 1)},
		}, "2a 2r 3a 3r 4a 4r 5a 5r"},
		"family of its oldest token":   {[]step{{0, refresh(1, ReachFamily, Principal{}), counts(6, 0)}}, "4a 4r 5a 5r"},
		"family of its newest token":   {[]step{{0, access(3, ReachFamily, Principal{}), counts(6, 0)}}, "4a 4r 5a 5r"},
		"family of one in between":     {[]step{{0, access(2, ReachFamily, Principal{}), counts(6, 0)}}, "4a 4r 5a 5r"},
		"family of a pair that is not": {[]step{{0, access(9, ReachFamily, Principal{}), Outcome{}}}, all},
		"family of an expired token":   {[]step{{21 * minute, access(1, ReachFamily, Principal{}), counts(6, 0)}}, "4r 5r"},
		"pairs, of which one is not":   {[]step{{0, named(ReachPair, 1, 4, 9), counts(4, 0)}}, "2a 2r 3a 3r 5a 5r"},
		"a family is walked once":      {[]step{{0, named(ReachFamily, 1, 2, 3, 4), counts(8, 0)}}, "5a 5r"},
		"one's own":                    {[]step{{0, access(1, ReachToken, ada), counts(1, 0)}}, "1r 2a 2r 3a 3r 4a 4r 5a 5r"},
		"what one obtained":            {[]step{{0, refresh(5, ReachPair, kibana.Principal), counts(2, 0)}}, "1a 1r 2a 2r 3a 3r 4a 4r"},
		"another's": {[]step{
			{0, access(1, ReachToken, bob), refused(NotOwned)},
			{0, refresh(1, ReachFamily, bob), refused(NotOwned)},
			{0, access(5, ReachPair, ada), refused(NotOwned)},
			{0, access(1, ReachPair, Principal{"ada", Realm{"l1", "ldap"}}), refused(NotOwned)},
		}, all},
		"one's own and another's": {[]step{{0, owned(named(ReachPair, 1, 5), ada), refused(NotOwned)}}, all},
		"one's own and unknown":   {[]step{{0, owned(named(ReachPair, 1, 9), ada), counts(2, 0)}}, "2a 2r 3a 3r 4a 4r 5a 5r"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			bobs := pairOf(5)
			bobs.Identity.Principal = bob
			s.play(
				step{0, pairOf(1), Outcome{}}, step{0, refreshOf(1, 2), saltOf(2)}, step{0, refreshOf(2, 3), saltOf(3)},
				step{0, pairOf(4), Outcome{}}, step{0, bobs, Outcome{}},
			)
			s.play(c.steps...)
			s.wantLive(c.live, 1, 2, 3, 4, 5)
		})
	}
}

// TestInvalidateMany ends what was created before a moment. A successor is as old as
// its refresh.
func TestInvalidateMany(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		do   Invalidate
		want Outcome
		live string
	}{
		"all":                       {Invalidate{All: true}, counts(8, 0), ""},
		"all before the third pair": {Invalidate{All: true, CreatedBefore: start + 2*minute}, counts(4, 0), "3a 3r 4a 4r"},
		"in the last moment":        {Invalidate{All: true, CreatedBefore: start + 2*minute + 1}, counts(6, 0), "4a 4r"},
		"before anything":           {Invalidate{All: true, CreatedBefore: start}, Outcome{}, "1a 1r 2a 2r 3a 3r 4a 4r"},
		"a user's":                  {Invalidate{Realm: RealmNative, Username: "ada", CreatedBefore: start + 2*minute}, counts(2, 0), "2a 2r 3a 3r 4a 4r"},
		"a user's, successors too":  {Invalidate{Username: "ada", CreatedBefore: start + hour}, counts(6, 0), "2a 2r"},
		"a realm's":                 {Invalidate{Realm: RealmNative, CreatedBefore: start + 2*minute}, counts(4, 0), "3a 3r 4a 4r"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			bobs := pairOf(2)
			bobs.Identity.Username = "bob"
			s.play(
				step{0, pairOf(1), Outcome{}}, step{minute, bobs, Outcome{}},
				step{minute, refreshOf(1, 3), saltOf(3)}, step{minute, pairOf(4), Outcome{}},
				step{0, c.do, c.want},
			)
			s.wantLive(c.live, 1, 2, 3, 4)
		})
	}
}

// TestInvalidateWhileShared: a snapshot keeps what was before.
func TestInvalidateWhileShared(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.play(step{0, pairOf(1), Outcome{}}, step{0, pairOf(2), Outcome{}})
	before := written(t, s.state)
	view := s.state.snapshot()
	s.play(step{0, Invalidate{All: true}, counts(4, 0)})
	var to sink
	if err := view.write(&to); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, to.Bytes()); d != "" {
		t.Errorf("the snapshot has changed:\n%s", d)
	}
}
