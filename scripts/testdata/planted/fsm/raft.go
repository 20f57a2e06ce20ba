package fsm

import (
	"net/http" // planted: depguard

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2" // planted: depguard
)

// Adapter is planted; only this file may import raft, and nothing beside it.
type Adapter struct {
	Log   raft.Log
	Store raftboltdb.BoltStore
	Req   http.Request
}
