package tokentest_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"jeton/node/token/tokentest"
)

// liveFamily is a right family, which answers at the moment that an operation takes effect.
type liveFamily struct {
	window                            int
	born                              int // generations
	consumedAt                        map[int]int
	accessDead, refreshDead, consumed map[int]bool
}

func (f *liveFamily) endAll() {
	for g := range f.born {
		f.accessDead[g], f.refreshDead[g] = true, true
	}
}

func mark(set map[int]bool, g int) tokentest.Output {
	if set[g] {
		return ended(0, 1)
	}
	set[g] = true
	return ended(1, 0)
}

func (f *liveFamily) do(in tokentest.Input, now int) tokentest.Output {
	g := in.Generation
	switch in.Action {
	case tokentest.Issue:
		f.born = 1
		return yields("0")
	case tokentest.Refresh:
		switch {
		case f.refreshDead[g]:
			return answer(tokentest.Invalidated)
		case !f.consumed[g]:
			f.consumed[g], f.consumedAt[g] = true, now
			f.born++
		case now-f.consumedAt[g] > f.window:
			f.endAll()
			return answer(tokentest.Reused)
		}
		return yields(string(rune('1' + g)))
	case tokentest.Authenticate:
		if f.accessDead[g] {
			return answer(tokentest.Dead)
		}
		return done()
	case tokentest.InvalidateAccess:
		return mark(f.accessDead, g)
	case tokentest.InvalidateRefresh:
		return mark(f.refreshDead, g)
	case tokentest.InvalidateFamily, tokentest.InvalidateUser, tokentest.SetPassword:
		f.endAll()
	}
	return done()
}

// pending is an operation under way: it takes effect at a moment, maybe never.
type pending struct {
	op          *tokentest.Operation
	in          tokentest.Input
	out         tokentest.Output
	effect, end int // zero end: no answer
	said        bool
}

// randomFamily lets many clients use a family at once, and lies with some answers.
func randomFamily(random *rand.Rand, window, clients, length, lies int) *tokentest.History {
	now := 0
	h := tokentest.NewHistory(tokentest.Config{Window: time.Duration(window), Now: func() time.Duration { return time.Duration(now) }})
	f := &liveFamily{window: window, consumedAt: map[int]int{}, accessDead: map[int]bool{}, refreshDead: map[int]bool{}, consumed: map[int]bool{}}
	var open []*pending
	begin := func(client int, in tokentest.Input) {
		p := &pending{op: h.Start(client, in), in: in, effect: now + random.IntN(10), end: 0}
		if in.Action == tokentest.Issue || random.IntN(10) > 0 {
			p.end = p.effect + random.IntN(10) + 1
		} else if in.Action == tokentest.Authenticate {
			p.end = p.effect + 1
		}
		if random.IntN(20) == 0 && p.end == 0 {
			p.effect = 1 << 30
		}
		open = append(open, p)
	}
	now++
	begin(0, all(tokentest.Issue))
	for ; now < length+25; now++ {
		for _, p := range open {
			if p.effect == now-1 {
				p.out = f.do(p.in, p.effect)
				if lies > 0 && random.IntN(lies) == 0 && p.in.Action != tokentest.Issue {
					p.out = lie(random, p.in, p.out)
				}
			}
			if p.said || p.end != now && (p.end != 0 || now < length+24) {
				continue
			}
			p.said = true
			if p.end == 0 {
				p.out = answer(tokentest.Unknown)
			}
			h.End(p.op, p.out)
		}
		_, pairs := h.Family(0)
		busy := 0
		for _, p := range open {
			if !p.said && p.end != 0 {
				busy++
			}
		}
		for ; len(pairs) > 0 && now < length && busy < clients && random.IntN(2) == 0; busy++ {
			actions := []tokentest.Action{
				tokentest.Refresh, tokentest.Refresh, tokentest.Authenticate, tokentest.Authenticate, tokentest.InvalidateAccess,
				tokentest.InvalidateRefresh, tokentest.InvalidateFamily, tokentest.InvalidateUser, tokentest.SetPassword,
			}
			in := tokentest.Input{Action: actions[random.IntN(6+random.IntN(4))], User: "ann"}
			if in.Action < tokentest.InvalidateUser {
				in.User, in.Generation = "", random.IntN(len(pairs))
			}
			begin(busy, in)
		}
	}
	return h
}

// lie is another answer than the right one.
func lie(random *rand.Rand, in tokentest.Input, out tokentest.Output) tokentest.Output {
	switch in.Action {
	case tokentest.Refresh:
		if out.Answer == tokentest.Done {
			return answer([]tokentest.Answer{tokentest.Invalidated, tokentest.Reused}[random.IntN(2)])
		}
		if out.Answer == tokentest.Reused && random.IntN(2) == 0 {
			return answer(tokentest.Invalidated)
		}
		return yields(string(rune('1' + in.Generation)))
	case tokentest.Authenticate:
		return done()
	case tokentest.InvalidateAccess, tokentest.InvalidateRefresh:
		return ended(out.PreviouslyInvalidated, out.Invalidated)
	case tokentest.Issue, tokentest.InvalidateFamily, tokentest.InvalidateUser, tokentest.SetPassword:
	}
	return out
}

// What is left out changes no verdict.
func TestEssentialsGiveTheSameVerdict(t *testing.T) {
	verdicts := map[porcupine.CheckResult]int{}
	seed := rand.Uint64()
	for i := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, i))
		h := randomFamily(random, 8+random.IntN(40), 3+random.IntN(3), 30+random.IntN(40), random.IntN(2)*12)
		all, essentials, _ := tokentest.Verdicts(h, 0)
		if all == porcupine.Unknown { // too much for a search of all
			continue
		}
		if all != essentials {
			t.Errorf("seed %d, %d: all operations %s, the essential ones %s\n%v", seed, i, all, essentials, h.Check())
		}
		verdicts[all]++
	}
	t.Log(verdicts)
	if verdicts[porcupine.Ok] < 500 || verdicts[porcupine.Illegal] < 500 {
		t.Errorf("verdicts that prove nothing: %v", verdicts)
	}
}

// A family that hundreds use at once is judged.
func TestManyAtOnceAreJudged(t *testing.T) {
	for i := range uint64(20) {
		h := randomFamily(rand.New(rand.NewPCG(1, i)), 40, 40, 200, 0)
		if problems := h.Check(); len(problems) > 0 {
			t.Fatal(problems)
		}
	}
}
