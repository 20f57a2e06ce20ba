// Package httpapi is Jeton's face: Elasticsearch's HTTP API for tokens, users and
// roles, as version 8.19 has it. It owns the routes, the decoding of requests, the
// encoding of answers, and the one translation of errors to a status and a body
// (errors.go). It decides nothing: what a request means is decided by the use cases
// in node/token and node/realm. It knows no raft and no node.
//
// # The way of a request
//
// In this order, which is Elasticsearch's: path and method (404, 405), headers (400),
// media type and size of the body (406, 400, 413), the caller (401), the body's syntax
// (400), its sense (400), the caller's privileges (403), the use case. Only /livez and
// /readyz, and OPTIONS, are answered without credentials. No body is read before its
// sender is known: without a Content-Length its size and type are judged after the
// caller. (OAuth 2.0 has an exception, see there.)
//
// A read (access read) authenticates its caller with a confirmed read and then
// answers from this node's state. For an answer of the caller alone (access self) a
// read lease of the node will do instead. A write (access write) authenticates by this
// node's state alone; the state machine checks the guard that results. Whatever was
// not decided by an applied command, a refusal for instance, is thrown away and the
// request repeated with a confirmed read ([Server.settle]); so no answer ever rests
// on state that was out of date. Handlers therefore have no effect but their use
// case's, and write nothing.
//
// # Overload and outages
//
// A request waits for at most [Config.RequestTimeout]. Then, or when a write was
// refused because too many are pending, the answer is 503 with Retry-After:
// Elasticsearch's clients repeat a 503 and do not repeat a 429. The same is answered,
// at once, when the bodies of all requests would exceed [Limits].HeldBytes. When too many
// passwords wait to be hashed the answer is 429 with Retry-After: repeating at once
// would make it worse. Who floods that queue crowds out the requests of its own network,
// and then those with the same user names, before others. Repeating any request is safe. An outage is a
// security_exception with Elasticsearch's own reason ("unable to perform requested
// action"), overload an es_rejected_execution_exception; caused_by says what to do.
//
// # OAuth 2.0
//
// POST /oauth2/token (RFC 6749), /oauth2/revoke (RFC 7009) and /oauth2/introspect (RFC
// 7662), and GET /.well-known/oauth-authorization-server (RFC 8414) with its alias
// openid-configuration. If the issuer has a path, all of them are under that path, too.
//
// Clients:
//   - A client is a user; client_id and client_secret are its name and password. It may
//     use client_secret_basic or client_secret_post, not both. Names and passwords in
//     Basic are tried as decoded from a form (RFC 6749, 2.3.1) and then, if that makes a
//     difference, as they are: curl does not encode. "Basic Og==" is no client, and a
//     name without a password only names one.
//   - Bearer tokens authenticate at the introspection endpoint only.
//   - With oauth2.public_clients a client need not authenticate, for the grants password
//     and refresh_token and for revocation. Its client_id is believed: it keeps an honest
//     client from another's refresh tokens, not a thief. Such clients stand in a realm of
//     their own, _public, have no privilege, and their names are not logged.
//   - es-security-runas-user is refused with 400.
//
// Requests:
//   - Bodies are forms or JSON; another type is invalid_request (400). Parameters of
//     OAuth 2.0 in the URL are refused, whatever the body says; other parameters are
//     ignored, wherever they are. token_type_hint is one of them: a token tells its kind.
//   - Grants are password, client_credentials and refresh_token; they need the privileges
//     that Elasticsearch's endpoint needs, or are answered with unauthorized_client.
//   - A wrong password of the resource owner is invalid_grant, one of the client
//     invalid_client. invalid_client is 401, also after client_secret_post.
//   - A scope is a list of Elasticsearch's cluster privileges, or "full", and is always
//     told. Any other is invalid_scope, "openid" and "offline_access" among them. A
//     narrower one at refresh narrows the new refresh token, too (RFC 6749, 6 would
//     leave that as it was), so that no token is more than the one before it.
//   - An outage and overload are temporarily_unavailable with 503, or 429 when too many
//     passwords wait to be hashed: RFC 6749, 5.2 has no word for them, 4.1.2.1 has.
//
// Tokens that are shown:
//   - A client may ask about and revoke tokens that are for it or that it obtained; with
//     the privileges for cluster:admin/xpack/security/token/introspect and .../invalidate,
//     any. Other tokens are like unknown ones: not active, and revoked with 200 and
//     without effect. RFC 7009, 2.1 would have the latter refused, which would tell that
//     there is such a token.
//   - Revoking a refresh token ends everything that came of the same login; revoking an
//     access token ends that alone. 200 means that it has been done on all nodes.
//   - A refresh token that was used is not active, although its successors can be had
//     again for a while. For revocation it is as good as any other.
//   - sub is the realm and the username, for a username may be in several realms; jti is
//     the session's id; roles, realm and authentication_type are Elasticsearch's.
//   - The metadata names no authorization endpoint, for there is none. The OpenID alias
//     has the same document: clients that look there find what they need, but this is no
//     OpenID provider. Without the setting oauth2.issuer it is 404: a Host header is no
//     source for what clients trust.
//
// Bodies of strangers: who authenticates in the body, or not at all, must be read before
// it is known. Such a body has 16 KiB and five seconds, takes room only as it arrives,
// and all of them together have a quarter of [Limits].HeldBytes, so that those who
// authenticate in the header, and Elasticsearch's clients, always find room (oauth2_body.go).
//
// Forms are what a browser sends across origins without asking, and with a password that
// it remembers. Nothing can be had that way: the answer is not shown to the other origin,
// and revocation needs the token.
//
// # Departures from Elasticsearch
//
// Tokens:
//   - Invalidating a token that is unknown, malformed, or of the other kind is always
//     404 with zero counts. Elasticsearch answers 400 before the first token exists.
//   - Refresh: a user who was deleted or disabled, or whose password was changed, has
//     no tokens left. Using a refresh token again after the window ends the whole
//     family, unless that is switched off. Sessions can have an end.
//   - An outage is 503, never 401 or 400.
//   - The refusal of a refresh token that was used before says "more than 30 seconds in
//     the past" whatever the window is set to: Kibana compares the text.
//   - A token that is made from a token (client_credentials) lives no longer than that one,
//     and ends when that one is invalidated, alone or with its family.
//   - What is one's own, or was obtained by one, may be invalidated without a privilege.
//     What is not, or does not exist, is 403 without it, as in Elasticsearch; an id that
//     does not exist is 404, for ids are no secret. DELETE
//     knows more members than Elasticsearch's: ids, owner, all, pair, family,
//     created_before, and the parameter confirm. GET lists sessions, where
//     Elasticsearch has 405. Both are described in docs/sessions.md and served under the
//     former path, too. The listing needs cluster:admin/xpack/security/token/get, which
//     Elasticsearch does not have and which read_security grants besides.
//   - Answers with tokens in them carry Cache-Control: no-store (RFC 6749, 5.1).
//   - The scope of a request is ignored, but what a narrowed token obtains for itself
//     (client_credentials), and what a narrowed pair is refreshed to, is as narrow as it
//     was. Both say so: the member scope, here and in _authenticate. A pair for a user who
//     shows a password has that user's rights, whoever asks. A narrowed token may always
//     ask who it is; what needs no privilege otherwise, such as ending one's own sessions,
//     it may if its scope grants the action.
//   - The _kerberos grant is validated and then refused with 401, for there is no
//     Kerberos realm; Elasticsearch answers 500 to a ticket that is not base64.
//
// Requests:
//   - Bodies are JSON, up to 64 KiB ([Limits]), 32 levels and 256 members of an object;
//     more is 413, which names the limit in bytes, or 400. YAML, CBOR and SMILE are 406.
//   - A body ends with its object: anything after it is 400. A member given twice is
//     400, as in Elasticsearch, but the text does not quote the body.
//   - The _xpack/security paths are served without asking for compatibility with version
//     7, with the Warning that Elasticsearch 7 gave; the hash in it is "unknown". What is
//     there only for clients of version 6 is in former.go.
//   - Vendor media types of the versions 7, 8 and 9 are served alike; Accept and
//     Content-Type need not have the same one.
//   - Answers are JSON or YAML; format=cbor and format=smile are 406. filter_path has at
//     most 64 paths. With error_trace, stack_trace is the exception and what caused it,
//     without a trace of the code.
//   - An unrecognized parameter or member is named, but no other is suggested.
//   - A path that does not exist is 404 (Elasticsearch: 400, or an index).
//   - Headers with several lines. Accept and Content-Type: 400 even if the lines are
//     the same, as in Elasticsearch (a list belongs in one line). Authorization,
//     es-security-runas-user and X-Opaque-Id: 400 if they differ. traceparent and
//     X-elastic-product-origin, which Elasticsearch treats so too, are not read here.
//     Host and Content-Length: refused by net/http. Any other: not read, or not ours.
//   - API keys and anonymous access do not exist;
//     ApiKey is listed among the challenges as Elasticsearch lists it.
//   - What is not HTTP at all is refused by net/http in its own words.
//
// Users, roles, cluster:
//   - The refresh parameter is checked and has no meaning: a write that was
//     acknowledged is visible everywhere.
//   - with_profile_uid is accepted; there are no profiles.
//   - es-security-runas-user is Elasticsearch's, but a narrowed token acts as nobody, and
//     it is not told whether there is no such user, a disabled one (Elasticsearch: 401),
//     or no right: 403. A token that acts for another user acts for no third one
//     (Elasticsearch ignores the header), is good as long as the user behind it is
//     unchanged and still may, and refreshes only what the same two users obtained. One's
//     own password is not changed in another's name without the privilege. Reserved users
//     can be acted as. In run_as a regular expression that is not understood
//     matches nobody: Lucene's operators ~ & @ # < > " and its classes like \d.
//   - Of a role only cluster and run_as decide about requests. The other members are
//     stored and returned as they came; indices and applications are checked, for
//     _has_privileges to answer from them.
//   - /_cluster/health: green if all members answer, yellow if not all do, red
//     without a leader. But its caller is authenticated like any other, by a confirmed
//     read, and that takes a leader and a quorum: without them the answer is 503 after
//     the whole [Config.RequestTimeout], or 401 at once to a dead token. Red is only
//     seen by a request that was authenticated before the leader was lost, such as
//     one that waits. To ask one node whether it can serve, use /readyz.
//     There are no shards: of the wait_for parameters only wait_for_status and
//     wait_for_nodes wait.
//   - The endpoints about the cluster need the privileges that Elasticsearch asks for;
//     build_hash is Jeton's version.
//   - /_nodes and /_cat/nodes list the members that answer within a second. Of their
//     metrics only http and transport say something; addresses are as published, and
//     bound_address is the same. In /_cat/nodes nothing is known about machines: those
//     cells are empty. A key of s that does not exist is 400 (Elasticsearch: 500).
//   - /_license is one of the type basic, which never ends and lacks nothing. /_xpack has
//     the feature security and no other.
//   - _has_privileges and _privileges go by the roles as they are stored. Names of indices
//     are compared as patterns with * and ?, not as regular expressions; of application
//     privileges no names are stored, so only patterns have one another. At most 4,096
//     pairs of a name and a privilege are asked for at once.
//   - The clear cache endpoints answer for the node that was asked. Nothing needs them: a
//     change that was acknowledged is in force everywhere. That of realms empties this
//     node's memory of verified passwords, all of it, whatever usernames says.
//   - /livez and /readyz are not Elasticsearch's. /readyz is 503 with Retry-After when
//     this node should get no requests.
//
// # Forward auth
//
// /_forward_auth tells a gateway whether to let somebody else's request through, and
// whose it is. It takes any method, and of the request nothing but Authorization (Bearer
// or Basic; no cookie): no body, no header, no parameter of another's makes it fail. The
// path may go on, as Envoy has it go on; then the query is ignored, too.
//
//   - 200, without a body: let it through. X-Auth-User, X-Auth-Roles (separated by
//     commas), X-Auth-Realm, X-Auth-Email, X-Auth-Full-Name and X-Auth-Scope are always
//     there, if only empty. What a header cannot hold is percent-encoded: all but printable
//     ASCII, the percent sign, spaces at the ends, and commas in the names of roles.
//   - 401, with one line of challenges: no credentials, or no good ones.
//   - 403: the user lacks a role=NAME or a privilege=NAME of the query. All of them must
//     be there, so that whoever can add some gains nothing. A privilege is a name of
//     Elasticsearch's cluster privileges; one that does not exist is one that nobody has,
//     and the log warns, once. Or the request has es-security-runas-user: nobody acts as
//     another through a gateway.
//   - 429, 503: it is not known, as everywhere else. nginx makes 500 of them.
//
// The caller is authenticated as for any answer, so an invalidated token is stopped
// at the next request. The token of a narrowed scope has no roles here: X-Auth-Roles is
// empty, a role that is demanded is missing, and X-Auth-Scope has the privileges it is
// narrowed to. The scope is empty if the token is not narrowed.
//
// # What the log says
//
// At warn: the reuse of a refresh token that ended its family, with the owner's name
// and realm, the client that showed it, and the number of tokens ended. It is one
// line for each family, and means that a token was stolen or a client is broken.
//
// At info: authentication, access and refreshes that were refused; invalidations;
// changes of users, passwords and roles. At debug: one line per request, and tokens
// issued.
//
// A refused authentication has a reason: "expired or invalidated token", "unknown
// token" (it has the form of one), "malformed token", "bad credentials" (wrong
// password, unknown user or disabled user), "malformed credentials", "no
// credentials", "unsupported scheme", or "run as nobody". It has no name, although
// that would be handy: people type their password into the field for the name, and
// the log must not hold it. The address is there to find the client by. Paths are
// logged as their templates, and names only of users who have been authenticated,
// or who own a token that was shown; so nothing that a client typed into the wrong
// place gets there, and no token, whole, in part or digested.
package httpapi
