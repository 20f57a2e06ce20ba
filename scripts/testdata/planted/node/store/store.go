// Package store is planted.
package store

import (
	"github.com/hashicorp/raft"

	"jeton/fsm" // planted: depguard
)

// Log is planted.
type Log struct {
	Entry raft.Log
	State fsm.State
}
