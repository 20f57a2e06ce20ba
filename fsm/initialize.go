package fsm

// Initialize gives a new cluster its identity. Only the first one counts.
type Initialize struct {
	Header
	ClusterID [16]byte // random
	KeyCheck  [32]byte // fingerprint of the cluster key: a node with another key must not join
}

// Kind implements [Command].
func (Initialize) Kind() Kind { return KindInitialize }

func (c Initialize) code(x *codec) Command {
	x.header(&c.Header)
	x.raw(c.ClusterID[:])
	x.require(c.ClusterID != [16]byte{}, "no cluster id")
	x.raw(c.KeyCheck[:])
	return c
}

func (c Initialize) apply(s *State) Outcome {
	if s.clusterID != [16]byte{} {
		return Outcome{Reason: AlreadySet}
	}
	s.clusterID, s.keyCheck = c.ClusterID, c.KeyCheck
	return Outcome{}
}
