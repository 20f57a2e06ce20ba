// Package certs owns a node's TLS material: it makes the authorities, the nodes'
// certificates and the cluster key ([Folder], [Authority]), and it holds what a
// running node presents and trusts, reloading it when the files change
// ([Reloader]).
//
// # Two authorities
//
// The transport layer and the HTTP layer have an authority each. Whoever may run a
// web server in the cluster's name, or talk to one, gets no further than that:
// to be a peer takes a certificate of the transport authority that carries the
// identity of a node of this cluster ([Identity]), in both directions. A peer's host
// name or address is never looked at, since it may change across a restart.
//
// # No goroutine, no clock
//
// A Reloader looks at its files when its owner calls Poll. It compares their
// content, not their times, so that swapped symbolic links (as Kubernetes does it)
// and restored files are noticed. What cannot be used is reported once, and the old
// material stays in use. Connections that exist are not touched.
//
// The package starts no goroutine, logs nothing and asks its caller for the time.
package certs
