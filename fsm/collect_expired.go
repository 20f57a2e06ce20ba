package fsm

// CollectExpired removes pairs that can no longer matter: both tokens expired a
// [Retention] ago. The leader proposes it from time to time.
type CollectExpired struct {
	Header
	Limit uint32 // pairs at most; 1 to MaxCollect
}

// Kind implements [Command].
func (CollectExpired) Kind() Kind { return KindCollectExpired }

func (c CollectExpired) code(x *codec) Command {
	x.header(&c.Header)
	x.count(&c.Limit)
	x.require(c.Limit > 0 && c.Limit <= MaxCollect, "limit out of range")
	return c
}

func (c CollectExpired) apply(s *State) Outcome {
	s.operations.trim(s.now, int(c.Limit))
	return Outcome{Collected: s.pairs.collect(s.now, c.Limit)}
}
