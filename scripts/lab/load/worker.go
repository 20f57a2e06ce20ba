package load

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"

	"jeton/node/token/tokentest"
)

// burstEach is how often a burst presents its token at each target.
const burstEach = 3

// worker does one operation after the other.
type worker struct {
	*Load
	number int
	mu     sync.Mutex // of random: probes draw, too
	random *rand.Rand
}

func (w *worker) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

// once does what is next, and what follows from the answer.
func (w *worker) once(ctx context.Context) {
	w.mu.Lock()
	o := w.crowd.next(w.random)
	w.mu.Unlock()
	if o.enrol && o.person == nil {
		return
	}
	e := w.pick(nil)
	if e == nil {
		w.figures.miss()
		if o.enrol {
			w.crowd.enrolled(o.person, false)
		}
		return
	}
	defer e.leave()
	o.at = e
	switch {
	case o.enrol:
		w.enrol(ctx, o)
	case o.burst:
		w.burst(ctx, o, burstEach)
	default:
		w.follow(ctx, o, w.operate(ctx, o))
	}
}

// pick takes a place at some target, but not at that one; nil: all are full.
func (w *worker) pick(not *endpoint) *endpoint {
	endpoints := *w.endpoints.Load()
	first := w.draw(len(endpoints))
	for i := range endpoints {
		if e := endpoints[(first+i)%len(endpoints)]; e != not && e.enter() {
			return e
		}
	}
	return nil
}

// enrol makes a user, and tells whether it did.
func (w *worker) enrol(ctx context.Context, o order) bool {
	w.canaries.add(o.person.password)
	r := enrolment(o.person)
	a := w.send(ctx, o, &r, func(a answer) outcome {
		return judge(order{in: tokentest.Input{Action: tokentest.SetPassword}}, o.at.Target, a)
	})
	if a.wrong != "" {
		w.history.Problem("put user: %s answer from %s", a.wrong, a.said())
	}
	w.crowd.enrolled(o.person, a.recorded)
	return a.recorded
}

// send sends a request and counts how it ended.
func (w *worker) send(ctx context.Context, o order, r *request, read func(answer) outcome) outcome {
	patience := w.config.Timeout
	if o.patience > 0 {
		patience = min(patience, o.patience)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := w.now()
	raw := o.at.ask(ctx, &w.config, r)
	result := read(raw)
	end := result.ending
	if o.patience > 0 && raw.err != nil {
		end = endedGivenUp
	}
	write := o.enrol || o.in.Action != tokentest.Authenticate
	w.figures.record(o.at.Name, r.kind, end, w.now()-began, write)
	if end == endedUnavailable || end == endedFailed {
		w.figures.example(r.kind, result)
	}
	return result
}

// operate does one operation at a target and records it.
func (w *worker) operate(ctx context.Context, o order) outcome {
	var pair tokentest.Pair
	if wide := o.in.Action >= tokentest.InvalidateUser; !wide && o.in.Action != tokentest.Issue {
		_, pairs := w.history.Family(o.in.Family)
		if o.in.Generation >= len(pairs) {
			return outcome{}
		}
		pair = pairs[o.in.Generation]
	}
	op := w.history.Start(w.number, o.in)
	if op == nil { // another worker has done with that family
		return outcome{}
	}
	r := requestFor(o, pair)
	result := w.send(ctx, o, &r, func(a answer) outcome { return judge(o, o.at.Target, a) })
	if result.wrong != "" {
		w.history.Problem("%s: %s answer from %s", o.in, result.wrong, result.said())
	}
	says := o.in.Action != tokentest.Issue && o.in.Action != tokentest.Authenticate
	switch {
	case result.recorded:
		result.family = w.history.End(op, result.out)
		w.learn(ctx, o, result)
	case result.open && says:
		w.history.End(op, tokentest.Output{Answer: tokentest.Unknown})
		w.crowd.lost(o.in)
	default:
		w.history.Drop(op)
	}
	return result
}

// learn puts to use what an answer brought.
func (w *worker) learn(ctx context.Context, o order, result outcome) {
	if result.out.Answer == tokentest.Reused {
		w.crowd.ended(o.in)
	}
	if result.out.Answer != tokentest.Done {
		return
	}
	switch o.in.Action {
	case tokentest.Issue:
		w.canaries.sample(result.out.Pair.Access, result.out.Pair.Refresh)
		w.mu.Lock()
		w.crowd.begun(result.family, o.person, result.lifetime, w.random)
		w.mu.Unlock()
		w.ask(ctx, o.in.User, result.family, 0, w.other(o.at))
	case tokentest.Refresh:
		w.canaries.sample(result.out.Pair.Access, result.out.Pair.Refresh)
		if !o.quiet {
			w.ask(ctx, o.in.User, o.in.Family, o.in.Generation+1, w.other(o.at))
		}
	case tokentest.InvalidateAccess:
		w.askAll(ctx, o.in.User, o.in.Family, o.in.Generation)
	case tokentest.InvalidateFamily, tokentest.InvalidateUser, tokentest.SetPassword:
		w.crowd.ended(o.in)
		for _, f := range w.crowd.touched(o.in) {
			_, pairs := w.history.Family(f)
			w.askAll(ctx, o.in.User, f, len(pairs)-1)
		}
	case tokentest.Authenticate, tokentest.InvalidateRefresh:
	}
}

func (w *worker) other(than *endpoint) *endpoint {
	endpoints := *w.endpoints.Load()
	first := w.draw(len(endpoints))
	if endpoints[first] == than {
		first = (first + 1) % len(endpoints)
	}
	return endpoints[first]
}

func (w *worker) askAll(ctx context.Context, user string, family, generation int) {
	for _, e := range *w.endpoints.Load() {
		w.ask(ctx, user, family, generation, e)
	}
}

// ask asks about an access token without waiting for the answer. So many questions may
// wait at a node that hangs: what it answers when it wakes is what we want to know.
func (w *worker) ask(ctx context.Context, user string, family, generation int, e *endpoint) {
	if e.probes.Add(1) > maxProbes || generation < 0 {
		e.probes.Add(-1)
		return
	}
	w.debt.Add(1)
	w.probes.Go(func() {
		defer e.probes.Add(-1)
		in := tokentest.Input{Action: tokentest.Authenticate, User: user, Family: family, Generation: generation}
		w.operate(ctx, order{in: in, at: e, oauth2: w.draw(5) == 0})
	})
}

// follow does what a client does that got no answer: it asks again, elsewhere.
func (w *worker) follow(ctx context.Context, o order, first outcome) {
	if !first.open || o.in.Action == tokentest.Issue || o.in.Action == tokentest.Authenticate || w.draw(5) == 0 {
		return
	}
	second := w.again(ctx, o)
	if o.in.Action == tokentest.Refresh && second.body != nil {
		w.same(o, second, w.again(ctx, o))
	}
}

// again repeats a request at another target.
func (w *worker) again(ctx context.Context, o order) outcome {
	e := w.pick(o.at)
	if e == nil {
		return outcome{}
	}
	defer e.leave()
	w.debt.Add(1)
	w.figures.repeat()
	o.at, o.patience = e, 0
	return w.operate(ctx, o)
}

// burst presents one refresh token everywhere at once, so many times at each target.
// Whoever gets an answer gets the same. It tells whether all did.
func (w *worker) burst(ctx context.Context, o order, each int) bool {
	w.figures.burst()
	endpoints := *w.endpoints.Load()
	got := make([]outcome, each*len(endpoints))
	var all sync.WaitGroup
	for i := range got {
		at := o
		at.at, at.patience, at.quiet = endpoints[i%len(endpoints)], 0, i > 0
		w.debt.Add(1)
		all.Go(func() { got[i] = w.operate(ctx, at) })
	}
	all.Wait()
	answered := true
	for i := range got {
		answered = answered && got[i].body != nil
		w.same(o, got[max(0, i-1)], got[i])
	}
	return answered
}

// same compares what a repeated refresh was answered, byte for byte.
func (w *worker) same(o order, one, other outcome) {
	if one.body != nil && other.body != nil && !bytes.Equal(one.body, other.body) {
		w.history.Problem("%s: repeated at %s and at %s, the answers differ", o.in, one.from, other.from)
	}
}
