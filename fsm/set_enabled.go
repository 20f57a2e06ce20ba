package fsm

// SetEnabled enables or disables a native or reserved user; disabling ends all
// its tokens. A reserved user's record begins here, without a password.
type SetEnabled struct {
	Header
	Realm    RealmName
	Username Username
	Enabled  bool
}

// Kind implements [Command].
func (SetEnabled) Kind() Kind { return KindSetEnabled }

func (c SetEnabled) code(x *codec) Command {
	x.header(&c.Header)
	x.replicatedUser(&c.Realm, &c.Username)
	x.flag(&c.Enabled)
	return c
}

func (c SetEnabled) apply(s *State) Outcome {
	user, ok := s.users.change(c.Realm, c.Username)
	if !ok {
		return Outcome{Reason: UnknownUser}
	}
	user.Enabled = c.Enabled
	s.putUser(user)
	var outcome Outcome
	if !c.Enabled {
		outcome.count(s.pairs.endUser(c.Realm, c.Username, s.now))
	}
	return outcome
}
