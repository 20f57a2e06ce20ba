package main

import "context"

// proxyFaults are those of a proxy before a node, which others and clients reach through it.
func proxyFaults() []fault {
	before := func(treat treatment) func(context.Context, *trial) func(context.Context) {
		return func(ctx context.Context, t *trial) func(context.Context) {
			return t.standBefore(ctx, t.anyone(), treat)
		}
	}
	return []fault{
		{name: "replay-connections", what: "a proxy before a node opens each connection twice, with the same bytes of the client, and once more in the end", kind: kindProxy, inject: before(replayed)},
		{name: "hang-connections", what: "a proxy before a node carries some bytes of each connection, and then keeps it open and carries no more, one way or both", kind: kindProxy, inject: before(limited(true))},
		{name: "break-connections", what: "a proxy before a node carries some bytes of each connection, and then cuts it off", kind: kindProxy, inject: before(limited(false))},
	}
}
