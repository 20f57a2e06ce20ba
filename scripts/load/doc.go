// Command load measures Jeton, and beside it what the machine allows: a bare
// net/http handler over the same TLS, and raw hashicorp/raft without HTTP. All
// are driven by the same closed loop in the same process, so that their ratios
// are fair although load and servers share the cores.
//
// A closed loop sends the next request when the last one is answered: figures
// tell how fast the server is with N callers, not how it behaves when more
// arrives than it can serve.
//
// Nothing here is part of the product; scripts/bench.sh is the way in.
package main
