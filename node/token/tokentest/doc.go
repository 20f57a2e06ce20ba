// Package tokentest is what a family of tokens promises, as a model, and the check
// that what clients saw agrees with it. The simulation of a cluster and the laboratory
// of real processes share it. It is for tests: it knows nothing of the product, and the
// product does not import it.
//
// # What is checked
//
// Clients record each operation with its interval in time. For each family (the tokens
// that come of one login) there must be an order of its operations, each somewhere in
// its interval, in which the model gives every answer that clients got. Operations on a
// whole user are in every family of that user. One whose outcome nobody knows stays
// open: it takes effect later than it was asked for, or never.
//
// Validity is checked with regular semantics. Until an invalidation is acknowledged a
// token may be called valid and dead in any order, so "dead" binds nobody; but somebody
// must have asked for an invalidation before. After the acknowledgement nobody may call
// it valid.
package tokentest
