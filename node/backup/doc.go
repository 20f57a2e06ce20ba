// Package backup takes the state of a cluster to a file and back while the cluster
// works: what `jeton snapshot` does.
//
// It owns the file ([NewWriter], [Open]), the questions by which a file is filled from a
// node ([Server], [Fetch]) and the commands by which one is restored ([Restore]). It
// knows the state machine, but no raft, no network and no terminal. Goroutines outlive
// no call, except that a [Server] keeps those of unfinished saves until they are
// finished, given up for a minute, or [Server.Close] is called.
//
// # The file
//
//	"jetonbak" | format u8 (1) | frames
//	frame: kind u8 | length u32, big-endian | that many bytes | seal (32)
//
// The first frame (kind 1) is a [Header] in JSON; the next ones (2) hold the bytes of a
// snapshot of the state, at most 256 KiB each; the last one (3) says how many bytes these were (u64) and
// gives their SHA-256. Nothing follows. The seal is the HMAC-SHA256 of the seal before (at
// first: of the file's first nine bytes) and the frame up to the seal, under a key
// derived from the cluster key. So nobody without that key can change, cut, extend or
// recombine files unnoticed, and a reader believes nothing that it has not checked.
//
// A file holds digests of tokens and verifiers of passwords, no token and no password.
package backup
