package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// queueTimeout is how long raft's main loop may take to accept a change.
const queueTimeout = 5 * time.Second

// Membership changes who belongs to the cluster, one change at a time. Only the
// leader can; elsewhere its methods return a [*NotLeaderError]. They are safe for
// concurrent use.
type Membership struct {
	raft *raft.Raft
	turn chan struct{} // holds a value while a change is under way
}

// NewMembership returns the membership of a running raft, which the caller shuts
// down. A goroutine that waits for raft's answer may outlive a call whose context
// ended; it ends with that answer or with raft, and there is never more than one.
func NewMembership(r *raft.Raft) *Membership {
	return &Membership{raft: r, turn: make(chan struct{}, 1)}
}

// change is one step from a configuration to the next.
type change struct {
	kind    raft.ConfigurationChangeCommand
	id      raft.ServerID
	address raft.ServerAddress
	none    bool // the configuration is as wanted already
}

// AddOrUpdate makes a server a member under an address, or changes its address,
// and returns the suffrage it then has. A server that is no member becomes a
// nonvoter, so that it catches up before the others depend on it; see Promote. A vote
// is never taken away.
//
// An error that wraps [ErrRefused] says that another member has that address.
func (m *Membership) AddOrUpdate(ctx context.Context, id raft.ServerID, address raft.ServerAddress) (raft.ServerSuffrage, error) {
	err := m.change(ctx, func(configuration raft.Configuration) (change, error) {
		return planAdd(configuration, id, address)
	})
	if err != nil {
		return 0, fmt.Errorf("add server %s at %s: %w", id, address, err)
	}
	configuration, _, err := m.configuration()
	if err != nil {
		return 0, fmt.Errorf("add server %s at %s: %w", id, address, err)
	}
	for _, s := range configuration.Servers {
		if s.ID == id {
			return s.Suffrage, nil
		}
	}
	return 0, fmt.Errorf("add server %s at %s: it was removed at once", id, address)
}

// Promote gives a member its vote. One who has it is no error; one who is no member,
// perhaps no more, is refused.
func (m *Membership) Promote(ctx context.Context, id raft.ServerID) error {
	err := m.change(ctx, func(configuration raft.Configuration) (change, error) {
		return planPromote(configuration, id)
	})
	if err != nil {
		return fmt.Errorf("promote server %s: %w", id, err)
	}
	return nil
}

// Remove ends a membership. One who is no member is no error. A voter is not removed
// if fewer than minVoters would be left, nor is the last one.
func (m *Membership) Remove(ctx context.Context, id raft.ServerID, minVoters int) error {
	err := m.change(ctx, func(configuration raft.Configuration) (change, error) {
		return planRemove(configuration, id, minVoters)
	})
	if err != nil {
		return fmt.Errorf("remove server %s: %w", id, err)
	}
	return nil
}

// Fingerprint is a 64-bit hash of the ids of the voters, whatever their order:
// two configurations with the same fingerprint have the same majorities.
func Fingerprint(configuration raft.Configuration) uint64 {
	var ids []string
	for _, s := range configuration.Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	slices.Sort(ids)
	var text []byte
	for _, id := range ids {
		text = binary.AppendUvarint(text, uint64(len(id)))
		text = append(text, id...)
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:8])
}

// planAdd decides the next step towards the server being a member.
func planAdd(configuration raft.Configuration, id raft.ServerID, address raft.ServerAddress) (change, error) {
	if id == "" || address == "" {
		return change{}, fmt.Errorf("%w: a member needs an id and an address", ErrRefused)
	}
	present := raft.Server{Suffrage: raft.Nonvoter}
	for _, s := range configuration.Servers {
		switch {
		case s.ID == id:
			present = s
		case s.Address == address:
			return change{}, fmt.Errorf("%w: address %s belongs to member %[3]s; if that one is gone for good (its data folder was lost), remove it first: jeton operator raft remove-peer %[3]s --config FILE",
				ErrRefused, address, s.ID)
		}
	}
	switch {
	case present.Address == address:
		return change{none: true}, nil
	case present.Suffrage == raft.Voter:
		return change{kind: raft.AddVoter, id: id, address: address}, nil
	default:
		return change{kind: raft.AddNonvoter, id: id, address: address}, nil
	}
}

func planPromote(configuration raft.Configuration, id raft.ServerID) (change, error) {
	for _, s := range configuration.Servers {
		if s.ID == id {
			return change{kind: raft.AddVoter, id: id, address: s.Address, none: s.Suffrage == raft.Voter}, nil
		}
	}
	return change{}, fmt.Errorf("%w: it is no member", ErrRefused)
}

func planRemove(configuration raft.Configuration, id raft.ServerID, minVoters int) (change, error) {
	isMember, votes, otherVoters := false, false, 0
	for _, s := range configuration.Servers {
		switch {
		case s.ID == id:
			isMember, votes = true, s.Suffrage == raft.Voter
		case s.Suffrage == raft.Voter:
			otherVoters++
		}
	}
	switch {
	case !isMember:
		return change{none: true}, nil
	case otherVoters == 0:
		return change{}, fmt.Errorf("%w: no voter would be left", ErrRefused)
	case votes && otherVoters < minVoters:
		return change{}, fmt.Errorf("%w: %d voters would be left, fewer than %d", ErrRefused, otherVoters, minVoters)
	default:
		return change{kind: raft.RemoveServer, id: id}, nil
	}
}

// change plans on the latest configuration and makes the change only if that is
// still the latest.
func (m *Membership) change(ctx context.Context, plan func(raft.Configuration) (change, error)) error {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: another change of membership is under way: %w", ErrNotSent, ctx.Err())
	}
	future, err := m.plan(plan)
	if future == nil {
		<-m.turn
		return err
	}
	// raft's timeout covers the queueing only; the answer may never come.
	answer := make(chan error, 1)
	go func() {
		err := future.Error()
		<-m.turn
		answer <- err
	}()
	select {
	case err := <-answer:
		return m.translate(err)
	case <-ctx.Done():
		return fmt.Errorf("raft has not answered, the outcome is unknown: %w", ctx.Err())
	}
}

// plan starts the next change, if one is needed.
func (m *Membership) plan(plan func(raft.Configuration) (change, error)) (raft.IndexFuture, error) {
	if m.raft.State() != raft.Leader {
		return nil, m.notLeader()
	}
	configuration, index, err := m.configuration()
	if err != nil {
		return nil, err
	}
	next, err := plan(configuration)
	if err != nil || next.none {
		return nil, err
	}
	return m.start(next, index, queueTimeout), nil
}

func (m *Membership) start(next change, prevIndex uint64, timeout time.Duration) raft.IndexFuture {
	switch next.kind {
	case raft.AddVoter:
		return m.raft.AddVoter(next.id, next.address, prevIndex, timeout)
	case raft.AddNonvoter:
		return m.raft.AddNonvoter(next.id, next.address, prevIndex, timeout)
	case raft.RemoveServer, raft.DemoteVoter, raft.Promote:
	}
	return m.raft.RemoveServer(next.id, prevIndex, timeout)
}

// configuration reads raft's latest configuration, which raft answers from memory
// without its main loop.
func (m *Membership) configuration() (raft.Configuration, uint64, error) {
	future := m.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return raft.Configuration{}, 0, fmt.Errorf("read the configuration: %w", err)
	}
	return future.Configuration(), future.Index(), nil
}

// translate tells what certainly had no effect from what may yet have.
func (m *Membership) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return m.notLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrOverloaded, err)
	default:
		return fmt.Errorf("change of membership: %w", err)
	}
}

func (m *Membership) notLeader() error {
	address, _ := m.raft.LeaderWithID()
	return &NotLeaderError{Leader: address}
}
