package token

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"time"

	"jeton/fsm"
	"jeton/node/realm"
)

// MinClusterKeyBytes is the least length of a cluster key: 256 bits.
const MinClusterKeyBytes = 32

// Log decides on commands, in one order for all nodes. Safe for concurrent use.
type Log interface {
	// Propose returns the state machine's outcome. It retries by itself, which the
	// operation id in the command makes safe; its errors are [ErrUnavailable] (the command may or may not take effect) and
	// [ErrOverloaded] (it certainly does not).
	Propose(ctx context.Context, c fsm.Command) (fsm.Outcome, error)
}

// View is this node's copy of the state, possibly late. Safe for concurrent use.
type View interface {
	AccessToken(fsm.Digest) (fsm.Token, bool)
	RefreshToken(fsm.Digest) (fsm.Token, bool)
	// List returns the next pairs of a listing and where it goes on.
	List(fsm.Listing) ([]fsm.Listed, fsm.Position)
	RolesVersion() uint64
	// Now is the largest time on the log, which no clock can make wrong.
	Now() fsm.UnixMilli
}

// Realms know the users, and judge by this node's copy of the state. Safe for
// concurrent use.
type Realms interface {
	// Authenticate fails with [realm.ErrBadCredentials] for a wrong password, an
	// unknown user and a disabled one. Asking twice costs one hash at most.
	Authenticate(ctx context.Context, username string, password realm.Secret) (realm.Login, error)
	// RunAs finds the user as whom a caller wants to act, or fails with [realm.ErrRunAs].
	RunAs(caller *fsm.Identity, name fsm.Username) (realm.Login, error)
	// MayRun tells whether the actor of an identity may still act as it.
	MayRun(identity *fsm.Identity) bool
}

// Config is what a Service needs. Fields without a word about zero are required.
type Config struct {
	Log    Log
	View   View
	Realms Realms
	// Confirm returns once View holds everything acknowledged before the call, or
	// fails with ErrUnavailable.
	Confirm func(ctx context.Context) error
	// KnowsRevocations tells, without asking anybody, whether View includes every
	// revocation of that access token, or of its identity's rights, which was acknowledged
	// before the call. Nil: it never does.
	KnowsRevocations func(access fsm.Digest, identity *fsm.Identity) bool
	// Now is the cluster's time: never behind the time in the state.
	Now func() time.Time
	// Random yields the bits of tokens and salts, concurrently. Nil: crypto/rand.
	Random io.Reader
	// Enabled switches the token service on. If false, every token is unknown, the
	// other use cases fail with ErrDisabled, and the fields below are not looked at.
	Enabled bool
	// ClusterKey is the same on all nodes, secret, and at least MinClusterKeyBytes
	// long. It is copied.
	ClusterKey []byte
	// AccessLifetime and RefreshLifetime count from the issue of each pair. The most
	// that spans may be is in package fsm.
	AccessLifetime, RefreshLifetime time.Duration
	// SessionLifetime counts from a login to the end of all pairs that come of it.
	// Zero: no end.
	SessionLifetime time.Duration
	// RefreshWindow is how long after its first use a refresh token still yields the
	// same successor pair. Zero: not at all.
	RefreshWindow time.Duration
	// KeepFamilyOnReuse leaves a family alive when one of its refresh tokens is used
	// again after the window. Zero: the family ends.
	KeepFamilyOnReuse bool
}

// Service is the token service of one node. Its methods are safe for concurrent
// use; their context is the caller's patience.
type Service struct {
	log     Log
	view    View
	realms  Realms
	confirm func(context.Context) error
	knows   func(fsm.Digest, *fsm.Identity) bool
	now     func() time.Time
	random  io.Reader

	enabled    bool
	clusterKey []byte
	access     time.Duration
	refresh    time.Duration
	session    time.Duration
	window     time.Duration
	keepFamily bool
}

// New returns a Service. It reports every problem of c.
func New(c Config) (*Service, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.KnowsRevocations == nil {
		c.KnowsRevocations = func(fsm.Digest, *fsm.Identity) bool { return false }
	}
	return &Service{
		log: c.Log, view: c.View, realms: c.Realms, confirm: c.Confirm, knows: c.KnowsRevocations, now: c.Now, random: c.Random,
		enabled: c.Enabled, clusterKey: slices.Clone(c.ClusterKey),
		access: c.AccessLifetime, refresh: c.RefreshLifetime, session: c.SessionLifetime,
		window: c.RefreshWindow, keepFamily: c.KeepFamilyOnReuse,
	}, nil
}

// Enabled tells whether the token service is switched on.
func (s *Service) Enabled() bool { return s.enabled }

func (c *Config) check() error {
	var problems []error
	require := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, errors.New("token service: "+problem))
		}
	}
	require(c.Log != nil, "no log")
	require(c.View != nil, "no view")
	require(c.Realms != nil, "no realms")
	require(c.Confirm != nil, "no way to confirm reads")
	require(c.Now != nil, "no clock")
	if c.Enabled {
		require(len(c.ClusterKey) >= MinClusterKeyBytes, "the cluster key is shorter than 32 bytes")
		span := func(what string, d, least time.Duration, mostMillis int64) {
			require(d >= least && d.Milliseconds() <= mostMillis, "the "+what+" is out of range")
		}
		span("access token lifetime", c.AccessLifetime, time.Millisecond, fsm.MaxAccessLifetime)
		span("refresh token lifetime", c.RefreshLifetime, time.Millisecond, fsm.MaxRefreshLifetime)
		span("session lifetime", c.SessionLifetime, 0, fsm.MaxRefreshLifetime)
		span("refresh window", c.RefreshWindow, 0, fsm.MaxRefreshWindow)
	}
	return errors.Join(problems...)
}
