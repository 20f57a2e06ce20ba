package main

import "sync"

// record is what the nodes' logs say of elections. Its methods may be called concurrently.
type record struct {
	journal *journal

	mu      sync.Mutex
	winners map[uint64]string // by term
}

func newRecord(j *journal) *record {
	return &record{journal: j, winners: map[uint64]string{}}
}

// won takes note of an election; a term has one winner, once.
func (r *record) won(node string, term uint64) {
	r.mu.Lock()
	first, known := r.winners[term]
	if !known {
		r.winners[term] = node
	}
	r.mu.Unlock()
	if known {
		r.journal.violate("two elections were won in term %d: by %s and by %s", term, first, node)
	}
}

// winner is who won the election of a term; empty: nobody so far.
func (r *record) winner(term uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.winners[term]
}

// elections is how many there were.
func (r *record) elections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.winners)
}
