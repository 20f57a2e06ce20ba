package fsm

// Revocation is what a command may end: tokens, or the rights of users. The zero
// value ends nothing.
type Revocation struct {
	Any      bool      // it may end anything
	Access   Digest    // it may end this access token
	Realm    RealmName // with Username: it may end all that is this user's; alone: this realm's
	Username Username  // alone: of this name in any realm
	// Presented is a refresh token that is consumed. The command ends its family,
	// whatever that is, if the token was consumed before.
	Presented Digest
}

// Ends tells whether the access token of that identity may be ended. What befalls a
// user also befalls the tokens by which it acts as another one.
func (r *Revocation) Ends(access Digest, identity *Identity) bool {
	switch {
	case r.Any, r.Access != Digest{} && r.Access == access:
		return true
	case r.Realm == "" && r.Username == "":
		return false
	}
	return r.befalls(identity.Principal) || identity.RunBy != nil && r.befalls(identity.RunBy.Principal)
}

func (r *Revocation) befalls(p Principal) bool {
	return (r.Realm == "" || r.Realm == p.Realm.Name) && (r.Username == "" || r.Username == p.Username)
}

// Revokes tells whether commands of that kind take something from somebody, so
// that all holders of read leases must know of it before it is acknowledged. A
// Refresh does only if it finds a reuse, which its outcome tells.
func (k Kind) Revokes() bool {
	switch k {
	case KindInitialize, KindIssue, KindRefresh, KindCollectExpired, KindLease, KindRestoreChunk, KindRaiseLevel:
		return false
	case KindInvalidate, KindPutUser, KindDeleteUser, KindSetPassword, KindSetEnabled, KindPutRole, KindDeleteRole, KindRestore:
		return true
	}
	return true
}

// Revocations calls visit with what the commands of an encoded entry may end. Of an
// entry that cannot be read that is anything. Most entries are only skimmed.
func Revocations(entry []byte, visit func(Revocation)) {
	all := Revocation{Any: true}
	if len(entry) == 0 || entry[0] != entryFormat {
		visit(all)
		return
	}
	var at int64
	x := codec{buf: entry[1:], reading: true}
	x.millis(&at, uint64(MaxMoment))
	for range x.length(0, MaxCommands) {
		encoded := x.take(x.length(0, MaxCommandBytes))
		if len(encoded) == 0 {
			break
		}
		if kind := Kind(encoded[0]); kind != KindRefresh && !kind.Revokes() {
			continue
		}
		c, err := DecodeCommand(encoded)
		if err != nil {
			visit(all)
			continue
		}
		revocationsOf(c, visit)
	}
	if x.err != nil {
		visit(all)
	}
}

func revocationsOf(c Command, visit func(Revocation)) {
	switch c := c.(type) {
	case Refresh:
		visit(Revocation{Presented: c.Presented})
	case Invalidate:
		c.revocations(visit)
	case PutUser:
		visit(Revocation{Realm: RealmNative, Username: c.Username})
	case DeleteUser:
		visit(Revocation{Realm: RealmNative, Username: c.Username})
	case SetPassword:
		visit(Revocation{Realm: c.Realm, Username: c.Username})
	case SetEnabled:
		visit(Revocation{Realm: c.Realm, Username: c.Username})
	default: // roles, and a restore
		visit(Revocation{Any: true})
	}
}

func (c Invalidate) revocations(visit func(Revocation)) {
	switch {
	case c.Realm != "" || c.Username != "":
		visit(Revocation{Realm: c.Realm, Username: c.Username})
	case c.All, c.Reach == ReachFamily, c.Reach == ReachPair && c.Refresh != Digest{}:
		visit(Revocation{Any: true}) // which access tokens those are only the state can tell
	case c.Access != Digest{}:
		visit(Revocation{Access: c.Access})
	default: // a refresh token alone ends no access token
		for _, d := range c.Pairs {
			visit(Revocation{Access: d})
		}
	}
}
