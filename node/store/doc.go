// Package store keeps what raft must not lose: the log, the term and the vote in
// raft-boltdb's one file, and the snapshots. It notices when the disk has changed any of it.
//
// Raft's safety rests on what a member once wrote: a member that forgets its newest
// entry, or its vote, can help to elect a leader that lacks what was acknowledged. So a
// disk that flips a bit, cuts a file short or brings back an old page must not go
// unnoticed, wherever it does. bbolt has a checksum for its two meta pages only, and hashicorp/raft
// has one for the state in a snapshot, but not for what describes it.
//
// The log is proven as a whole when it is opened:
//
//   - Both meta pages are as they were written. bbolt would take the other, which is one
//     write behind, for a write that did not end. But that cannot be: a meta page's content lies in
//     one sector, and disks write sectors as a whole.
//   - Every page that can be reached is laid out exactly as bbolt does it ([Verify]).
//   - The head, stored in the place of an entry 0, names the first and the last entry and holds the term,
//     the vote and all other values. It is written with every change, in the same transaction, and has a checksum.
//   - Every entry has, before its extensions, a checksum over all of it and over the one before. The head knows
//     the last one. So the head vouches for the whole log.
//   - A second file, raft.db.last, counts the changes. Without it, one bit in the number of a page
//     could make the tree that of a change ago, whose pages are still there and all right.
//
// An entry's checksum is looked at again whenever it is read. A snapshot's description has a
// checksum among the values in the head, and has in turn one of the state.
package store
