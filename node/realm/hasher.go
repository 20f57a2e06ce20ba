package realm

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"

	"jeton/fsm"
)

// maxWaitingPerWorker bounds the queue in front of each worker: at bcrypt's default
// cost about five seconds of work. Who would wait longer is told so at once.
const maxWaitingPerWorker = 64

// Hasher does the slow work on passwords: not more at a time than the machine can
// bear, with a bounded and fair queue. Its methods are safe for concurrent use.
type Hasher struct {
	algorithm algorithm
	dummy     string // what an unknown user's password is checked against
	queue     *queue
}

// NewHasher makes new verifiers with the given algorithm, one of Elasticsearch's
// names (bcrypt, bcrypt4 to bcrypt14, pbkdf2, pbkdf2_1000, pbkdf2_stretch, ...); it
// checks passwords against verifiers of every supported algorithm.
//
// It uses all cores but one: hashes are long, and with a hash on each core the
// consensus would wait for the scheduler.
func NewHasher(algorithmName string) (*Hasher, error) {
	a, err := parseAlgorithm(algorithmName)
	if err != nil {
		return nil, err
	}
	dummy, err := dummyVerifier(a, rand.Reader)
	if err != nil {
		return nil, err
	}
	workers := max(1, runtime.GOMAXPROCS(0)-1)
	return &Hasher{
		algorithm: a,
		dummy:     dummy,
		queue:     newQueue(workers, workers*maxWaitingPerWorker),
	}, nil
}

// newVerifier hashes a new password, whose length the caller has checked.
func (h *Hasher) newVerifier(ctx context.Context, password Secret) (string, error) {
	if err := h.queue.acquire(ctx, newPasswords); err != nil {
		return "", err
	}
	defer h.queue.release()
	return makeVerifier(h.algorithm, password, rand.Reader)
}

// matches checks a password that was presented for a user name against a verifier.
func (h *Hasher) matches(ctx context.Context, name fsm.Username, encoded string, password Secret) (bool, error) {
	v, err := parseVerifier(encoded)
	if err != nil {
		return false, err
	}
	if err := h.queue.acquire(ctx, h.queue.laneOf(name)); err != nil {
		return false, err
	}
	defer h.queue.release()
	return v.matches(password)
}

// accept checks a verifier that a client brings along.
func (h *Hasher) accept(encoded string) error {
	v, err := parseVerifier(encoded)
	if err != nil || v.algorithm != h.algorithm {
		return &ArgumentError{fmt.Sprintf("Provided password hash uses [%s] but the configured hashing algorithm is [%s]",
			v.algorithm, h.algorithm)}
	}
	return nil
}
