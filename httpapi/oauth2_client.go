package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"jeton/fsm"
	"jeton/node/realm"
	"jeton/node/token"
)

// oauth2Options tell how the client of an OAuth 2.0 endpoint may show who it is,
// beside client_secret_basic and client_secret_post.
type oauth2Options struct {
	bearer bool // by an access token of its own (RFC 7662, 2.1)
	public bool // not at all, if the setting allows that
}

// oauth2Client is who a request says that its client is. A client is a user of
// Jeton's.
type oauth2Client struct {
	id string // empty: none was named
	// credentials are ways to read what was shown, tried in order; none: nothing was.
	credentials []token.Credentials
	public      bool // it may do without
}

// errNoClient: the request shows no way of ours to authenticate a client.
var errNoClient = &headerError{
	reason: "the client must authenticate with client_secret_basic or client_secret_post", audit: reasonScheme,
}

// clientInHeader reads client_secret_basic (RFC 6749, 2.3.1), or a bearer token where
// that is allowed. Another scheme is refused rather than ignored: a client that shows
// something must not be taken for a public one.
func clientInHeader(header http.Header, allowed oauth2Options) (oauth2Client, error) {
	credentials, err := credentialsOf(header)
	if err != nil {
		return oauth2Client{}, err
	}
	switch {
	case credentials.Scheme == token.SchemeBasic:
		return basicClient(credentials), nil
	case credentials.Scheme == token.SchemeBearer && allowed.bearer:
		return oauth2Client{credentials: []token.Credentials{credentials}}, nil
	}
	if strings.TrimSpace(header.Get("Authorization")) != "" {
		return oauth2Client{}, errNoClient
	}
	return oauth2Client{}, nil
}

// basicClient reads a name and password as RFC 6749 has them, each encoded as in a
// form, and then as they are: curl, and many a library, do not encode. Without a
// password they only name a client; without both, as in "Basic Og==", nobody.
func basicClient(plain token.Credentials) oauth2Client {
	id, idErr := url.QueryUnescape(plain.Username)
	secret, secretErr := url.QueryUnescape(plain.Password.Expose())
	switch {
	case idErr != nil || secretErr != nil:
		id = plain.Username
	case plain.Password.IsZero():
	case id != plain.Username || secret != plain.Password.Expose():
		return oauth2Client{id: id, credentials: []token.Credentials{clientSecret(id, realm.NewSecret(secret)), plain}}
	}
	if plain.Password.IsZero() {
		return oauth2Client{id: id}
	}
	return oauth2Client{id: id, credentials: []token.Credentials{plain}}
}

func clientSecret(id string, secret realm.Secret) token.Credentials {
	return token.Credentials{Scheme: token.SchemeBasic, Username: id, Password: secret}
}

// complete adds what the body says of the client: client_secret_post, or who a public
// client is. RFC 6749, 2.3: one method only, and one client.
func (c *oauth2Client) complete(q *oauth2Request) error {
	shown := len(c.credentials) > 0
	if shown && !q.clientSecret.IsZero() {
		return invalidRequest("the client authenticates in more than one way")
	}
	if q.clientID != "" && c.id != "" && !c.named(q.clientID) {
		return invalidRequest("client_id is not the client of the Authorization header")
	}
	if c.id == "" {
		c.id = q.clientID
	}
	switch {
	case shown || q.clientSecret.IsZero():
		return nil
	case c.id == "":
		return invalidRequest("client_id is missing")
	}
	c.credentials = []token.Credentials{clientSecret(c.id, q.clientSecret)}
	return nil
}

func (c *oauth2Client) named(id string) bool {
	if id == c.id {
		return true
	}
	for _, credentials := range c.credentials {
		if credentials.Username == id {
			return true
		}
	}
	return false
}

// runOAuth2 runs an operation of OAuth 2.0. A client that shows who it is in its
// header is authenticated before anything of its body is read, like everybody; the
// others' bodies must be read first, as strangers'.
func (s *Server) runOAuth2(ctx context.Context, w http.ResponseWriter, x *exchange, op *operation) (response, error) {
	w.Header()["Cache-Control"], w.Header()["Pragma"] = noStore, noCache
	if err := s.checkOAuth2Headers(x); err != nil {
		return response{}, err
	}
	client, err := clientInHeader(x.request.Header, *op.oauth2)
	if err != nil {
		return response{}, err
	}
	client.public = op.oauth2.public && s.publicClients
	read := false
	if len(client.credentials) == 0 {
		read = true
		if err := s.readStrangersBody(w, x); err != nil {
			return response{}, err
		}
		if err := x.readOAuth2(&client); err != nil {
			return response{}, err
		}
	}
	identify := func(authenticate authentication) error {
		if err := s.authenticateClient(ctx, x, &client, authenticate); err != nil || read {
			return err
		}
		read = true
		if err := s.receive(w, x, op); err != nil {
			return err
		}
		return x.readOAuth2(&client)
	}
	act := func() (response, error) { return op.do(ctx, x) }
	if op.access == write {
		return s.settle(ctx, identify, act)
	}
	if err := identify(s.authenticator.Authenticate); err != nil {
		return response{}, err
	}
	return act()
}

// checkOAuth2Headers refuses what can be refused before the client is known.
func (s *Server) checkOAuth2Headers(x *exchange) (err error) {
	r := x.request
	if x.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := checkOAuth2Query(x.query); err != nil {
		return err
	}
	if len(r.Header[canonicalRunAs]) > 0 {
		return invalidRequest("the header " + headerRunAs + " is not supported here")
	}
	if !sendsBody(r) || r.ContentLength < 0 { // only reading tells whether there is one
		return nil
	}
	if r.ContentLength > s.bodyBytes {
		return &http.MaxBytesError{Limit: s.bodyBytes}
	}
	_, err = isForm(r.Header)
	return err
}

func (x *exchange) readOAuth2(client *oauth2Client) error {
	if err := x.oauth2.read(x.request.Header, x.body); err != nil {
		return err
	}
	return client.complete(x.oauth2)
}

// authenticateClient sets the exchange's caller. Names of two readings may belong to
// two users; each needs its own password.
func (s *Server) authenticateClient(ctx context.Context, x *exchange, client *oauth2Client, authenticate authentication) error {
	if len(client.credentials) == 0 {
		return x.admitPublic(client)
	}
	for i, credentials := range client.credentials {
		caller, err := authenticate(ctx, credentials)
		switch {
		case err == nil:
			x.caller = caller
			return nil
		case i+1 < len(client.credentials) && errors.Is(err, realm.ErrBadCredentials):
		default:
			return &callerError{credentials: credentials, err: err}
		}
	}
	return nil // not reached: there are credentials
}

// realmPublic is where clients stand that are named but not authenticated. No user is
// in it, so what such a client obtained is of no use to a user of the same name.
const (
	realmPublic     = "_public"
	publicAnonymous = "_anonymous" // the client that does not name itself
	maxPublicName   = 256          // bytes; every pair keeps it
)

// admitPublic makes a public client the caller (RFC 6749, 2.1): it has no privilege,
// and no guard for there is nothing about it that could change.
func (x *exchange) admitPublic(client *oauth2Client) error {
	if !client.public {
		return &callerError{err: token.ErrNoCredentials}
	}
	name := client.id
	switch {
	case name == "":
		name = publicAnonymous
	case len(name) > maxPublicName || ascii(name) != name:
		return invalidRequest("client_id has more than 256 characters, or some that are not printable ASCII")
	}
	x.public = true
	x.caller = token.Caller{Identity: &fsm.Identity{
		Principal: fsm.Principal{Username: fsm.Username(name), Realm: fsm.Realm{Name: realmPublic, Type: realmPublic}},
		Roles:     []fsm.RoleName{},
	}}
	return nil
}
