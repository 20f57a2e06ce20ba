package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"jeton/cluster"
)

const (
	// lookPatience is how long one node may take to say how it is.
	lookPatience = 3 * time.Second
	// removePatience is how long the leader may take to remove a member.
	removePatience = 15 * time.Second
	// maxHints bounds how often one node may send on to another as the leader.
	maxHints = 5
)

var errNobodyLeads = errors.New("no leader is known")

// noLeader says that nobody leads, whom the act needs, and what to do.
func (v *clusterView) noLeader(act string) error {
	if act != "" {
		act = ", and only a leader can " + act
	}
	voters, answering := v.voters("")
	if voters == 0 {
		return v.noCluster()
	}
	majority := voters/2 + 1
	if answering >= majority {
		return fmt.Errorf("%w%s, though %d of %s answered: an election may be under way, so try again in a moment; if it lasts, the nodes' logs say why",
			errNobodyLeads, act, answering, plural(voters, "voter"))
	}
	return fmt.Errorf("%w%s: of %s %d answered, and %d must run and reach each other. Start the others with the data they had; "+
		"if that is lost for good, docs/recovery.md is how to go on", errNobodyLeads, act, plural(voters, "voter"), answering, majority)
}

// noCluster says why none of those who answer knows a member.
func (v *clusterView) noCluster() error {
	var waiting []string
	for _, peer := range v.Peers {
		status := v.answers[peer.ID]
		switch {
		case status.Bootstrapped:
			return fmt.Errorf("%w: %s is starting, and has not read its data yet: try again in a moment", errNobodyLeads, peer.name())
		case strings.HasPrefix(status.Waiting, "waiting "):
			waiting = append(waiting, peer.name()+" is "+status.Waiting)
		case status.Waiting != "":
			waiting = append(waiting, peer.name()+": "+status.Waiting)
		}
	}
	if len(waiting) == 0 {
		return fmt.Errorf("%w, for there is no cluster yet: the nodes are starting, so try again in a moment", errNobodyLeads)
	}
	return fmt.Errorf("%w, for there is no cluster yet: %s", errNobodyLeads, strings.Join(waiting, "; "))
}

// voters counts the voters but for the one with that ID, and those of them that answer.
func (v *clusterView) voters(without string) (all, answering int) {
	for _, peer := range v.Peers {
		if peer.Voter && peer.ID != without {
			all++
			if peer.Reachable {
				answering++
			}
		}
	}
	return all, answering
}

// peerClient asks the nodes of a cluster as another node does.
type peerClient struct {
	first    []string // addresses to begin with
	exchange func(ctx context.Context, address string, question []byte) ([]byte, error)
	propose  func(ctx context.Context, address string, command []byte) (outcome []byte, err error)
	status   func(ctx context.Context, address string) (cluster.Status, error)
	leave    func(ctx context.Context, address, id string) error
	transfer func(ctx context.Context, address, id string) (leader string, err error)
	close    func() error
}

// statusWith, leaveWith and transferWith give the methods of [cluster.Client] plain text for the
// consensus library's types, which this package does not know.
func statusWith[A ~string](ask func(context.Context, A) (cluster.Status, error)) func(context.Context, string) (cluster.Status, error) {
	return func(ctx context.Context, address string) (cluster.Status, error) { return ask(ctx, A(address)) }
}

func leaveWith[A, ID ~string](ask func(context.Context, A, ID) error) func(context.Context, string, string) error {
	return func(ctx context.Context, address, id string) error { return ask(ctx, A(address), ID(id)) }
}

func transferWith[A, ID ~string](ask func(context.Context, A, ID) (ID, error)) func(context.Context, string, string) (string, error) {
	return func(ctx context.Context, address, id string) (string, error) {
		leader, err := ask(ctx, A(address), ID(id))
		return string(leader), err
	}
}

// peerView is one node as list-peers shows it.
type peerView struct {
	Node      string `json:"node"`    // empty: it does not answer, and nobody who does has heard of it
	ID        string `json:"id"`      //
	Address   string `json:"address"` // of its transport port
	State     string `json:"state"`   // leader, follower, candidate, "not a member"; empty: it does not answer
	Voter     bool   `json:"voter"`
	Term      uint64 `json:"term"`
	Applied   uint64 `json:"applied"`
	LastTerm  uint64 `json:"last_log_term"`  // of the newest entry in its log, committed or not
	LastIndex uint64 `json:"last_log_index"` // of that entry
	Reachable bool   `json:"reachable"`
}

const notMember = "not a member"

// name is what a person calls the node.
func (p peerView) name() string { return cmp.Or(p.Node, p.ID) }

func (p peerView) String() string {
	state := "does not answer"
	if p.Reachable {
		state = p.State
	}
	if p.Node == "" {
		return fmt.Sprintf("%s (%s, %s)", p.ID, p.Address, state)
	}
	return fmt.Sprintf("%s (ID %s, %s, %s)", p.Node, p.ID, p.Address, state)
}

// clusterView is a cluster as its nodes describe it.
type clusterView struct {
	Leader string     `json:"leader"` // ID; empty: none is known
	Peers  []peerView `json:"peers"`

	answers map[string]cluster.Status // by ID
}

// look asks the first addresses, and then every member that is heard of. It fails
// when nobody answers.
func (c *peerClient) look(ctx context.Context) (*clusterView, error) {
	answers := map[string]cluster.Status{} // by ID
	asked := map[string]bool{}
	var failures []error
	for next := slices.Clone(c.first); len(next) > 0; {
		var fresh []string
		for _, address := range next {
			if !asked[address] {
				asked[address] = true
				fresh = append(fresh, address)
			}
		}
		next = nil
		for _, answer := range c.askAll(ctx, fresh) {
			if answer.err != nil {
				failures = append(failures, plainly(answer.address, answer.err))
				continue
			}
			answers[string(answer.status.ServerID)] = answer.status
			for _, member := range answer.status.Members {
				next = append(next, string(member.Address))
			}
		}
	}
	if len(answers) == 0 {
		return nil, fmt.Errorf("no node answers:\n%w", errors.Join(failures...))
	}
	return viewOf(answers), nil
}

// plainly leaves out of an error what only matters to one who wanted to change
// something. A connection that could not be opened says itself to whom.
func plainly(address string, err error) error {
	if dial := new(net.OpError); errors.As(err, &dial) && dial.Op == "dial" {
		return dial
	}
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) && errors.Is(err, cluster.ErrNotSent) {
		causes := several.Unwrap()
		return fmt.Errorf("%s: %w", address, causes[len(causes)-1])
	}
	return err
}

type peerAnswer struct {
	address string
	status  cluster.Status
	err     error
}

func (c *peerClient) askAll(ctx context.Context, addresses []string) []peerAnswer {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	answers := make([]peerAnswer, len(addresses))
	var asking sync.WaitGroup
	for i, address := range addresses {
		answers[i].address = address
		asking.Go(func() { answers[i].status, answers[i].err = c.status(ctx, address) })
	}
	asking.Wait()
	return answers
}

// viewOf believes the leader, else who is furthest.
func viewOf(answers map[string]cluster.Status) *clusterView {
	leads := func(s cluster.Status) int {
		if s.State == "Leader" {
			return 1
		}
		return 0
	}
	var best cluster.Status
	for _, status := range answers {
		if cmp.Or(cmp.Compare(leads(status), leads(best)), cmp.Compare(status.Term, best.Term),
			cmp.Compare(len(status.Members), len(best.Members)), cmp.Compare(status.Applied, best.Applied)) > 0 || best.ServerID == "" {
			best = status
		}
	}
	view := &clusterView{Leader: string(best.LeaderID), answers: answers}
	if leads(best) > 0 {
		view.Leader = string(best.ServerID)
	}
	names := namesHeard(answers)
	member := map[string]bool{}
	for _, m := range best.Members {
		member[string(m.ID)] = true
		peer := peerView{Node: cmp.Or(m.Name, names[string(m.ID)]), ID: string(m.ID), Address: string(m.Address), Voter: m.Voter}
		if status, ok := answers[peer.ID]; ok {
			peer = peer.answered(status)
		}
		view.Peers = append(view.Peers, peer)
	}
	for id, status := range answers {
		if !member[id] {
			peer := peerView{ID: id, Address: string(status.TransportAddress)}
			peer = peer.answered(status)
			peer.State = notMember
			view.Peers = append(view.Peers, peer)
		}
	}
	slices.SortFunc(view.Peers, func(a, b peerView) int {
		return cmp.Or(cmp.Compare(a.name(), b.name()), cmp.Compare(a.ID, b.ID))
	})
	return view
}

// namesHeard returns what those who answer call the members that they have heard of.
func namesHeard(answers map[string]cluster.Status) map[string]string {
	names := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		for _, member := range answers[id].Members {
			names[string(member.ID)] = cmp.Or(names[string(member.ID)], member.Name)
		}
	}
	return names
}

func (p peerView) answered(status cluster.Status) peerView {
	p.Node, p.State, p.Term, p.Applied, p.Reachable = status.Name, strings.ToLower(status.State), status.Term, status.Applied, true
	p.LastTerm, p.LastIndex = status.LastTerm, status.LastIndex
	return p
}

// errNoMember begins a sentence that ends with what was looked for.
var errNoMember = errors.New("no member has the ID, the name or the address")

// notAName tells whether a text is an ID, as nodes make theirs, or an address.
func notAName(text string) bool {
	_, _, err := net.SplitHostPort(text)
	return err == nil || uuid.Validate(text) == nil
}

// find returns the one member that a person means.
func (v *clusterView) find(target string) (peerView, error) {
	var found []peerView
	var known []string
	for _, peer := range v.Peers {
		if peer.State == notMember {
			if target == peer.ID || target == peer.Node {
				known = append(known, peer.name()+" answers, but is not a member")
			}
			continue
		}
		known = append(known, peer.String())
		if target == peer.ID || target == peer.Node || target == peer.Address {
			found = append(found, peer)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return peerView{}, fmt.Errorf("%w %q; these are the members:\n  %s", errNoMember, target, strings.Join(known, "\n  "))
	default:
		return peerView{}, fmt.Errorf("%q means several members; give the ID of one:\n  %s\n  %s", target, found[0], found[1])
	}
}

func (v *clusterView) leaderAddress() string {
	for _, peer := range v.Peers {
		if peer.ID == v.Leader {
			return peer.Address
		}
	}
	return ""
}

// consequences says what a removal means.
func (v *clusterView) consequences(victim peerView) string {
	voters, answering := v.voters(victim.ID)
	majority := voters/2 + 1
	var b strings.Builder
	b.WriteString("If it is removed, it takes no part any more: stop it if it still runs. To join again it must be\n" +
		"emptied (its path.data deleted), and is another member then.\n")
	fmt.Fprintf(&b, "Afterwards %d of %s must agree on every write: the cluster survives the loss of %d.\n",
		majority, plural(voters, "voter"), voters-majority)
	if answering < majority {
		fmt.Fprintf(&b, "WARNING: only %d of them answer now, so the cluster will stand still.\n", answering)
	}
	return b.String()
}

// throughLeader asks the leader, and whoever is named as the leader instead.
func throughLeader(address, act string, ask func(address string) error) (err error) {
	for range maxHints {
		err = ask(address)
		hint, elsewhere := errors.AsType[*cluster.NotLeaderError](err)
		if !elsewhere {
			return err
		}
		if hint.Leader == "" {
			return fmt.Errorf("%w any more, and only a leader can %s: try again in a moment", errNobodyLeads, act)
		}
		address = string(hint.Leader)
	}
	return err
}

// leaveThrough asks the leader to remove a member.
func (c *peerClient) leaveThrough(ctx context.Context, address, id string) error {
	ctx, cancel := context.WithTimeout(ctx, removePatience)
	defer cancel()
	err := throughLeader(address, "remove a member", func(address string) error { return c.leave(ctx, address, id) })
	if err == nil {
		return nil
	}
	if errors.Is(err, cluster.ErrNotProposed) || errors.Is(err, errNobodyLeads) {
		return fmt.Errorf("not removed: %w", err)
	}
	if c.gone(context.WithoutCancel(ctx), id) {
		return nil // the leader removed itself, and its answer was lost with it
	}
	return fmt.Errorf("whether it was removed is not known; list-peers tells: %w", err)
}

// gone says whether the cluster has a leader that does not know the member.
func (c *peerClient) gone(ctx context.Context, id string) bool {
	seen, err := c.look(ctx)
	return err == nil && seen.Leader != "" && seen.Leader != id && !slices.ContainsFunc(seen.Peers, func(p peerView) bool {
		return p.ID == id && p.State != notMember
	})
}
