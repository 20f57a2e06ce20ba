package tokentest

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxFindings bounds what is remembered; more are counted.
const maxFindings = 100

// Finding is something that is wrong.
type Finding struct {
	At   time.Duration // by Config.Now: when it showed, if that is known, or else was found
	What string
}

// Config says how a [History] judges.
type Config struct {
	// Window is how long after its first use a refresh token yields the same pair.
	// After it a second use ends the family. Zero or less: at once.
	Window time.Duration
	// Tolerance is how much more or less than Window the servers may take for it.
	Tolerance time.Duration
	// Now is a clock that does not go back. Nil: operations are numbered, which
	// orders them more finely, and no window ends.
	Now func() time.Duration
}

// History is what clients saw. Its methods are safe for concurrent use.
type History struct {
	config Config

	mu       sync.Mutex
	ticks    int64
	begun    int
	families map[int]*family // those not yet checked and dropped
	users    map[string]*user
	findings []Finding
	more     int // beyond maxFindings
	tally    Tally
}

// Tally is how much a history has seen.
type Tally struct {
	Operations int // that ended and told something
	Families   int // that began
	Checked    int // families that were checked
}

// family is what clients know of the tokens that come of one login.
type family struct {
	user       string
	pairs      []Pair       // by generation
	operations []*Operation // from the issue on
	pending    int          // of the operations
	finished   bool         // no more will begin
}

// user is what concerns all families of one.
type user struct {
	wide     []*Operation
	issuing  map[*Operation]struct{}
	families map[int]*family
}

// NewHistory returns an empty history.
func NewHistory(c Config) *History {
	return &History{config: c, families: make(map[int]*family), users: make(map[string]*user)}
}

func (h *History) nowLocked() int64 {
	if h.config.Now != nil {
		return int64(h.config.Now())
	}
	h.ticks++
	return h.ticks
}

func (h *History) userLocked(name string) *user {
	u := h.users[name]
	if u == nil {
		u = &user{issuing: make(map[*Operation]struct{}), families: make(map[int]*family)}
		h.users[name] = u
	}
	return u
}

// Start notes that a client is about to ask. The operation is open until [History.End]
// or [History.Drop]. Nil: the family is finished, and must not be asked about.
func (h *History) Start(client int, in Input) *Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := &Operation{client: client, in: in, out: Output{Answer: Unknown}, call: h.nowLocked(), end: never}
	switch {
	case in.wide():
		u := h.userLocked(in.User)
		u.wide = append(u.wide, op)
	case in.Action == Issue:
		h.userLocked(in.User).issuing[op] = struct{}{}
	default:
		f := h.families[in.Family]
		if f == nil || f.finished {
			return nil
		}
		f.operations = append(f.operations, op)
		f.pending++
	}
	return op
}

// End notes how an operation ended. An Issue that is Done begins a family, whose number
// is returned. Of Issue and Authenticate an Unknown outcome says nothing: drop them.
func (h *History) End(op *Operation, out Output) (number int) {
	h.mu.Lock()
	op.out = out
	op.out.Pair = Pair{}
	if out.Answer != Unknown {
		op.end = h.nowLocked()
	}
	h.tally.Operations++
	switch {
	case op.in.wide():
		h.forgetLocked(op.in.User)
	case op.in.Action == Issue:
		delete(h.users[op.in.User].issuing, op)
		number = h.begun
		op.in.Family = number
		h.begun++
		h.tally.Families++
		f := &family{user: op.in.User, pairs: []Pair{out.Pair}, operations: []*Operation{op}}
		h.families[number], h.users[op.in.User].families[number] = f, f
	default:
		if op.in.Action == Refresh && out.Answer == Done {
			h.succeedLocked(op.in, out.Pair)
		}
		h.families[op.in.Family].pending--
	}
	f, part := h.releaseLocked(op.in)
	h.mu.Unlock()
	h.judge(f, part)
	return number
}

// Drop forgets an operation that had no effect and told nothing.
func (h *History) Drop(op *Operation) {
	h.mu.Lock()
	op.dropped = true
	switch {
	case op.in.wide():
		h.forgetLocked(op.in.User)
	case op.in.Action == Issue:
		delete(h.users[op.in.User].issuing, op)
		h.forgetLocked(op.in.User)
	default:
		h.families[op.in.Family].pending--
	}
	f, part := h.releaseLocked(op.in)
	h.mu.Unlock()
	h.judge(f, part)
}

// succeedLocked notes the successor of a pair, of which there is one, ever.
func (h *History) succeedLocked(in Input, pair Pair) {
	f := h.families[in.Family]
	switch known := f.pairs; {
	case in.Generation+1 == len(known):
		f.pairs = append(known, pair)
	case in.Generation+1 > len(known):
		h.problemLocked("family %d: generation %d was refreshed and is not known", in.Family, in.Generation)
	case known[in.Generation+1] != pair:
		h.problemLocked("family %d: two different successors of generation %d", in.Family, in.Generation)
	}
}

// Begun returns how many families began. They are numbered from zero.
func (h *History) Begun() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.begun
}

// Family returns the owner and the known pairs of a family, by generation; none if it
// is finished or never began.
func (h *History) Family(number int) (user string, pairs []Pair) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.families[number]; f != nil && !f.finished {
		return f.user, slices.Clip(f.pairs)
	}
	return "", nil
}

// Finish says that no operation on a family will begin any more. It is checked and
// dropped once all have ended.
func (h *History) Finish(number int) {
	h.mu.Lock()
	if f := h.families[number]; f != nil {
		f.finished = true
	}
	f, part := h.releaseLocked(Input{Action: Authenticate, Family: number})
	h.mu.Unlock()
	h.judge(f, part)
}

// releaseLocked takes the family of an operation out if nothing more can come, and
// returns what is to be checked.
func (h *History) releaseLocked(in Input) (number int, part []Operation) {
	f := h.families[in.Family]
	if in.wide() || f == nil || !f.finished || f.pending > 0 {
		return 0, nil
	}
	part = h.partLocked(in.Family)
	delete(h.families, in.Family)
	delete(h.users[f.user].families, in.Family)
	h.forgetLocked(f.user)
	return in.Family, part
}

// forgetLocked drops what can no longer matter to any family of a user.
func (h *History) forgetLocked(name string) {
	u, oldest := h.users[name], int64(never)
	for _, f := range u.families {
		oldest = min(oldest, f.operations[0].call)
	}
	for op := range u.issuing {
		oldest = min(oldest, op.call)
	}
	kept := u.wide[:0]
	for _, op := range u.wide {
		if !op.dropped && (op.open() || op.end >= oldest) {
			kept = append(kept, op)
		}
	}
	clear(u.wide[len(kept):])
	u.wide = kept
	if len(u.wide) == 0 && oldest == never {
		delete(h.users, name)
	}
}

// Problem notes something wrong that only the client can see.
func (h *History) Problem(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problemLocked(format, args...)
}

func (h *History) problemLocked(format string, args ...any) {
	h.findLocked(Finding{time.Duration(h.nowLocked()), fmt.Sprintf(format, args...)})
}

// findLocked notes what was found, once: a family may be checked again.
func (h *History) findLocked(f Finding) {
	switch {
	case slices.ContainsFunc(h.findings, func(known Finding) bool { return known.What == f.What }):
	case len(h.findings) == maxFindings:
		h.more++
	default:
		h.findings = append(h.findings, f)
	}
}

// Findings returns what was found wrong so far, in the order it was found.
func (h *History) Findings() []Finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.findings)
	if h.more > 0 {
		all = append(all, Finding{all[len(all)-1].At, fmt.Sprintf("and %d more problems", h.more)})
	}
	return all
}

// Problems is Findings in words alone.
func (h *History) Problems() (texts []string) {
	for _, f := range h.Findings() {
		texts = append(texts, f.What)
	}
	return texts
}

// Tally returns how much was seen so far.
func (h *History) Tally() Tally {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tally
}
