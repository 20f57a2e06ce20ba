package fsm

// Level is the highest command-set level that this release understands. A release that
// adds a kind or a format, or changes what a command does, adds a level: State.level
// says whether the change holds yet. Level 1 is the first release's.
const Level = 1

// RaiseLevel raises the command-set level, which never falls. The leader proposes it
// when every member understands the level, so that none meets what it does not know.
// A level that is reached already is no refusal.
type RaiseLevel struct {
	Header
	Level uint64 // not 0
}

// Kind implements [Command].
func (RaiseLevel) Kind() Kind { return KindRaiseLevel }

func (c RaiseLevel) code(x *codec) Command {
	x.header(&c.Header)
	x.uint(&c.Level, 1<<32)
	x.require(c.Level != 0, "no level")
	return c
}

func (c RaiseLevel) apply(s *State) Outcome {
	s.level = max(s.level, c.Level)
	return Outcome{}
}

// Level returns the command-set level from which on a command of this kind may be
// proposed: a member that knows less would not understand it.
func (k Kind) Level() uint64 {
	switch k {
	case KindInitialize, KindIssue, KindRefresh, KindInvalidate, KindPutUser, KindDeleteUser, KindSetPassword, KindSetEnabled,
		KindPutRole, KindDeleteRole, KindCollectExpired, KindLease, KindRestoreChunk, KindRestore, KindRaiseLevel:
		return 1
	}
	return 1 << 32 // beyond every level
}

// Level returns the command-set level that the state has reached.
func (f *FSM) Level() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.level
}
