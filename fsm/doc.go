// Package fsm is the replicated state: users, roles and tokens, the commands that
// change it, their encoding, and the snapshot.
package fsm
