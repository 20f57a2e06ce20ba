// Package cluster is how nodes know each other, talk to each other and come to be
// members of one cluster.
//
// One TLS 1.3 port per node ([Service]) carries raft's own traffic ([Transport])
// and the requests of other nodes ([Client], [Handler]), told apart by ALPN. Each
// end is known to the other by the name and role in its certificate
// (peerIdentity).
//
// The package carries commands and outcomes as bytes and never decodes them. It
// decides nothing about leadership: [FirstStart] and [Membership] say how a cluster
// begins and changes, the node when.
//
// It also holds what makes hashicorp/raft safe to use as it is: [Transport],
// [NewVoteStore], [Watched], [Scrub] and [InstallWatch]. DESIGN.md has the wire format,
// the locks, and the defect behind each.
//
// Goroutines outlive calls in [Service], [Client] and [Transport] only, and end
// with their Close.
package cluster
