package fsm

// DeleteUser removes a native user and ends all its tokens.
type DeleteUser struct {
	Header
	Username Username
}

// Kind implements [Command].
func (DeleteUser) Kind() Kind { return KindDeleteUser }

func (c DeleteUser) code(x *codec) Command {
	x.header(&c.Header)
	text(x, &c.Username, MaxNameBytes)
	x.require(c.Username != "", "no username")
	return c
}

func (c DeleteUser) apply(s *State) Outcome {
	if s.users.find(RealmNative, c.Username) == nil {
		return Outcome{}
	}
	s.users.remove(RealmNative, c.Username)
	outcome := Outcome{Existed: true}
	outcome.count(s.pairs.endUser(RealmNative, c.Username, s.now))
	return outcome
}
