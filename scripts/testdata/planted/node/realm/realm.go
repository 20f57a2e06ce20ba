// Package realm is planted.
package realm

import (
	"math/rand" // planted: depguard

	"go.etcd.io/bbolt" // planted: depguard

	"jeton/fsm"
	"jeton/node/config" // planted: depguard
)

// Realm is planted.
type Realm struct {
	State  fsm.State
	Config config.Config
	DB     *bbolt.DB
	Salt   rand.Source
}
