// Package rpc is planted.
package rpc

// Peer is planted.
type Peer struct{}
