// Package token is planted.
package token

import (
	"net/http" // planted: depguard
	"time"

	"jeton/fsm"
	"jeton/node/certs" // planted: depguard
	"jeton/node/realm"
)

// Service is planted.
type Service struct {
	State fsm.State
	Realm realm.Realm
	Certs certs.Reloader
	Req   http.Request
}

// Issue is planted.
func (Service) Issue() time.Time {
	time.Sleep(time.Second) // planted: forbidigo
	return time.Now()       // planted: forbidigo
}
