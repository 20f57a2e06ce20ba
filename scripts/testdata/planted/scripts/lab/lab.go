// Package lab is planted; of what is for tests it may know the model, and it may print.
package lab

import (
	"fmt"

	"jeton/node/token/tokentest"
)

// Check is planted.
func Check() { fmt.Println(tokentest.History{}) }
