// Package config is planted.
package config

import "jeton/node/certs" // planted: depguard

// Config is planted.
type Config struct{ Certs certs.Reloader }
