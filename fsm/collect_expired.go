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
	limit := uint64(c.Limit)
	x.uint(&limit, MaxCollect)
	x.require(limit > 0, "limit of zero")
	c.Limit = uint32(limit) //nolint:gosec // within MaxCollect
	return c
}

func (c CollectExpired) apply(s *State) Outcome {
	s.operations.trim(s.now, int(c.Limit))
	return Outcome{Collected: s.pairs.collect(s.now, c.Limit)}
}
