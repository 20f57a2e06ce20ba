package tokentest

import (
	"cmp"
	"slices"

	"github.com/anishathalye/porcupine"
)

// essential leaves out operations that say nothing which others do not say, so that
// what is left can be searched however many requests met. That is possible because
// tokens live once: they are born when somebody gets them, and never live again once
// they are dead. So of all that need a token to be alive only the one matters that was
// asked last, and of all that need it to be dead the one that was answered first. Of
// what ends the same, what is covered by something that was asked and answered earlier
// ends nothing more. Nothing is asked about a token before somebody got it.
func essential(all []porcupine.Operation) []porcupine.Operation {
	issued := int64(never) // when the login was known
	for _, op := range all {
		if in, _ := requestOf(op); in.Action == Issue {
			issued = min(issued, op.Return)
		}
	}
	groups := make(map[group][]porcupine.Operation)
	var kept []porcupine.Operation
	for _, op := range all {
		g, ok := groupOf(op, issued)
		if !ok {
			kept = append(kept, op)
			continue
		}
		groups[g] = append(groups[g], op)
	}
	for g, members := range groups {
		kept = append(kept, g.essential(members)...)
	}
	// porcupine goes through them in this order, and so always does the same.
	slices.SortStableFunc(kept, inOrder)
	return kept
}

func inOrder(a, b porcupine.Operation) int {
	return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Return, b.Return), cmp.Compare(a.ClientId, b.ClientId))
}

func requestOf(op porcupine.Operation) (request, Output) {
	return op.Input.(request), op.Output.(Output) //nolint:errcheck // there is nothing else in it
}

// says is what the operations of a group say of a token, or do to it.
type says uint8

const (
	saysAlive     says = iota // and so until the last was asked
	saysDead                  // since the first was answered
	saysRefreshed             // since the first was answered, and alive until the last was asked
	mayEnd                    // at any time after the first was asked; nobody knows whether it did
	doesEnd                   // between question and answer
)

// group is what operations have in common that say or do the same.
type group struct {
	says       says
	action     Action
	generation int
}

// groupOf tells of which group an operation is, if of any.
func groupOf(op porcupine.Operation, issued int64) (g group, ok bool) {
	in, out := requestOf(op)
	g = group{action: in.Action, generation: in.Generation}
	if in.wide() { // they all do the same
		g.action, g.generation = InvalidateUser, 0
	}
	counted := !out.Uncounted && (in.Action == InvalidateAccess || in.Action == InvalidateRefresh)
	switch {
	case in.Action == Issue:
		return g, false
	case out.Answer == Unknown:
		g.says = mayEnd
	case in.Action == Authenticate:
		g.says = saysAlive
	case in.Action == Refresh && out.Answer == Done && in.mayRepeat:
		g.says = saysRefreshed
	case in.Action == Refresh && out.Answer == Invalidated, counted && out.counts(true):
		g.says = saysDead
	case in.Action == Refresh, counted:
		return g, false
	default:
		// What was asked before the login was known may have been done before it.
		g.says = doesEnd
		return g, op.Call > issued
	}
	return g, true
}

// essential are the members that say all that the group says.
func (g group) essential(members []porcupine.Operation) (kept []porcupine.Operation) {
	first := slices.MinFunc(members, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	last := slices.MaxFunc(members, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	switch g.says {
	case saysAlive:
		return []porcupine.Operation{last}
	case saysDead:
		return []porcupine.Operation{first}
	case saysRefreshed:
		if len(members) == 1 {
			return members
		}
		if first == last {
			return []porcupine.Operation{first}
		}
		return []porcupine.Operation{first, last}
	case mayEnd: // one refresh may use a token, and a second one end the family
		slices.SortStableFunc(members, inOrder)
		if g.action == Refresh {
			return members[:min(2, len(members))]
		}
		return members[:1]
	case doesEnd:
		slices.SortStableFunc(members, inOrder)
		end := int64(never)
		for _, op := range members {
			if op.Return < end {
				kept, end = append(kept, op), op.Return
			}
		}
	}
	return kept
}
