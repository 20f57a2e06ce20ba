package fsm

// PutRole creates or replaces a role.
type PutRole struct {
	Header
	Role Role
}

// Kind implements [Command].
func (PutRole) Kind() Kind { return KindPutRole }

func (c PutRole) code(x *codec) Command {
	x.header(&c.Header)
	x.role(&c.Role)
	return c
}

func (c PutRole) apply(s *State) Outcome {
	s.rolesVersion++
	role := c.Role
	return Outcome{Existed: s.roles.put(&role)}
}

func (x *codec) role(v *Role) {
	text(x, &v.Name, MaxNameBytes)
	x.require(v.Name != "", "no role name")
	texts(x, &v.Cluster)
	texts(x, &v.RunAs)
	x.document(&v.Rest)
}
