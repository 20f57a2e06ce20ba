package tokentest_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/node/token/tokentest"
)

// told is one operation of a story: when it was asked and answered, and how. Times are
// in seconds. An end of zero: no answer came.
type told struct {
	call, end time.Duration
	in        tokentest.Input
	out       tokentest.Output
}

func pair(name string) tokentest.Pair {
	return tokentest.Pair{Access: "access " + name, Refresh: "refresh " + name}
}

func done() tokentest.Output { return tokentest.Output{} }

func answer(a tokentest.Answer) tokentest.Output { return tokentest.Output{Answer: a} }

func yields(name string) tokentest.Output { return tokentest.Output{Pair: pair(name)} }

func ended(now, before int) tokentest.Output {
	return tokentest.Output{Invalidated: now, PreviouslyInvalidated: before}
}

func ask(a tokentest.Action, generation int) tokentest.Input {
	return tokentest.Input{Action: a, Generation: generation}
}

func all(a tokentest.Action) tokentest.Input { return tokentest.Input{Action: a, User: "ann"} }

// tell plays operations in the order of their times and returns what is wrong.
func tell(c tokentest.Config, story []told) (*tokentest.History, []string) {
	now := time.Duration(0)
	c.Now = func() time.Duration { return now }
	h := tokentest.NewHistory(c)
	open := make([]*tokentest.Operation, len(story))
	for now = range time.Duration(200) {
		for i, op := range story {
			if op.call == now {
				open[i] = h.Start(i, op.in)
			}
		}
		for i, op := range story {
			switch {
			case op.end == 0 && op.call == now:
				h.End(open[i], answer(tokentest.Unknown))
			case op.end != 0 && op.end == now:
				h.End(open[i], op.out)
			}
		}
	}
	return h, h.Check()
}

func TestStories(t *testing.T) {
	issue := told{1, 2, all(tokentest.Issue), yields("0")}
	refresh := told{3, 4, ask(tokentest.Refresh, 0), yields("1")}
	tests := map[string]struct {
		story []told
		wrong string // part of the problem; empty: nothing is wrong
	}{
		"a token is valid until it is invalidated": {story: []told{
			issue,
			{3, 4, ask(tokentest.Authenticate, 0), done()},
			{5, 6, ask(tokentest.InvalidateAccess, 0), ended(1, 0)},
			{7, 8, ask(tokentest.Authenticate, 0), answer(tokentest.Dead)},
		}},
		"either answer until the acknowledgement": {story: []told{
			issue,
			{3, 9, ask(tokentest.InvalidateAccess, 0), ended(1, 0)},
			{4, 5, ask(tokentest.Authenticate, 0), answer(tokentest.Dead)},
			{6, 7, ask(tokentest.Authenticate, 0), done()},
		}},
		"valid after an acknowledged invalidation": {wrong: "called valid by client 2, asked after the acknowledgement of invalidate access 0.0", story: []told{
			issue,
			{3, 4, ask(tokentest.InvalidateAccess, 0), ended(1, 0)},
			{5, 6, ask(tokentest.Authenticate, 0), done()},
		}},
		"valid after the user was ended": {wrong: "asked after the acknowledgement of invalidate user ann", story: []told{
			issue,
			{3, 4, all(tokentest.InvalidateUser), done()},
			{5, 6, ask(tokentest.Authenticate, 0), done()},
		}},
		"valid after the password was set": {wrong: "asked after the acknowledgement of set password ann", story: []told{
			issue,
			{3, 4, all(tokentest.SetPassword), done()},
			{5, 6, ask(tokentest.Authenticate, 0), done()},
		}},
		"valid after the family was ended": {wrong: "asked after the acknowledgement of invalidate family 0.0", story: []told{
			issue, refresh,
			{5, 6, ask(tokentest.InvalidateFamily, 0), done()},
			{7, 8, ask(tokentest.Authenticate, 1), done()},
		}},
		"valid after a lost invalidation took effect": {wrong: "linearizable", story: []told{
			issue,
			{3, 0, ask(tokentest.InvalidateAccess, 0), done()},
			{5, 6, ask(tokentest.InvalidateAccess, 0), ended(0, 1)},
			{7, 8, ask(tokentest.Authenticate, 0), done()},
		}},
		"a lost invalidation may take effect late, or not": {story: []told{
			issue,
			{3, 0, ask(tokentest.InvalidateAccess, 0), done()},
			{4, 5, ask(tokentest.Authenticate, 0), answer(tokentest.Dead)},
			{6, 7, ask(tokentest.Authenticate, 0), done()},
		}},
		"issue lost": {wrong: "nobody invalidated it", story: []told{
			issue,
			{3, 4, ask(tokentest.Authenticate, 0), answer(tokentest.Dead)},
		}},
		"what ended the user before the login does not end the login": {wrong: "nobody invalidated it", story: []told{
			{1, 2, all(tokentest.InvalidateUser), done()},
			{3, 4, all(tokentest.Issue), yields("0")},
			{5, 6, ask(tokentest.Authenticate, 0), answer(tokentest.Dead)},
		}},
		"what ends the user during the login may end it": {story: []told{
			{1, 4, all(tokentest.Issue), yields("0")},
			{2, 3, all(tokentest.InvalidateUser), done()},
			{5, 6, ask(tokentest.Authenticate, 0), answer(tokentest.Dead)},
		}},
		"an invalidation counted twice": {wrong: "linearizable", story: []told{
			issue,
			{3, 4, ask(tokentest.InvalidateAccess, 0), ended(1, 0)},
			{5, 6, ask(tokentest.InvalidateAccess, 0), ended(1, 0)},
		}},
		"an invalidation that found nothing": {wrong: "linearizable", story: []told{
			issue,
			{3, 4, ask(tokentest.InvalidateAccess, 0), ended(0, 0)},
		}},
		"a refresh leaves the old access token alive": {story: []told{
			issue, refresh,
			{5, 6, ask(tokentest.Authenticate, 0), done()},
			{5, 6, ask(tokentest.Authenticate, 1), done()},
		}},
		"a repeated refresh yields the same": {story: []told{
			issue, refresh,
			{3, 5, ask(tokentest.Refresh, 0), yields("1")},
			{6, 7, ask(tokentest.Refresh, 0), yields("1")},
		}},
		"two successors": {wrong: "two different successors of generation 0", story: []told{
			issue, refresh,
			{3, 5, ask(tokentest.Refresh, 0), yields("other")},
		}},
		"the repeat of a lost refresh yields something else than a second repeat": {wrong: "two different successors", story: []told{
			issue,
			{3, 0, ask(tokentest.Refresh, 0), done()},
			{5, 6, ask(tokentest.Refresh, 0), yields("1")},
			{7, 8, ask(tokentest.Refresh, 0), yields("other")},
		}},
		"refused as reused within the window": {wrong: "linearizable", story: []told{
			issue, refresh,
			{6, 7, ask(tokentest.Refresh, 0), answer(tokentest.Reused)},
		}},
		"reuse after the window ends the family": {story: []told{
			issue, refresh,
			{50, 51, ask(tokentest.Refresh, 0), answer(tokentest.Reused)},
			{52, 53, ask(tokentest.Authenticate, 1), answer(tokentest.Dead)},
			{52, 53, ask(tokentest.Refresh, 1), answer(tokentest.Invalidated)},
		}},
		"valid after reuse": {wrong: "asked after the acknowledgement of refresh 0.0", story: []told{
			issue, refresh,
			{50, 51, ask(tokentest.Refresh, 0), answer(tokentest.Reused)},
			{52, 53, ask(tokentest.Authenticate, 1), done()},
		}},
		"the same again long after the window": {wrong: "linearizable", story: []told{
			issue, refresh,
			{50, 51, ask(tokentest.Refresh, 0), yields("1")},
		}},
		"at the edge of the window either": {story: []told{
			issue, refresh,
			{32, 34, ask(tokentest.Refresh, 0), yields("1")},
			{33, 34, ask(tokentest.Refresh, 0), answer(tokentest.Reused)},
		}},
		"a refresh token outlives its invalidation": {wrong: "linearizable", story: []told{
			issue,
			{3, 4, ask(tokentest.InvalidateRefresh, 0), ended(1, 0)},
			{5, 6, ask(tokentest.Refresh, 0), yields("1")},
		}},
		"a refresh token refused and not invalidated": {wrong: "linearizable", story: []told{
			issue,
			{5, 6, ask(tokentest.Refresh, 0), answer(tokentest.Invalidated)},
		}},
		"an acknowledgement without counts binds as well": {wrong: "called valid", story: []told{
			issue,
			{3, 4, ask(tokentest.InvalidateAccess, 0), tokentest.Output{Uncounted: true}},
			{5, 6, ask(tokentest.Authenticate, 0), done()},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := tell(tokentest.Config{Window: 30, Tolerance: 3}, test.story)
			got := strings.Join(problems, "\n")
			if (got == "") != (test.wrong == "") || !strings.Contains(got, test.wrong) {
				t.Errorf("want %q, got %s", test.wrong, got)
			}
		})
	}
}

// What is wrong is said of the answer that shows it, and of its moment.
func TestFindingsNameTheAnswerThatShowsThem(t *testing.T) {
	h, _ := tell(tokentest.Config{Window: 30}, []told{
		{1, 2, all(tokentest.Issue), yields("0")},
		{3, 4, ask(tokentest.Refresh, 0), yields("1")},
		{5, 9, ask(tokentest.InvalidateRefresh, 1), ended(1, 0)},
		{6, 8, ask(tokentest.InvalidateRefresh, 1), ended(1, 0)},
		{20, 21, ask(tokentest.InvalidateAccess, 1), ended(1, 0)},
		{30, 31, ask(tokentest.Authenticate, 1), done()},
	})
	h.Check() // again: nothing is found twice
	var got []tokentest.Finding
	for _, f := range h.Findings() {
		f.What, _, _ = strings.Cut(f.What, "\n")
		got = append(got, f)
	}
	want := []tokentest.Finding{
		{At: 31, What: "authenticate 0.1: called valid by client 5, asked after the acknowledgement of invalidate access 0.1"},
		{At: 9, What: "family 0: not linearizable: no order explains the answer of client 2: invalidate refresh 0.1 -> done 1+0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Without a window a second use ends the family, unless it was in the very millisecond.
func TestNoWindow(t *testing.T) {
	story := []told{
		{1, 2, all(tokentest.Issue), yields("0")},
		{3, 4, ask(tokentest.Refresh, 0), yields("1")},
		{3, 5, ask(tokentest.Refresh, 0), yields("1")},
		{6, 7, ask(tokentest.Refresh, 0), answer(tokentest.Reused)},
		{8, 9, ask(tokentest.Authenticate, 1), answer(tokentest.Dead)},
	}
	if _, problems := tell(tokentest.Config{}, story); len(problems) > 0 {
		t.Error(problems)
	}
}

// A finished family is checked when its last operation ends, and what it needed is dropped.
func TestFinishedFamiliesAreCheckedAndDropped(t *testing.T) {
	h := tokentest.NewHistory(tokentest.Config{Window: time.Minute})
	f := h.End(h.Start(0, all(tokentest.Issue)), yields("0"))
	late := h.Start(1, ask(tokentest.Authenticate, 0))
	h.End(h.Start(2, ask(tokentest.InvalidateAccess, 0)), ended(1, 0))
	stale := h.Start(3, ask(tokentest.Authenticate, 0))
	h.Finish(f)
	if _, pairs := h.Family(f); pairs != nil || h.Start(1, ask(tokentest.Authenticate, 0)) != nil {
		t.Error("a finished family can be used")
	}
	h.End(stale, done())
	if problems := h.Problems(); len(problems) > 0 || h.Tally().Checked != 0 {
		t.Errorf("checked before its last operation ended: %v", problems)
	}
	h.Drop(late)
	if problems := h.Problems(); len(problems) != 2 || !strings.Contains(problems[0], "called valid by client 3") {
		t.Errorf("got %v", problems)
	}
	want := tokentest.Tally{Operations: 3, Families: 1, Checked: 1}
	if diff := cmp.Diff(want, h.Tally()); diff != "" {
		t.Error(diff)
	}
}

// Operations on a user are remembered as long as one of its families needs them.
func TestUserWideOperationsReachEveryFamilyInTime(t *testing.T) {
	h := tokentest.NewHistory(tokentest.Config{Window: time.Minute})
	issuing := h.Start(0, all(tokentest.Issue))
	first := h.End(h.Start(0, all(tokentest.Issue)), yields("a"))
	h.End(h.Start(1, all(tokentest.InvalidateUser)), done())
	h.Finish(first)
	second := h.End(issuing, yields("b"))
	h.End(h.Start(2, tokentest.Input{Action: tokentest.Authenticate, Family: second}), answer(tokentest.Dead))
	third := h.End(h.Start(0, all(tokentest.Issue)), yields("c"))
	h.Finish(second)
	if problems := h.Problems(); len(problems) > 0 {
		t.Errorf("a login that the invalidation met: %v", problems)
	}
	h.End(h.Start(2, tokentest.Input{Action: tokentest.Authenticate, Family: third}), answer(tokentest.Dead))
	if problems := h.Check(); len(problems) == 0 {
		t.Error("a login after the invalidation may not be ended by it")
	}
}

// What is wrong is told in full for some, and counted for the rest.
func TestProblemsAreBounded(t *testing.T) {
	h := tokentest.NewHistory(tokentest.Config{})
	var clients sync.WaitGroup
	var wrong atomic.Int64
	for range 4 {
		clients.Go(func() {
			for range 50 {
				h.Problem("wrong in way %d", wrong.Add(1))
			}
		})
	}
	clients.Wait()
	if problems := h.Problems(); len(problems) != 101 || problems[100] != "and 100 more problems" {
		t.Errorf("%d problems, the last %q", len(problems), problems[len(problems)-1])
	}
}

// Hours of load make a hundred thousand families.
func BenchmarkFamily(b *testing.B) {
	h := tokentest.NewHistory(tokentest.Config{Window: time.Minute})
	for b.Loop() {
		f := h.End(h.Start(0, all(tokentest.Issue)), yields("0"))
		for i := range 10 {
			var open []*tokentest.Operation
			for range 5 {
				open = append(open, h.Start(0, tokentest.Input{Action: tokentest.Authenticate, Family: f, Generation: i}))
			}
			refresh := h.Start(0, tokentest.Input{Action: tokentest.Refresh, Family: f, Generation: i})
			for _, op := range open {
				h.End(op, done())
			}
			h.End(refresh, yields("next"+string(rune('0'+i))))
		}
		h.Finish(f)
	}
	if problems := h.Problems(); len(problems) > 0 {
		b.Error(problems)
	}
}
