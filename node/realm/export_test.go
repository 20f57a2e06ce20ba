package realm

import (
	"context"
	"crypto/rand"

	"jeton/fsm"
)

// MaxWrongVerdicts and MaxRightVerdicts are the sizes of the two memories.
const (
	MaxWrongVerdicts = maxWrongVerdicts
	MaxRightVerdicts = maxRightVerdicts
)

// Matcher is what does the work of checking a password.
type Matcher = matchFunc

// WrapMatcher puts something around the hashing that a chain does.
func (c *Chain) WrapMatcher(wrap func(Matcher) Matcher) {
	c.verdicts.matches = wrap(c.verdicts.matches)
}

// Remembered counts the verdicts that a chain holds.
func (c *Chain) Remembered() (right, wrong int) {
	right, wrong = len(c.verdicts.right.expiry), len(c.verdicts.wrong.expiry)
	if right != len(c.verdicts.right.order) || wrong != len(c.verdicts.wrong.order) {
		panic("a memory and its order differ")
	}
	return right, wrong
}

// MatchesName matches a pattern of user names.
func MatchesName(pattern, name string) bool { return matchesName(pattern, name) }

// NewBoundedHasher is a hasher with a given number of workers and places to wait.
func NewBoundedHasher(workers, waiting int) *Hasher {
	a := algorithm{scheme: schemeBcrypt, cost: minBcryptCost}
	dummy, err := dummyVerifier(a, rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Hasher{algorithm: a, dummy: dummy, queue: newQueue(workers, waiting)}
}

// Acquire and Release take and free a worker; NewVerifier and Matches use one.
func (h *Hasher) Acquire(ctx context.Context, name fsm.Username) error {
	return h.queue.acquire(ctx, h.queue.laneOf(name))
}

// AcquireForNewPassword takes a worker like who sets a password.
func (h *Hasher) AcquireForNewPassword(ctx context.Context) error {
	return h.queue.acquire(ctx, newPasswords)
}

// Lane tells which names share one.
func (h *Hasher) Lane(name fsm.Username) uint64 { return h.queue.laneOf(name) }

// Release frees a worker.
func (h *Hasher) Release() { h.queue.release() }

// NewVerifier hashes a password.
func (h *Hasher) NewVerifier(ctx context.Context, password Secret) (string, error) {
	return h.newVerifier(ctx, password)
}

// Matches checks a password.
func (h *Hasher) Matches(ctx context.Context, encoded string, password Secret) (bool, error) {
	return h.matches(ctx, "", encoded, password)
}

// VerifierAlgorithm names the algorithm of a verifier.
func VerifierAlgorithm(encoded string) (string, error) {
	v, err := parseVerifier(encoded)
	return v.String(), err
}

// AlgorithmName translates the value of the setting.
func AlgorithmName(setting string) (string, error) {
	a, err := parseAlgorithm(setting)
	return a.String(), err
}

// DummyVerifier makes the verifier of no password.
func DummyVerifier(setting string) (string, error) {
	a, err := parseAlgorithm(setting)
	if err != nil {
		return "", err
	}
	return dummyVerifier(a, rand.Reader)
}

// IsBuiltin reports whether a role is built in.
func IsBuiltin(name fsm.RoleName) bool { return builtin(name) != nil }

// MatchesPattern and PrivilegesFor are the pure part of authorization.
var (
	MatchesPattern = matchesPattern
	PrivilegesFor  = privilegesFor
)
