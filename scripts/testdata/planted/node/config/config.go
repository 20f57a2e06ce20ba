// Package config is planted.
package config

import (
	"jeton/fsm" // planted: depguard
	"jeton/node/certs"
)

// Config is planted.
type Config struct {
	Certs certs.Reloader
	State fsm.State
}
