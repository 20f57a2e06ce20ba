package node

import (
	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// voter is one member whose answer counts.
type voter struct {
	id      raft.ServerID
	address raft.ServerAddress
	self    bool
}

// poll counts the answers of one round. The proof holds when a majority of the
// voters is in one term, each answer given after the round began, and that term's
// leader is among them, has applied everything earlier terms committed (its
// barrier), and counts the same voters:
//
//   - A write acknowledged before the round in a later term would have been
//     committed by a majority of that term; it shares a voter with ours, and that
//     voter would not have named the earlier term afterwards.
//   - A write acknowledged before the round in this term was applied by this
//     leader before it named its index.
//   - A write acknowledged in an earlier term is in the leader's log (Leader
//     Completeness) and was applied before its barrier ended.
//
// VerifyLeader of hashicorp/raft proves none of this: it takes answers to
// questions asked earlier, and counts non-voters.
type poll struct {
	members     map[raft.ServerID]bool // voter -> has answered
	fingerprint uint64
	terms       map[uint64]int
	leader      cluster.Confirmation // of the highest term heard of
}

func newPoll(voters []voter) *poll {
	p := &poll{members: make(map[raft.ServerID]bool, len(voters)), terms: make(map[uint64]int, 1)}
	for _, v := range voters {
		p.members[v.id] = false
	}
	p.fingerprint = fingerprintOf(voters)
	return p
}

func fingerprintOf(voters []voter) uint64 {
	servers := make([]raft.Server, len(voters))
	for i, v := range voters {
		servers[i] = raft.Server{ID: v.id, Suffrage: raft.Voter}
	}
	return cluster.Fingerprint(raft.Configuration{Servers: servers})
}

// missing is how many answers of other voters a quorum needs.
func (p *poll) missing() int {
	quorum := len(p.members)/2 + 1
	for _, answered := range p.members {
		if answered {
			quorum--
		}
	}
	return quorum
}

// count adds an answer and tells whether the proof is complete: whoever has applied
// the entry that the leader named may answer.
func (p *poll) count(answer cluster.Confirmation) (complete bool) {
	if answered, member := p.members[answer.ServerID]; !member || answered || !answer.Voter {
		return false
	}
	p.members[answer.ServerID] = true
	p.terms[answer.Term]++
	if answer.Leader && answer.Voters == p.fingerprint && answer.Term >= p.leader.Term {
		p.leader = answer
	}
	quorum := len(p.members)/2 + 1
	return p.leader.Leader && p.terms[p.leader.Term] >= quorum
}
