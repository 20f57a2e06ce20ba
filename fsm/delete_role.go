package fsm

// DeleteRole removes a role.
type DeleteRole struct {
	Header
	Name RoleName
}

// Kind implements [Command].
func (DeleteRole) Kind() Kind { return KindDeleteRole }

func (c DeleteRole) code(x *codec) Command {
	x.header(&c.Header)
	text(x, &c.Name, MaxNameBytes)
	x.require(c.Name != "", "no role name")
	return c
}

func (c DeleteRole) apply(s *State) Outcome {
	if !s.roles.remove(c.Name) {
		return Outcome{}
	}
	s.rolesVersion++
	return Outcome{Existed: true}
}
