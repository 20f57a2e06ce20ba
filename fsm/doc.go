// Package fsm is the replicated state: users, roles and tokens, the commands that
// change it, their encoding, and the snapshot.
//
// It is deterministic: the same log gives the same state, the same outcomes and the
// same snapshot, byte for byte, on every replica. So it knows no clock, draws no
// randomness that reaches an output, starts no goroutine, and does no I/O beyond
// the reader and writer of a snapshot. Time comes with each [Entry]; secrets, ids
// and verifiers are made by whoever proposes a [Command] and travel in it, secrets
// as digests only.
//
// A "no" of the state machine is a [Reason] in an [Outcome], never an error. Errors
// are for bytes that cannot be read; an entry that cannot be read stops the node.
//
// [FSM] is what raft applies to and what the node looks at; all its methods may be
// called concurrently. Only raft.go knows hashicorp/raft. Each command has a file
// with its fields and its rule. The log, the snapshot and the store are described
// in DESIGN.md.
package fsm
