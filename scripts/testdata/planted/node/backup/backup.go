// Package backup is planted.
package backup

import (
	"net" // planted: depguard

	"jeton/fsm"
	"jeton/node/realm" // planted: depguard
)

// Server is planted.
type Server struct {
	State fsm.State
	Realm realm.Realm
	Conn  net.Conn
}
