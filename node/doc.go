// Package node is one running member of the cluster. It owns the order in which
// the parts are opened and closed, the way of a write to the log (proposer), the
// proof that a read is current (confirmer), membership (formation) and the
// standing duties (chores). It decides nothing about tokens, users or HTTP: that is
// done by the packages it wires together. See DESIGN.md.
//
// Where to look:
//
//	node.go, open.go   what a node is, and its parts in the order of opening
//	proposer.go        from many callers to few log entries
//	confirm.go, poll.go   confirmed reads
//	replica.go         raft as the rest of the package sees it
//	formation.go       becoming a member, moving, coming back
//	stores.go, joint.go   log, vote and snapshots as raft should see them
//	chores.go          initialization, expiry, snapshots, certificates
//	readiness.go       what /readyz and /_cluster/health say
//	shutdown.go        SIGTERM without a failed request
package node
