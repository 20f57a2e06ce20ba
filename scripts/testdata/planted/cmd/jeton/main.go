// Command jeton is planted; it may end the process and read the clock, but not know raft.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft" // planted: depguard

	"jeton/cluster"
	"jeton/httpapi/apitest"      // planted: depguard
	"jeton/node/token/tokentest" // planted: depguard
)

func main() {
	fmt.Fprintln(os.Stdout, cluster.Service{}.Give(), time.Now(), raft.Leader, apitest.API{}, tokentest.History{})
	fmt.Println("bye") // planted: forbidigo
	os.Exit(0)
}
