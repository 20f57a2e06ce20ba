package fsm

// UnixMilli is a moment in milliseconds since 1970-01-01T00:00:00Z. Zero means
// "no such moment". It is the only time the state machine knows; see [Entry].
type UnixMilli int64

// Digest identifies a token on the log and in the state: the first 192 bits of
// the SHA-256 of the token as the client holds it. The token itself is never
// replicated. The zero Digest means "no token".
type Digest [24]byte

// OperationID names one request to change the state. It is drawn at random by
// the proposer, once, and stays the same however often the command is proposed.
type OperationID [16]byte

// Salt is the random input from which, together with the presented refresh
// token and the cluster key, a successor pair is derived.
type Salt [16]byte

// Generation counts the changes of one user's record. Zero stands for a user
// whose record is not replicated (the file realm).
type Generation uint64

// Names that must not be mixed up have types of their own.
type (
	// Username is a user's name in its realm.
	Username string
	// RealmName is the name of a realm in the chain.
	RealmName string
	// RoleName is the name of a role, which may or may not be defined.
	RoleName string
)

// The realms whose users live in the replicated state.
const (
	RealmReserved RealmName = "reserved"
	RealmNative   RealmName = "default_native"
)

// Realm is where a user was found: its name in the chain and its type
// ("reserved", "native", "file").
type Realm struct {
	Name RealmName
	Type string
}

// Principal is a user as one realm knows it.
type Principal struct {
	Username Username
	Realm    Realm
}

// Identity is what a token carries: its owner as of the login, and what of the
// owner's rights the token has.
type Identity struct {
	Principal
	Roles    []RoleName // as assigned at login; never nil after decoding
	FullName *string    // nil: null
	Email    *string    // nil: null
	Metadata []byte     // a compact JSON object; empty means {}

	// Scope narrows: of what the roles allow, only what these cluster privileges grant
	// too. Nil: not narrowed. Else in ascending order, each once, and never empty.
	Scope []string
	// RunBy is who authenticated and acts as this user. Nil: the user itself.
	RunBy *Actor
}

// Actor is a user who acts as another one (run-as; the actor of RFC 8693, 4.1).
type Actor struct {
	Principal
	Roles      []RoleName // by which it may, as of its login; never nil after decoding
	Generation Generation // of its record then; zero if it has none
}

// Client is who obtained a pair and alone may refresh it: the authenticated
// caller, and the user that acted as it. It is comparable.
type Client struct {
	Principal
	RunBy Principal // zero: nobody, the client authenticated itself
}
