package fsm

// SetPassword replaces a native or reserved user's verifier and ends all the
// user's tokens. A reserved user's record begins here: enabled, without roles.
type SetPassword struct {
	Header
	Realm       RealmName
	Username    Username
	Verifier    string
	OnlyIfUnset bool // the bootstrap password: never replaces a password that was set
}

// Kind implements [Command].
func (SetPassword) Kind() Kind { return KindSetPassword }

func (c SetPassword) code(x *codec) Command {
	x.header(&c.Header)
	x.replicatedUser(&c.Realm, &c.Username)
	text(x, &c.Verifier, MaxVerifierBytes)
	x.require(c.Verifier != "", "no verifier")
	x.flag(&c.OnlyIfUnset)
	return c
}

func (c SetPassword) apply(s *State) Outcome {
	user, ok := s.users.change(c.Realm, c.Username)
	if !ok {
		return Outcome{Reason: UnknownUser}
	}
	if c.OnlyIfUnset && user.Verifier != "" {
		return Outcome{Reason: AlreadySet}
	}
	user.Verifier = c.Verifier
	s.putUser(user)
	var outcome Outcome
	outcome.count(s.pairs.endUser(c.Realm, c.Username, s.now))
	return outcome
}

// replicatedUser codes a user whose record may be in the state.
func (x *codec) replicatedUser(realm *RealmName, username *Username) {
	text(x, realm, MaxNameBytes)
	x.require(*realm == RealmNative || *realm == RealmReserved, "users of this realm are not replicated")
	text(x, username, MaxNameBytes)
	x.require(*username != "", "no username")
}
