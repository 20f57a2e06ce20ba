// Command jeton is the whole product in one binary: the server, a cluster of
// real processes for development, and the operator's tools. It parses flags,
// owns the signals and the exit code, and leaves everything else to package
// node and the packages below it.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
