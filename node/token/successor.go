package token

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"jeton/fsm"
)

// successorInfo binds the derivation to its purpose. Another way to derive needs
// another string: pairs derived with this one may still be asked for again.
const successorInfo = "jeton successor v1"

// errClusterKey: the state holds another successor than this node derives.
var errClusterKey = errors.New("the derived pair is not in the state: this node's cluster key differs from the one the pair was derived with")

// pairSecrets are the secrets of an access token and its refresh token.
type pairSecrets struct{ access, refresh secret }

// successor derives the one pair that follows the presented refresh token. The
// cluster key is what a thief of a refresh token and of a snapshot still lacks.
func successor(presented *secret, clusterKey []byte, salt fsm.Salt) (pairSecrets, error) {
	// The first part has a fixed length, so the two cannot be split another way.
	input := make([]byte, 0, secretBytes+len(clusterKey))
	input = append(input, presented[:]...)
	input = append(input, clusterKey...)
	out, err := hkdf.Key(sha256.New, input, salt[:], successorInfo, 2*secretBytes)
	if err != nil {
		return pairSecrets{}, fmt.Errorf("derive successor: %w", err)
	}
	return pairSecrets{access: secret(out[:secretBytes]), refresh: secret(out[secretBytes:])}, nil
}
