package fsm

// PutUser creates or replaces a native user. A new password and Enabled=false end
// all the user's tokens; the password verifier may stay, everything else is replaced.
type PutUser struct {
	Header
	Username Username
	Verifier string // password verifier; empty: keep the present one
	Roles    []RoleName
	FullName *string
	Email    *string
	Metadata []byte
	Enabled  bool
}

// Kind implements [Command].
func (PutUser) Kind() Kind { return KindPutUser }

func (c PutUser) code(x *codec) Command {
	x.header(&c.Header)
	text(x, &c.Username, MaxNameBytes)
	x.require(c.Username != "", "no username")
	text(x, &c.Verifier, MaxVerifierBytes)
	texts(x, &c.Roles)
	x.optionalText(&c.FullName)
	x.optionalText(&c.Email)
	x.document(&c.Metadata)
	x.flag(&c.Enabled)
	return c
}

func (c PutUser) apply(s *State) Outcome {
	user := User{
		Username: c.Username,
		Realm:    RealmNative,
		Verifier: c.Verifier,
		Roles:    c.Roles,
		FullName: c.FullName,
		Email:    c.Email,
		Metadata: c.Metadata,
		Enabled:  c.Enabled,
	}
	present := s.users.find(RealmNative, c.Username)
	if c.Verifier == "" {
		if present == nil {
			return Outcome{Reason: PasswordRequired}
		}
		user.Verifier = present.Verifier
	}
	s.putUser(user)
	outcome := Outcome{Existed: present != nil}
	if c.Verifier != "" || !c.Enabled {
		outcome.count(s.pairs.endUser(RealmNative, c.Username, s.now))
	}
	return outcome
}
