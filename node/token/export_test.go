package token

import (
	"jeton/fsm"
	"jeton/node/realm"
)

// AccessDigest is what every authentication with a token begins with.
func AccessDigest(s realm.Secret) (fsm.Digest, bool) {
	_, written, ok := read(accessPrefix, s)
	if !ok {
		return fsm.Digest{}, false
	}
	return written.digest(), true
}
