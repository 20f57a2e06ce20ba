// Package node is planted.
package node

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"jeton/node/certs"
)

// Node is planted; it may know raft and read the clock, but not print or end the process.
type Node struct {
	Raft  *raft.Raft
	Certs certs.Reloader
}

// Run is planted.
func (Node) Run() {
	fmt.Println(time.Now()) // planted: forbidigo
	if time.Now().IsZero() {
		log.Fatal("no clock") // planted: forbidigo
	}
	os.Exit(1) // planted: forbidigo
}
