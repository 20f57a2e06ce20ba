package cluster

import (
	"errors"
	"fmt"
)

// A lineage tells the copies of a cluster apart that a recovery from one survivor makes:
// that of the survivor, and that of members which were taken for lost and come back with
// the data they had. Those still count the survivor as a voter, and its log and theirs
// hold different entries under equal terms and indexes. So raft must never speak across,
// in neither direction: a vote or an acknowledgement from the other side would count for
// a log that it is not of.
//
// Every request of raft's has one end that dials. That end reads in the hello who lives at
// the address and of which lineage, and goes no further unless it is of the same. The end
// that was dialled hands the connection to raft only if what its hello said still holds,
// and then holds for good. A [Client] proposes with its lineage, and a service of another
// refuses. Questions about a node, and requests to join, are for all: who was left behind
// must be able to learn it.
const lineageSize = 16

// unsettled is the lineage of a node that has not read its own yet, and in a proposal
// that of a process which is no member, and takes whoever leads.
func unsettled() (lineage [lineageSize]byte) {
	for i := range lineage {
		lineage[i] = 0xff
	}
	return lineage
}

// errLineage is why raft does not talk to a member of another lineage.
var errLineage = errors.New("another lineage")

// related tells whether raft may dial a member of that lineage.
func (d *dialer) related(found [lineageSize]byte) error {
	own := d.lineage()
	if found == own && own != unsettled() {
		return nil
	}
	if found == unsettled() {
		return fmt.Errorf("%w: it is starting", errLineage)
	}
	d.foreign(found)
	return fmt.Errorf("%w: the cluster was recovered from one survivor, and one of the two still has data from before", errLineage)
}

// cutLineage takes the lineage off a body.
func cutLineage(b []byte) (lineage [lineageSize]byte, rest []byte, err error) {
	if len(b) < lineageSize {
		return lineage, nil, fmt.Errorf("%w: no lineage", errMessage)
	}
	return [lineageSize]byte(b), b[lineageSize:], nil
}

// akin refuses what a node of another lineage proposes: it decided by a state that is not
// this cluster's.
func (s *Service) akin(theirs [lineageSize]byte) error {
	if theirs != unsettled() && theirs != s.cfg.Lineage() {
		return fmt.Errorf("%w: %w", ErrRefused, errLineage)
	}
	return nil
}
