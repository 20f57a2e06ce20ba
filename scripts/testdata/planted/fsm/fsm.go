// Package fsm is planted.
package fsm

import (
	"bytes"
	"crypto/rand" // planted: depguard
	"math"
	mathrand "math/rand/v2" // planted: depguard
	"net"                   // planted: depguard
	"net/http"              // planted: depguard
	"os"                    // planted: depguard
	"time"

	"github.com/hashicorp/raft" // planted: depguard
)

// State is planted.
type State struct {
	Log  raft.Log
	Addr net.Addr
	Req  http.Request
}

// Now is planted.
func Now() (time.Time, float64, []byte) {
	_, _ = rand.Read(nil)
	_ = os.Getpid()
	return time.Now(), math.Sqrt(mathrand.Float64()), bytes.TrimSpace(nil) // planted: forbidigo
}
