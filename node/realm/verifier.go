package realm

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Bounds of a verifier. A verifier may come from a client (password_hash) or a
// file, and checking a password against it costs what it says: so only the costs
// that Elasticsearch knows are accepted, and lengths that stay one block of work.
const (
	maxVerifierBytes  = 256
	minBcryptCost     = 4
	maxBcryptCost     = 14
	bcryptLength      = 60
	maxBcryptPassword = 72 // bytes; bcrypt ignores what follows
	minSaltBytes      = 8
	maxSaltBytes      = 64
	keyBytesMultiple  = 16
	maxKeyBytes       = sha512.Size
	newSaltBytes      = 32
	newKeyBytes       = 32
)

const (
	pbkdf2Prefix        = "{PBKDF2}"
	pbkdf2StretchPrefix = "{PBKDF2_STRETCH}"
)

const (
	defaultBcryptCost       = 10
	defaultPBKDF2Iterations = 10_000
)

// errUnknownFormat never carries the verifier: it is a secret too.
var errUnknownFormat = errors.New("not a password hash in a supported format")

// scheme is a way to hash passwords.
type scheme uint8

const (
	schemeBcrypt scheme = iota + 1
	schemePBKDF2
	schemePBKDF2Stretch // PBKDF2 of the hexadecimal SHA-512 of the password
)

// algorithm is a scheme and its cost: bcrypt's logarithm or PBKDF2's iterations.
type algorithm struct {
	scheme scheme
	cost   int
}

// parseAlgorithm understands the values of the setting
// xpack.security.authc.password_hashing.algorithm.
func parseAlgorithm(name string) (algorithm, error) {
	lower := strings.ToLower(name)
	a := algorithm{scheme: schemeBcrypt, cost: defaultBcryptCost}
	suffix, ok := strings.CutPrefix(lower, "bcrypt")
	if !ok {
		a = algorithm{scheme: schemePBKDF2, cost: defaultPBKDF2Iterations}
		suffix, ok = strings.CutPrefix(lower, "pbkdf2")
		if rest, stretch := strings.CutPrefix(suffix, "_stretch"); stretch {
			a.scheme, suffix = schemePBKDF2Stretch, rest
		}
		if suffix != "" {
			suffix, ok = strings.CutPrefix(suffix, "_")
			ok = ok && suffix != ""
		}
	}
	if ok && suffix != "" {
		a.cost, ok = parseCost(suffix)
	}
	if !ok || !a.known() {
		return algorithm{}, fmt.Errorf("unknown hash function [%s]", name)
	}
	return a, nil
}

// parseCost accepts decimal digits without sign or leading zero.
func parseCost(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && strconv.Itoa(n) == s
}

func (a algorithm) known() bool {
	if a.scheme == schemeBcrypt {
		return a.cost >= minBcryptCost && a.cost <= maxBcryptCost
	}
	return slices.Contains([]int{1000, 10_000, 50_000, 100_000, 500_000, 1_000_000}, a.cost)
}

// String is Elasticsearch's name of the algorithm: BCRYPT, BCRYPT4, PBKDF2_STRETCH_1000.
func (a algorithm) String() string {
	switch a.scheme {
	case schemeBcrypt:
		if a.cost == defaultBcryptCost {
			return "BCRYPT"
		}
		return "BCRYPT" + strconv.Itoa(a.cost)
	case schemePBKDF2, schemePBKDF2Stretch:
		name := "PBKDF2"
		if a.scheme == schemePBKDF2Stretch {
			name = "PBKDF2_STRETCH"
		}
		if a.cost == defaultPBKDF2Iterations {
			return name
		}
		return name + "_" + strconv.Itoa(a.cost)
	}
	return "NOOP" // Elasticsearch's name for what is no hash at all
}

// verifier is a password verifier in Elasticsearch's self-describing format.
type verifier struct {
	algorithm
	encoded   string // bcrypt
	salt, key []byte // PBKDF2
}

// parseVerifier refuses everything whose check could cost more, or mean something
// else, than the formats allow.
func parseVerifier(s string) (verifier, error) {
	switch {
	case len(s) > maxVerifierBytes:
		return verifier{}, errUnknownFormat
	case strings.HasPrefix(s, "$2"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, pbkdf2StretchPrefix):
		return parsePBKDF2(schemePBKDF2Stretch, s[len(pbkdf2StretchPrefix):])
	case strings.HasPrefix(s, pbkdf2Prefix):
		return parsePBKDF2(schemePBKDF2, s[len(pbkdf2Prefix):])
	}
	return verifier{}, errUnknownFormat
}

// parseBcrypt reads $2a$10$ and 22 characters of salt and 31 of hash. The letters b
// and y name the same computation as a; x, the broken one, is refused.
func parseBcrypt(s string) (verifier, error) {
	if len(s) != bcryptLength || s[3] != '$' || s[6] != '$' || !strings.ContainsRune("aby", rune(s[2])) {
		return verifier{}, errUnknownFormat
	}
	tens, units := s[4]-'0', s[5]-'0'
	a := algorithm{scheme: schemeBcrypt, cost: int(tens)*10 + int(units)}
	if tens > 9 || units > 9 || !a.known() {
		return verifier{}, errUnknownFormat
	}
	for _, c := range []byte(s[7:]) {
		if !strings.ContainsRune(bcryptAlphabet, rune(c)) {
			return verifier{}, errUnknownFormat
		}
	}
	return verifier{algorithm: a, encoded: s}, nil
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// parsePBKDF2 reads iterations$salt$key, salt and key in base64.
func parsePBKDF2(scheme scheme, s string) (verifier, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return verifier{}, errUnknownFormat
	}
	iterations, ok := parseCost(parts[0])
	v := verifier{algorithm: algorithm{scheme: scheme, cost: iterations}}
	var saltErr, keyErr error
	v.salt, saltErr = base64.StdEncoding.DecodeString(parts[1])
	v.key, keyErr = base64.StdEncoding.DecodeString(parts[2])
	switch {
	case !ok, !v.known(), saltErr != nil, keyErr != nil,
		len(v.salt) < minSaltBytes, len(v.salt) > maxSaltBytes,
		len(v.key) == 0, len(v.key)%keyBytesMultiple != 0, len(v.key) > maxKeyBytes:
		return verifier{}, errUnknownFormat
	}
	return v, nil
}

// matches does the slow work. It takes as long for a wrong password as for a right one.
func (v verifier) matches(password Secret) (bool, error) {
	if v.scheme == schemeBcrypt {
		return v.bcryptMatches(password.Expose())
	}
	key, err := deriveKey(v.scheme, password, v.salt, v.cost, len(v.key))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, v.key) == 1, nil
}

// bcryptMatches refuses a password whose first 72 bytes alone would match, but not
// before the work is done: the length of a password says nothing about its user.
func (v verifier) bcryptMatches(password string) (bool, error) {
	head := password[:min(len(password), maxBcryptPassword)]
	err := bcrypt.CompareHashAndPassword([]byte(v.encoded), []byte(head))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, fmt.Errorf("compare bcrypt hash: %w", err)
	}
	return err == nil && len(head) == len(password), nil
}

// makeVerifier hashes a new password. The caller has checked the length for bcrypt.
func makeVerifier(a algorithm, password Secret, random io.Reader) (string, error) {
	if a.scheme == schemeBcrypt {
		encoded, err := bcrypt.GenerateFromPassword([]byte(password.Expose()), a.cost)
		if err != nil {
			return "", fmt.Errorf("make bcrypt hash: %w", err)
		}
		return string(encoded), nil
	}
	salt := make([]byte, newSaltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("draw salt: %w", err)
	}
	key, err := deriveKey(a.scheme, password, salt, a.cost, newKeyBytes)
	if err != nil {
		return "", err
	}
	return encodePBKDF2(a, salt, key), nil
}

func encodePBKDF2(a algorithm, salt, key []byte) string {
	prefix := pbkdf2Prefix
	if a.scheme == schemePBKDF2Stretch {
		prefix = pbkdf2StretchPrefix
	}
	return prefix + strconv.Itoa(a.cost) + "$" +
		base64.StdEncoding.EncodeToString(salt) + "$" + base64.StdEncoding.EncodeToString(key)
}

func deriveKey(scheme scheme, password Secret, salt []byte, iterations, length int) ([]byte, error) {
	input := password.Expose()
	if scheme == schemePBKDF2Stretch {
		sum := sha512.Sum512([]byte(input))
		input = hex.EncodeToString(sum[:])
	}
	key, err := pbkdf2.Key(sha512.New, input, salt, iterations, length)
	if err != nil {
		return nil, fmt.Errorf("derive PBKDF2 key: %w", err)
	}
	return key, nil
}

// dummyVerifier is a verifier of no password, whose check costs what a's costs.
func dummyVerifier(a algorithm, random io.Reader) (string, error) {
	noise := make([]byte, bcryptLength)
	if _, err := io.ReadFull(random, noise); err != nil {
		return "", fmt.Errorf("draw dummy verifier: %w", err)
	}
	if a.scheme != schemeBcrypt {
		return encodePBKDF2(a, noise[:newSaltBytes], append(noise[newSaltBytes:], 0, 0, 0, 0)), nil
	}
	for i := range noise {
		noise[i] = bcryptAlphabet[noise[i]%byte(len(bcryptAlphabet))]
	}
	// The last character of a 16-byte salt holds two bits only.
	noise[7+21] = '.'
	return fmt.Sprintf("$2a$%02d$%s", a.cost, noise[7:]), nil
}
