// Package realm decides who may log in and what they may do. It owns the chain of
// realms (reserved, native, file), password verifiers and the bounded work of
// hashing, the cache of verified passwords, the use cases of the users and roles
// APIs, the built-in roles and cluster privileges, scopes, and who may act as whom.
//
// It reads the replicated state through [View] and changes it through [Log]; it
// starts no goroutine, knows no HTTP, and issues no token. Texts that reach a
// client are Elasticsearch's own, because clients match on them.
//
// # Reading late state
//
// A node's own state may be late. An answer given here is therefore only as good
// as the state under it, and the caller makes it good:
//
//   - a "yes" that ends in a write travels with the generation of the user's record
//     ([Login]) and the version of the roles ([Roles.Authorize]) in an [fsm.Guard],
//     which the state machine checks when it applies the write; [ErrStale] means
//     that the ground has shifted: authenticate again;
//   - a "yes" that ends in an answer needs a confirmed read before it;
//   - a "no" is to be repeated after a confirmed read before it is believed.
//     Repeating a failed login costs no second hash, see below.
//
// # The cost of passwords
//
// A password hash is slow on purpose, which makes it a lever against the service.
// Hashing is bounded by the cores, its queue is bounded ([ErrBusy] past it), and
// what was once found out is remembered: whether a password matches a verifier can
// never change, so a verdict is kept under a keyed digest of the user name, the
// verifier and the password. A changed password is another verifier; a disabled
// user is refused from the record, not from the cache. So no entry can ever say
// yes for a password that is not the current one, and nothing has to be emptied.
//
// The queue is fair: by where a request comes from ([Source]) and then by user
// name, each of which can only crowd out itself. A flood of ever new names through one
// load balancer is told from a rush of users by nothing, so then all wait their turn.
//
// An unknown user costs the same hash as a known one, and is sent away like one.
package realm
