package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// The keys that raft uses for its vote, and the one key under which it is kept.
const (
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
	keyVote          = "jeton.vote"
)

// voteFormat is the first byte of a stored vote.
const voteFormat = 1

// errNotFound has the text that raft compares the errors of a StableStore with.
var errNotFound = errors.New("not found")

// voteStore is a raft.StableStore that makes raft's vote atomic; see [NewVoteStore].
type voteStore struct {
	raft.StableStore
	term      uint64 // of the vote whose candidate has not come yet
	voting    bool
	current   vote
	haveVoted bool
}

type vote struct {
	term      uint64
	candidate []byte
}

// NewVoteStore wraps a store so that raft's vote is atomic. A vote that raft wrote
// into the store by itself is taken over.
//
// Raft writes the term of a vote and its candidate one after the other. A crash
// in between leaves the new term with the candidate of an older one, and when
// that candidate asks in the new term, it gets the vote without a look at its log
// (hashicorp/raft #661). Here the term waits in memory until the candidate comes,
// and both are written as one value, hence in one transaction of the store
// beneath. A crash in between loses a vote that nobody was told of.
//
// Like the stable store beneath, it is for raft's main loop alone: its use of the
// vote's keys is not safe for concurrent use.
func NewVoteStore(store raft.StableStore) (raft.StableStore, error) {
	s := &voteStore{StableStore: store}
	raw, err := store.Get([]byte(keyVote))
	switch {
	case err != nil && !isNotFound(err):
		return nil, fmt.Errorf("read the last vote: %w", err)
	case len(raw) > 0:
		if s.current, err = decodeVote(raw); err != nil {
			return nil, err
		}
		s.haveVoted = true
		return s, nil
	default:
		return s, s.takeOver()
	}
}

// takeOver moves a vote from raft's own keys to ours.
func (s *voteStore) takeOver() error {
	term, err := s.StableStore.GetUint64([]byte(keyVoteTerm))
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("read the last vote: %w", err)
	}
	candidate, err := s.StableStore.Get([]byte(keyVoteCandidate))
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("read the last vote: %w", err)
	}
	if term == 0 || len(candidate) == 0 {
		return nil
	}
	return s.write(vote{term, candidate})
}

// SetUint64 implements raft.StableStore.
func (s *voteStore) SetUint64(key []byte, value uint64) error {
	if string(key) != keyVoteTerm {
		return s.StableStore.SetUint64(key, value) //nolint:wrapcheck // raft sees the store's own error
	}
	s.term, s.voting = value, true
	return nil
}

// Set implements raft.StableStore.
func (s *voteStore) Set(key, value []byte) error {
	if string(key) != keyVoteCandidate {
		return s.StableStore.Set(key, value) //nolint:wrapcheck // raft sees the store's own error
	}
	if !s.voting {
		return errors.New("vote store: a candidate without a term")
	}
	s.voting = false
	return s.write(vote{s.term, value})
}

// GetUint64 implements raft.StableStore.
func (s *voteStore) GetUint64(key []byte) (uint64, error) {
	if string(key) != keyVoteTerm {
		return s.StableStore.GetUint64(key) //nolint:wrapcheck // raft compares the text
	}
	if !s.haveVoted {
		return 0, errNotFound
	}
	return s.current.term, nil
}

// Get implements raft.StableStore.
func (s *voteStore) Get(key []byte) ([]byte, error) {
	if string(key) != keyVoteCandidate {
		return s.StableStore.Get(key) //nolint:wrapcheck // raft compares the text
	}
	if !s.haveVoted {
		return nil, errNotFound
	}
	return s.current.candidate, nil
}

func (s *voteStore) write(v vote) error {
	raw := make([]byte, 0, 9+len(v.candidate))
	raw = append(raw, voteFormat)
	raw = binary.BigEndian.AppendUint64(raw, v.term)
	raw = append(raw, v.candidate...)
	if err := s.StableStore.Set([]byte(keyVote), raw); err != nil {
		return fmt.Errorf("store a vote: %w", err)
	}
	s.current, s.haveVoted = vote{v.term, raw[9:]}, true
	return nil
}

func decodeVote(raw []byte) (vote, error) {
	if len(raw) < 10 || raw[0] != voteFormat {
		return vote{}, errors.New("the last vote in the store is unreadable")
	}
	return vote{binary.BigEndian.Uint64(raw[1:9]), raw[9:]}, nil
}

// isNotFound tells a missing key from a failed read the way raft does: stores
// agree on the text only.
func isNotFound(err error) bool { return err != nil && err.Error() == errNotFound.Error() }
