package tokentest

import "github.com/anishathalye/porcupine"

// familyState is one family of tokens: one bit for each generation.
type familyState struct {
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

// request is an operation as the model gets it: with what its time allows.
type request struct {
	Input
	// Presented again, a refresh token may yield the same successor (the window is
	// open), or end the family (it is over). At its edge either.
	mayRepeat, mayEnd bool
}

// familyModel is what a family of tokens promises, one operation at a time.
func familyModel() porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []any { return []any{familyState{}} },
		Step: func(state, in, out any) []any {
			return state.(familyState).step(in.(request), out.(Output)) //nolint:errcheck // judge gives it nothing else
		},
	}
	return nondeterministic.ToModel()
}

// step returns the states that an operation with that outcome may lead to; none
// if the outcome is wrong.
func (s familyState) step(in request, out Output) []any {
	bit := uint64(1) << in.Generation
	known, open := in.Generation < s.generations, out.Answer == Unknown
	switch in.Action {
	case Issue:
		if s.generations == 0 {
			s.generations = 1
			return []any{s}
		}
	case InvalidateUser, SetPassword:
		return []any{s.end()}
	case Authenticate:
		if known && s.accessDead&bit == 0 {
			return []any{s}
		}
	case InvalidateFamily:
		if known {
			return []any{s.end()}
		}
	case InvalidateAccess:
		next := s
		next.accessDead |= bit
		if known && out.counts(s.accessDead&bit != 0) {
			return []any{next}
		}
	case InvalidateRefresh:
		next := s
		next.refreshDead |= bit
		if known && out.counts(s.refreshDead&bit != 0) {
			return []any{next}
		}
	case Refresh:
		if known {
			return s.refresh(in, out.Answer)
		}
	}
	if open { // it never took effect
		return []any{s}
	}
	return nil
}

// counts tells whether an invalidation of one token may have had that answer.
func (out Output) counts(wasDead bool) bool {
	switch {
	case out.Answer == Unknown, out.Uncounted:
		return true
	case wasDead:
		return out.Invalidated == 0 && out.PreviouslyInvalidated == 1
	}
	return out.Invalidated == 1 && out.PreviouslyInvalidated == 0
}

// refresh presents a token that exists.
func (s familyState) refresh(in request, got Answer) []any {
	bit := uint64(1) << in.Generation
	done, open := got == Done, got == Unknown
	var states []any
	switch {
	case s.refreshDead&bit != 0:
		if got == Invalidated || open {
			states = append(states, s)
		}
	case s.consumed&bit == 0:
		fresh := s
		fresh.consumed |= bit
		fresh.generations++
		if done || open {
			states = append(states, fresh)
		}
	default:
		if (done && in.mayRepeat) || open {
			states = append(states, s)
		}
		if in.mayEnd && (got == Reused || open) {
			states = append(states, s.end())
		}
	}
	return states
}
