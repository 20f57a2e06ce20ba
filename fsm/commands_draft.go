package fsm

// Initialize gives a new cluster its identity. Only the first one counts.
type Initialize struct {
	Header
	ClusterID [16]byte // random
	KeyCheck  [32]byte // fingerprint of the cluster key: a node with another key must not join
}

// Issue adds a pair (or, with a zero Refresh, an access token alone).
type Issue struct {
	Header
	Access             Digest
	Refresh            Digest // zero: no refresh token (client_credentials)
	Identity           Identity
	IdentityGeneration Generation // not zero: refuse StaleDecision unless the owner's record still has it and is enabled
	Client             Principal
	AccessLifetime     int64 // milliseconds
	RefreshLifetime    int64 // milliseconds; 0 without refresh token
	SessionLifetime    int64 // milliseconds from now to the end of the family; 0: no end
}

// Refresh consumes one refresh token and adds its successor pair.
type Refresh struct {
	Header
	Presented       Digest
	Client          Principal
	Salt            Salt
	Access          Digest // of the successor
	Refresh         Digest // of the successor
	AccessLifetime  int64  // milliseconds
	RefreshLifetime int64  // milliseconds
	Window          int64  // milliseconds in which a repetition by the same client gets the same successor
	KeepFamily      bool   // reuse after the window leaves the family alive (as Elasticsearch does)
}

// Invalidate ends tokens: one by digest (Access or Refresh), or all that match Realm and/or Username.
type Invalidate struct {
	Header
	Access   Digest
	Refresh  Digest
	Realm    RealmName
	Username Username
}

// PutUser creates or replaces a native user.
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

// DeleteUser removes a native user and ends all its tokens.
type DeleteUser struct {
	Header
	Username Username
}

// SetPassword replaces a native or reserved user's verifier and ends all the user's tokens.
type SetPassword struct {
	Header
	Realm       RealmName
	Username    Username
	Verifier    string
	OnlyIfUnset bool // the bootstrap password: never replaces a password that was set
}

// SetEnabled enables or disables a native or reserved user; disabling ends all its tokens.
type SetEnabled struct {
	Header
	Realm    RealmName
	Username Username
	Enabled  bool
}

// PutRole creates or replaces a role.
type PutRole struct {
	Header
	Role Role
}

// DeleteRole removes a role.
type DeleteRole struct {
	Header
	Name RoleName
}

// CollectExpired removes pairs that can no longer matter.
type CollectExpired struct {
	Header
	Limit uint32 // records at most
}
