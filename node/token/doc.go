// Package token holds the use cases of the token service: issue, refresh,
// authenticate, invalidate. Here a token's secret is drawn, its digest computed,
// the command built and proposed. What a token is allowed to do, and how any of
// this looks in HTTP, is decided elsewhere; here it is seen to that no token has a wider
// scope than what it is made of.
//
// # Tokens
//
// A token is a kind prefix (jat_ for access, jrt_ for refresh) and 48 characters
// of unpadded base64url: 32 random bytes and the CRC-32 (IEEE, big endian) of the
// prefix and those bytes. Every 52-character string is the text of at most one
// token, so a damaged or invented one is refused without a look-up, and a secret
// scanner can recognise a leaked one. Outside this package a token lives in a
// [realm.Secret]; the log and the state know its [fsm.Digest] only.
//
// A refresh token has one successor pair, derived from what its holder presents,
// a salt in the state and the cluster key. Any node computes the same pair when
// the token is shown again; a copy of the log, or of a snapshot, is not enough to.
//
// # What an answer rests on
//
// A token is unknown, then live, then dead, and never goes back. So the state of
// this node, which may be late, proves death but neither life nor absence:
//
//   - found dead or expired: refused, without asking anybody;
//   - found live: believed after a confirmed read, and looked up again after it
//     ([Service.Authenticate]), or handed to the state machine as a [fsm.Guard]
//     that is checked when the command is applied ([Service.AuthenticateForWrite]), or
//     believed at once, for an answer about its user alone, by a node that knows of all
//     that may have ended it ([Service.Recognize]);
//   - not found: refused after a confirmed read and another look.
//
// The same holds for passwords: a password that is wrong here may be right in a
// state that has not arrived yet. When no read can be confirmed the answer is
// [ErrUnavailable], never "invalid".
//
// A token that acts for another user ([Service.RunAs]) is the exception: it is also dead
// while the user who acts has changed, or may not by the roles' definitions. So that is
// looked at each time, and its guard covers both users.
//
// A Caller from AuthenticateForWrite may be late in what it lacks, too: before
// an answer other than a proposal is made of it (a 403, say), authenticate again
// with Authenticate. The same after [ErrStale].
package token
