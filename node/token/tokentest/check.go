package tokentest

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTimeout bounds the search for an order of one family's operations.
const checkTimeout = 20 * time.Second

// Check checks the families that are left and returns what is wrong with the history.
// Operations that did not end count as open.
func (h *History) Check() []string {
	h.mu.Lock()
	parts := make(map[int][]Operation, len(h.families))
	for number := range h.families {
		parts[number] = h.partLocked(number)
	}
	h.mu.Unlock()
	for number, part := range parts {
		h.judge(number, part)
	}
	return h.Problems()
}

// partLocked copies the operations that matter to a family, in the order they began:
// its own, and those on its user that may have taken effect while it was looked at.
func (h *History) partLocked(number int) (part []Operation) {
	f := h.families[number]
	last := int64(0)
	for _, op := range f.operations {
		if op.dropped || (op.open() && op.in.Action == Authenticate) {
			continue
		}
		part = append(part, *op)
		if !op.open() {
			last = max(last, op.end)
		}
	}
	for _, op := range h.users[f.user].wide {
		if !op.dropped && op.end >= f.operations[0].call && op.call <= last {
			part = append(part, *op)
		}
	}
	slices.SortStableFunc(part, func(a, b Operation) int { return cmp.Compare(a.call, b.call) })
	return part
}

// judge checks one family.
func (h *History) judge(number int, part []Operation) {
	if len(part) == 0 {
		return
	}
	findings := append(staleAnswers(part), h.config.baseless(part)...)
	switch h.config.verdict(part) {
	case porcupine.Ok:
	case porcupine.Illegal:
		findings = append(findings, h.config.unexplained(number, part))
	case porcupine.Unknown:
		findings = append(findings, Finding{time.Duration(part[0].call), fmt.Sprintf("family %d: not judged within %s", number, checkTimeout)})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tally.Checked++
	for i, f := range findings {
		if i == len(findings)-1 {
			f.What += "\n" + h.report(part)
		}
		h.findLocked(f)
	}
}

// verdict tells whether some order explains a family's operations.
func (c Config) verdict(part []Operation) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(familyModel(), essential(c.requests(part)), checkTimeout)
}

// requests are a family's operations as the model gets them.
func (c Config) requests(part []Operation) (requests []porcupine.Operation) {
	for i := range part {
		op := &part[i]
		if op.in.Action == Authenticate && op.out.Answer == Dead {
			continue // either answer is right until a kill is acknowledged
		}
		mayRepeat, mayEnd := c.windows(part, op)
		requests = append(requests, porcupine.Operation{
			ClientId: op.client, Call: op.call, Return: op.end, Output: op.out,
			Input: request{Input: op.in, mayRepeat: mayRepeat, mayEnd: mayEnd},
		})
	}
	return requests
}

// unexplained finds the first answer with which no order is left.
func (c Config) unexplained(number int, part []Operation) Finding {
	answers := slices.DeleteFunc(slices.Clone(part), func(op Operation) bool { return op.open() })
	slices.SortStableFunc(answers, func(a, b Operation) int { return cmp.Compare(a.end, b.end) })
	first := sort.Search(len(answers), func(i int) bool { return c.verdict(until(part, answers[i].end)) == porcupine.Illegal })
	op := answers[min(first, len(answers)-1)]
	return Finding{time.Duration(op.end), fmt.Sprintf("family %d: not linearizable: no order explains the answer of client %d: %s -> %s", number, op.client, op.in, op.out)}
}

// until is what was known of operations at a moment.
func until(part []Operation, at int64) (known []Operation) {
	for _, op := range part {
		switch {
		case op.call > at:
			continue
		case op.end <= at:
		case op.in.Action == Authenticate:
			continue
		default:
			op.end, op.out = never, Output{Answer: Unknown}
		}
		known = append(known, op)
	}
	return known
}

// report lists the operations of a family, with times for people: since it began.
func (h *History) report(part []Operation) string {
	if h.config.Now == nil {
		return describe(part, func(at int64) string { return strconv.FormatInt(at, 10) })
	}
	began := part[0].call
	text := describe(part, func(at int64) string { return time.Duration(at - began).Round(time.Microsecond).String() })
	return fmt.Sprintf("  (times since %s after the start)\n%s", time.Duration(began).Round(time.Millisecond), text)
}

// windows tells what a second presentation of a refresh token may come to, given when
// the first was.
func (c Config) windows(part []Operation, op *Operation) (mayRepeat, mayEnd bool) {
	switch {
	case op.in.Action != Refresh:
		return false, false
	case c.Window <= 0:
		return true, true // a repetition in the very millisecond is no second use
	case c.Now == nil:
		return true, false
	}
	earliest, latest := int64(never), int64(never) // of the first use
	over := int64(0)                               // nothing is known of what comes later
	for i := range part {
		other := &part[i]
		if !other.open() {
			over = max(over, other.end)
		}
		if other.in.Action == Refresh && other.in.Generation == op.in.Generation {
			earliest = min(earliest, other.call)
			if other.out.Answer == Done {
				latest = min(latest, other.end)
			}
		}
	}
	mayRepeat = latest == never || op.call-latest <= int64(c.Window+c.Tolerance)
	mayEnd = min(op.end, over)-earliest >= int64(c.Window-c.Tolerance)
	return mayRepeat, mayEnd
}

// staleAnswers finds tokens that were called valid by an answer to a question asked
// after a kill was acknowledged. The search for an order would find them too, and say
// less clearly what is wrong.
func staleAnswers(part []Operation) (findings []Finding) {
	born := births(part)
	for i := range part {
		read := &part[i]
		if read.in.Action != Authenticate || read.out.Answer != Done {
			continue
		}
		stale := slices.IndexFunc(part, func(kill Operation) bool {
			ended := kill.out.Answer == Done && kill.in.Action != Refresh || kill.out.Answer == Reused
			return ended && kill.end < read.call && kill.call > born[read.in.Generation] && kill.in.kills(read.in.Generation)
		})
		if stale >= 0 {
			findings = append(findings, Finding{time.Duration(read.end), fmt.Sprintf(
				"%s: called valid by client %d, asked after the acknowledgement of %s", read.in, read.client, part[stale].in)})
		}
	}
	return findings
}

// births returns when each generation was first known to exist.
func births(part []Operation) map[int]int64 {
	born := make(map[int]int64)
	for _, op := range part {
		if op.out.Answer != Done || op.in.Action != Issue && op.in.Action != Refresh {
			continue
		}
		generation := op.in.Generation
		if op.in.Action == Refresh {
			generation++
		}
		if at, known := born[generation]; !known || op.end < at {
			born[generation] = op.end
		}
	}
	return born
}

// kills tells whether an operation, of those that matter to a family, ends an access
// token of that family, if it takes effect and if a refresh is a reuse.
func (in Input) kills(generation int) bool {
	switch in.Action {
	case InvalidateUser, SetPassword, InvalidateFamily, Refresh:
		return true
	case InvalidateAccess:
		return in.Generation == generation
	case Issue, Authenticate, InvalidateRefresh:
	}
	return false
}

// baseless finds tokens that were called dead although nobody had asked for that.
func (c Config) baseless(part []Operation) (findings []Finding) {
	for i := range part {
		if op := &part[i]; op.in.Action == Authenticate && op.out.Answer == Dead && !c.killed(part, op) {
			findings = append(findings, Finding{time.Duration(op.end), fmt.Sprintf("%s: refused, and nobody invalidated it", op.in)})
		}
	}
	return findings
}

// killed tells whether anything that began before an answer may have ended its token.
func (c Config) killed(part []Operation, dead *Operation) bool {
	for i := range part {
		kill := &part[i]
		if kill.call >= dead.end || !kill.in.kills(dead.in.Generation) {
			continue
		}
		if kill.in.Action != Refresh || kill.out.Answer == Reused {
			return true
		}
		if _, mayEnd := c.windows(part, kill); mayEnd && kill.out.Answer == Unknown {
			return true
		}
	}
	return false
}
