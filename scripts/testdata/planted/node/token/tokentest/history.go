// Package tokentest is planted; only tests and the laboratory may know it.
package tokentest

import "jeton/fsm" // planted: depguard

// History is something to judge.
type History struct{ State fsm.State }
