package fsm

// User is a replicated user's record. The values reached through it are shared
// and immutable.
type User struct {
	Username   Username
	Realm      RealmName
	Verifier   string // Elasticsearch's self-describing format; empty: no password set
	Roles      []RoleName
	FullName   *string
	Email      *string
	Metadata   []byte
	Enabled    bool
	Generation Generation
}

// Role is a role's definition. Cluster holds the cluster privileges, Rest what a
// client stored beside them (a compact JSON object, returned as it came).
type Role struct {
	Name    RoleName
	Cluster []string
	RunAs   []string
	Rest    []byte
}

// Token is one pair as its access or refresh token finds it. The identity and the
// client are shared and immutable.
type Token struct {
	Identity           *Identity
	Client             *Client
	CreatedAt          UnixMilli
	AccessExpiresAt    UnixMilli // valid at this very moment, invalid after
	RefreshExpiresAt   UnixMilli // zero: no refresh token; the session's end is included
	SessionEndsAt      UnixMilli // zero: the family has no end; else no token of it lives longer
	AccessInvalidated  bool
	RefreshInvalidated bool
	Refreshed          bool
	MadeFromToken      bool // AccessInvalidated also if the token that it was made from is
}
