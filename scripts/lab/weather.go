package main

import (
	"cmp"
	"sync"

	"jeton/scripts/lab/network"
)

// weather is what the faults that are active do to the network, together: each adds its part and takes
// it away again, and none undoes another's. Its methods may be called concurrently.
type weather struct {
	network links
	hosts   []string // the clients' too

	mu     sync.Mutex
	next   int
	parts  map[int]part
	places map[string]string // of hosts that stand in another's place: whose
}

// part is what one fault does to one direction; the zero link for those that it leaves alone.
type part func(from, to string) network.Link

// links are a network's.
type links interface {
	Get(from, to string) network.Link
	Set(from, to string, link network.Link)
}

func newWeather(n links, hosts []string) *weather {
	return &weather{network: n, hosts: hosts, parts: map[int]part{}, places: map[string]string{}}
}

// add adds a part, until calm is called.
func (w *weather) add(p part) (calm func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	name := w.next
	w.parts[name] = p
	w.applyLocked()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.parts, name)
		w.applyLocked()
	}
}

// place has the weather of one host be that of another, in whose place it stands.
func (w *weather) place(host, of string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[host] = of
	w.applyLocked()
}

// again applies all parts anew: one of them answers differently now.
func (w *weather) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applyLocked()
}

func (w *weather) applyLocked() {
	for _, from := range w.hosts {
		for _, to := range w.hosts {
			if from == to {
				continue
			}
			var sum network.Link
			for _, p := range w.parts {
				sum = worse(sum, p(cmp.Or(w.places[from], from), cmp.Or(w.places[to], to)))
			}
			if w.network.Get(from, to) != sum {
				w.network.Set(from, to, sum)
			}
		}
	}
}

// worse is a link with the faults of two.
func worse(a, b network.Link) network.Link {
	return network.Link{
		Cut:       a.Cut || b.Cut,
		Loss:      max(a.Loss, b.Loss),
		Duplicate: max(a.Duplicate, b.Duplicate),
		Reorder:   max(a.Reorder, b.Reorder),
		Delay:     a.Delay + b.Delay,
		Jitter:    a.Jitter + b.Jitter,
	}
}
