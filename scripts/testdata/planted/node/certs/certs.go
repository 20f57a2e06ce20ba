// Package certs is planted.
package certs

import "github.com/hashicorp/raft" // planted: depguard

// Reloader is planted.
type Reloader struct{ ID raft.ServerID }
