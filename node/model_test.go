package node

import (
	"github.com/anishathalye/porcupine"

	"jeton/node/token"
)

// familyState is one family of tokens: one bit for each generation.
type familyState struct {
	reuseEnds   bool // there is no window: a second use ends the family
	generations int
	accessDead  uint64
	refreshDead uint64
	consumed    uint64
}

func (s familyState) end() familyState {
	all := uint64(1)<<s.generations - 1
	s.accessDead, s.refreshDead = all, all
	return s
}

// familyModel is what a family of tokens promises, one operation at a time.
func familyModel(reuseEnds bool) porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []any { return []any{familyState{reuseEnds: reuseEnds}} },
		Step: func(state, in, out any) []any { return state.(familyState).step(in.(input), out.(output)) },
	}
	return nondeterministic.ToModel()
}

// step returns the states that an operation with that outcome may lead to; none
// if the outcome is wrong.
func (s familyState) step(in input, out output) []any {
	bit := uint64(1) << in.generation
	switch in.action {
	case doIssue:
		if s.generations == 0 {
			s.generations = 1
			return []any{s}
		}
	case doInvalidateUser, doSetPassword:
		return []any{s.end()}
	case doInvalidateFamily:
		if in.generation < s.generations {
			return []any{s.end()}
		}
		if out.answer == answerNone {
			return []any{s}
		}
	case doAuthenticate:
		if in.generation < s.generations && s.accessDead&bit == 0 {
			return []any{s}
		}
	case doInvalidateAccess:
		next := s
		next.accessDead |= bit
		return s.invalidate(next, s.accessDead&bit != 0, in, out)
	case doInvalidateRefresh:
		next := s
		next.refreshDead |= bit
		return s.invalidate(next, s.refreshDead&bit != 0, in, out)
	case doRefresh:
		if in.generation < s.generations {
			return s.refresh(bit, out.answer)
		}
		if out.answer == answerNone {
			return []any{s}
		}
	}
	return nil
}

func (s familyState) invalidate(next familyState, wasDead bool, in input, out output) []any {
	want := token.Counts{Invalidated: 1}
	if wasDead {
		want = token.Counts{PreviouslyInvalidated: 1}
	}
	switch {
	case out.answer == answerNone && in.generation >= s.generations:
		return []any{s}
	case out.answer == answerNone, in.generation < s.generations && out.counts == want:
		return []any{next}
	}
	return nil
}

// refresh presents a token that exists. Without a window a second use ends the
// family, except within the very millisecond of the first.
func (s familyState) refresh(bit uint64, got answer) []any {
	fresh := s
	fresh.consumed |= bit
	fresh.generations++
	done, open := got == answerDone, got == answerNone
	var states []any
	switch {
	case s.refreshDead&bit != 0:
		if got == answerInvalidated || open {
			states = append(states, s)
		}
	case s.consumed&bit == 0:
		if done || open {
			states = append(states, fresh)
		}
	default:
		if done || open {
			states = append(states, s)
		}
		if s.reuseEnds && (got == answerReused || open) {
			states = append(states, s.end())
		}
	}
	return states
}
