package fsm

// What the decoders accept at most. The lists and texts of one command share
// MaxCommandBytes besides.
const (
	MaxCommandBytes  = 60 << 10 // one command, so that it fits into an entry whatever else is there
	MaxEntryBytes    = 64 << 10 // one raft entry; entries of over 512 KiB endanger raft's heartbeats
	MaxCommands      = 256      // commands in one entry
	MaxNameBytes     = 2048     // a user, realm, role or privilege name; Elasticsearch's 507 characters fit
	MaxTextBytes     = 8 << 10  // a full name or e-mail address
	MaxVerifierBytes = 1024     // a password verifier
	MaxDocumentBytes = 48 << 10 // a user's metadata; what is kept beside a role's privileges
	MaxListLength    = 4096     // roles of a user, privileges of a role
	MaxCollect       = 10_000   // pairs that one CollectExpired may remove: tens of milliseconds
)

// Spans, in milliseconds of the state's time.
const (
	// OperationMemory is how long the outcome of an operation is remembered. A
	// proposer repeats a command until its request's deadline, at most a minute.
	OperationMemory = 5 * 60_000

	// MaxRefreshWindow bounds Refresh.Window: a successor's salt is kept as long
	// as the operation that brought it.
	MaxRefreshWindow = OperationMemory

	// Retention is how long a pair stays after both its tokens have expired: an
	// expired token is told from an unknown one, and the place of a pair is not
	// given away while an operation on it is remembered.
	Retention = 2 * OperationMemory

	// MaxLease bounds how long a node answers reads without asking the others.
	MaxLease = 5000

	MaxAccessLifetime  = 30 * 24 * 3_600_000       // 30 days
	MaxRefreshLifetime = 10 * 365 * 24 * 3_600_000 // 10 years; also of a session

	// MaxMoment is in the year 6429; a lifetime after it still fits into 48 bits.
	MaxMoment UnixMilli = 1 << 47
)

const (
	// maxCounter bounds what counts the changes of a state, so that none of it ever begins
	// anew: no state gets there.
	maxCounter = 1 << 63
	// maxRestored bounds the same in what a [Restore] brings, which people can make: what is
	// taken over must not get to where the next snapshot could not be read.
	maxRestored = 1 << 62
)
