package fsm

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crowd adds n pairs of ada's, each a millisecond after the one before, and a pair of
// bob's after every third of them.
func crowd(s *story, n int) {
	s.t.Helper()
	for i := range n {
		s.at++
		c := pairOf(0)
		c.Access, c.Refresh = numbered('a', i), numbered('r', i)
		s.play(step{0, c, Outcome{}})
		if i%3 == 2 {
			c.Access, c.Refresh, c.Identity.Username = numbered('A', i), numbered('R', i), "bob"
			s.play(step{0, c, Outcome{}})
		}
	}
}

func numbered(kind byte, n int) (d Digest) {
	d[0] = kind
	binary.BigEndian.PutUint32(d[1:], uint32(n+1))
	return d
}

// fsmOf lets a story be looked at.
func fsmOf(s *story) *FSM {
	f := New(nil)
	f.state = s.state
	return f
}

// names reads a listing to its end, calling between pages, and counts the pages.
func names(f *FSM, q Listing, between func()) (all []Digest, pages int) {
	for {
		page, next := f.List(q)
		for _, v := range page {
			all = append(all, v.ID)
		}
		pages++
		if q.After = next; next == (Position{}) {
			return all, pages
		}
		between()
	}
}

var adas = Listing{Realm: RealmNative, Username: "ada"}

// TestListOwner: newest first, in pages that are bounded by what is looked at, too.
func TestListOwner(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	const n = 2*maxVisits + 2
	crowd(s, n)
	var want []Digest
	for i := n - 1; i >= 0; i-- {
		want = append(want, numbered('a', i))
	}
	for limit, wantPages := range map[int]int{n / 2: 3, 1000: 5, math.MaxInt: 3} {
		q := adas
		q.Limit = limit
		got, pages := names(fsmOf(s), q, func() {})
		if d := cmp.Diff(want, got); d != "" || pages != wantPages {
			t.Errorf("pages of %d: %d, want %d (-want +got):\n%s", limit, pages, wantPages, d)
		}
	}
}

// TestListEverybody: each pair once, whoever comes and goes between the pages.
func TestListEverybody(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	const n = maxVisits
	crowd(s, n)
	for name, c := range map[string]struct {
		q    Listing
		want int
	}{
		"everybody's":              {Listing{}, n + n/3},
		"a realm's":                {Listing{Realm: RealmNative}, n + n/3},
		"of everybody named so":    {Listing{Username: "bob"}, n / 3},
		"of nobody":                {Listing{Username: "eve"}, 0},
		"of a realm that is empty": {Listing{Realm: RealmReserved}, 0},
		"of an owner that is not":  {Listing{Realm: RealmReserved, Username: "ada"}, 0},
	} {
		c.q.Limit = 100
		got, _ := names(fsmOf(s), c.q, func() {})
		seen := map[Digest]bool{}
		for _, d := range got {
			seen[d] = true
		}
		if len(got) != c.want || len(seen) != c.want {
			t.Errorf("%s: %d pairs, %d of them different, want %d", name, len(got), len(seen), c.want)
		}
	}
}

// TestListSurvivesCollection: between two pages the pair where the first ended is
// collected, and new ones come.
func TestListSurvivesCollection(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]Listing{"an owner's": adas, "everybody's": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			for i := range byte(5) { // of which the one in the middle is over first
				c := pairOf(i + 1)
				if i == 2 {
					c.RefreshLifetime = int64(20 * minute)
				}
				s.play(step{1, c, Outcome{}})
			}
			q.Limit = 3
			got, pages := names(fsmOf(s), q, func() {
				s.play(step{hour, CollectExpired{Limit: 10}, Outcome{Collected: 1}})
				if q.Username != "" {
					s.play(step{0, pairOf(6), Outcome{}})
				}
			})
			seen := map[Digest]int{}
			for _, d := range got {
				seen[d]++
			}
			if want := map[Digest]int{{1, 'a'}: 1, {2, 'a'}: 1, {3, 'a'}: 1, {4, 'a'}: 1, {5, 'a'}: 1}; pages != 2 || !cmp.Equal(want, seen) {
				t.Errorf("%d pages: %v", pages, got)
			}
		})
	}
}

// TestListSeeksItsPlace: the place of a collected pair is found among more pairs than
// may be looked at in one go.
func TestListSeeksItsPlace(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	const n = 2*maxVisits + 10
	crowd(s, n)
	q := adas
	q.Limit, q.After = 10, Position{CreatedAt: start + 5, ID: Digest{9, 9}} // the sixth is what is gone
	got, pages := names(fsmOf(s), q, func() {})
	want := []Digest{numbered('a', 4), numbered('a', 3), numbered('a', 2), numbered('a', 1), numbered('a', 0)}
	if d := cmp.Diff(want, got); d != "" || pages != 3 {
		t.Errorf("%d pages (-want +got):\n%s", pages, d)
	}
}

func TestListActive(t *testing.T) {
	t.Parallel()
	alone := pairOf(6)
	alone.Refresh, alone.RefreshLifetime = Digest{}, 0
	s := newStory(t)
	s.play(
		step{0, pairOf(1), Outcome{}}, step{0, pairOf(2), Outcome{}}, step{0, pairOf(3), Outcome{}},
		step{0, pairOf(4), Outcome{}}, step{0, alone, Outcome{}},
		step{0, Invalidate{Access: Digest{2, 'a'}}, counts(1, 0)},
		step{0, Invalidate{Access: Digest{3, 'a'}, Reach: ReachPair}, counts(2, 0)},
		step{minute, refreshOf(4, 5), saltOf(5)},
	)
	for after, want := range map[UnixMilli][]byte{
		minute:             {5, 6, 4, 2, 1},
		20 * minute:        {5, 6, 4, 2, 1}, // in the last moment
		20*minute + 1:      {5, 2, 1},       // of a pair that was refreshed, only the access token counted
		24*hour + 1:        {5},
		24*hour + minute:   {5},
		24*hour + 2*minute: nil,
	} {
		q := adas
		q.Limit, q.ActiveAt = 10, start+after
		page, _ := fsmOf(s).List(q)
		var got []byte
		for _, v := range page {
			got = append(got, v.ID[0])
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after %d ms (-want +got):\n%s", after, d)
		}
	}
}

func TestListShowsWhatThereIs(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.play(step{0, pairOf(1), Outcome{}})
	q := adas
	q.Limit = 1
	page, next := fsmOf(s).List(q)
	token, _ := fsmOf(s).AccessToken(Digest{1, 'a'})
	if d := cmp.Diff([]Listed{{ID: Digest{1, 'a'}, Token: token}}, page); d != "" || next != (Position{}) {
		t.Errorf("next %v (-want +got):\n%s", next, d)
	}
}

// TestListTakesAnyPosition: a client sends it.
func TestListTakesAnyPosition(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	crowd(s, 10)
	for _, after := range []Position{
		{Slot: math.MaxUint32},
		{Slot: pageSlots},
		{Slot: pageSlots - 1},
		{CreatedAt: -1, ID: Digest{1}},
		{CreatedAt: 1},
		{CreatedAt: MaxMoment, ID: numbered('A', 2)},
		{ID: numbered('r', 2)},
	} {
		for _, q := range []Listing{adas, {}} {
			q.Limit, q.After = 3, after
			names(fsmOf(s), q, func() {})
		}
	}
}
