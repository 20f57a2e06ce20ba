// Package load is many clients of a cluster, which ask through every node, record what
// they saw, and judge it.
//
// Requests arrive at a given rate, whether or not earlier ones were answered (an open
// loop), up to a bound on those in flight, in all and at each node: a node that hangs
// takes no more than its share. They are a mixture of all that can be done to tokens,
// over Elasticsearch's API and over OAuth 2.0. A few tokens are used much, so that
// requests meet; the others live for a while, so that what was acknowledged is asked
// about later. Whatever is acknowledged is asked about at once: what is new at one other
// node, what was ended at all of them. Some requests are given up right after they were
// sent, and repeated at another node.
//
// A login and all that comes of it, a family, is judged when it is no longer used
// ([jeton/node/token/tokentest]), and forgotten: hours of load fit into memory.
package load
