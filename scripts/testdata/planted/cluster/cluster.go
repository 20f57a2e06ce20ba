// Package cluster is planted.
package cluster

import (
	"net"
	"net/http" // planted: depguard
	"os"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"jeton/fsm"     // planted: depguard
	"jeton/httpapi" // planted: depguard
	"jeton/node"    // planted: depguard
)

// Service is planted.
type Service struct {
	Listener net.Listener
	Layer    raft.StreamLayer
	Store    raftboltdb.BoltStore
	State    fsm.State
	Server   httpapi.Server
	Node     node.Node
	Req      http.Request
}

// Give is planted.
func (Service) Give() time.Time {
	if time.Since(time.Time{}) > time.Hour { // planted: forbidigo
		os.Exit(1) // planted: forbidigo
	}
	return time.Now() // planted: forbidigo
}
