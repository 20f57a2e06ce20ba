// Package httpapi is planted.
package httpapi

import (
	"fmt"
	"net/http"

	"github.com/hashicorp/raft" // planted: depguard

	"jeton/cluster/rpc" // planted: depguard
	"jeton/fsm"
	"jeton/node/config" // planted: depguard
	"jeton/node/realm"
	"jeton/node/token"
)

// Server is planted.
type Server struct {
	Req    http.Request
	Leader raft.ServerID
	Peer   rpc.Peer
	State  fsm.State
	Config config.Config
	Realm  realm.Realm
	Token  token.Service
}

// Serve is planted.
func (Server) Serve() {
	fmt.Println("serving") // planted: forbidigo
}
