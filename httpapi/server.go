package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"jeton/fsm"
	"jeton/node/token"
)

// Defaults of [Config] and [Limits].
const (
	defaultRequestTimeout = 30 * time.Second // Elasticsearch's clients give up then, too
	defaultBodyBytes      = 64 << 10         // a command is smaller, so a larger body could not be stored
	defaultHeldBytes      = 64 << 20         // 1,024 of the largest bodies, 100,000 usual ones; a small node has it
)

// Tokens are the use cases of the token service. Safe for concurrent use;
// [*token.Service] is one.
type Tokens interface {
	Introspector
	Issue(ctx context.Context, caller token.Caller, r token.IssueRequest) (token.Pair, error)
	Refresh(ctx context.Context, caller token.Caller, r token.RefreshRequest) (token.Pair, error)
	Invalidate(ctx context.Context, caller token.Caller, r token.InvalidateRequest) (token.Counts, error)
	Sessions(ctx context.Context, caller token.Caller, r token.SessionsRequest) (token.SessionsPage, error)
}

// Authenticator finds out who sends a request. Safe for concurrent use;
// [*token.Service] is one.
type Authenticator interface {
	Authenticate(ctx context.Context, c token.Credentials) (token.Caller, error)
	Recognize(ctx context.Context, c token.Credentials) (token.Caller, error)
	AuthenticateForWrite(ctx context.Context, c token.Credentials) (token.Caller, error)
	// RunAs makes the caller act as another user, by this node's state.
	RunAs(caller token.Caller, name fsm.Username) (token.Caller, error)
}

// Cluster tells about the cluster as this node sees it. Safe for concurrent use.
type Cluster interface {
	// About never blocks.
	About() About
	// Health asks the other members, and after a second at most returns what it knows.
	Health(ctx context.Context) Health
	// NotReady lists, without blocking, why this node should get no requests: it knows
	// no leader, is not caught up, or is about to stop. None: it should.
	NotReady() []string
}

// About names a node and its cluster.
type About struct {
	NodeID      string
	NodeName    string
	ClusterName string
	ClusterID   [16]byte // zero until the cluster is formed
}

// Health is the state of the cluster's membership.
type Health struct {
	Members   int  // voters and others, this node included
	Answering int  // members that answered just now, this node included
	Leader    bool // a leader is known
	// Nodes are the members that answered, this node first. Other fields count them;
	// these say where they are.
	Nodes []Member
}

// Limits bound what one client may cost before it is known who it is. Zero fields
// stand for the defaults.
type Limits struct {
	BodyBytes int64 // of a request's body; default 64 KiB
	// HeldBytes is what the bodies of all requests being served may have together: a
	// request that would exceed it is answered with 503. A body without Content-Length
	// counts as BodyBytes. Default 64 MiB, at least BodyBytes.
	HeldBytes int64
}

// OAuth2 is what the endpoints of OAuth 2.0 can be told. Zero: see the fields.
type OAuth2 struct {
	// Issuer is the URL by which clients know this service (RFC 8414, 2), without a slash
	// at its end. Empty: there is no metadata.
	Issuer string
	// PublicClients lets in clients that do not authenticate (RFC 6749, 2.1), with the
	// grants password and refresh_token.
	PublicClients bool
}

// Config is what a Server needs. Fields without a word about zero are required.
type Config struct {
	Tokens        Tokens
	Authenticator Authenticator
	Users         Users
	Roles         Roles
	Cluster       Cluster
	// ForgetPasswords empties this node's memory of verified passwords. Nil: there is none.
	ForgetPasswords func()
	// TokensEnabled has Bearer listed among the challenges.
	TokensEnabled bool
	// RequestTimeout is how long a request may wait for a leader, a quorum or a
	// password hash before it is answered with 503. Zero: 30 s.
	RequestTimeout time.Duration
	Limits         Limits
	OAuth2         OAuth2
	// Now times requests for the log, and the bodies of strangers. It does not decide
	// about tokens.
	Now func() time.Time
	// Logger gets one line per request at debug, and one per security decision that
	// an auditor asks for at info. No line holds a secret. Nil: no log.
	Logger hclog.Logger
	// Version is Jeton's own, shown as build_hash by GET /. Empty: "unknown".
	Version string
}

// Server serves Elasticsearch's HTTP API for tokens, users and roles. Its methods
// are safe for concurrent use. It starts no goroutine and needs no closing.
type Server struct {
	tokens          Tokens
	authenticator   Authenticator
	users           Users
	roles           Roles
	cluster         Cluster
	forgetPasswords func()
	challenges      []string
	oneChallenge    []string  // all of them in one line, for gateways
	unknownDemand   sync.Once // tells the log
	timeout         time.Duration
	bodyBytes       int64
	held            *semaphore.Weighted // bytes of bodies
	strangers       *semaphore.Weighted // the part of held that those may take who are not known yet
	issuer          string              // empty: none
	publicClients   bool
	now             func() time.Time
	log             hclog.Logger
	version         string
	handler         http.Handler
}

// New returns a Server. It reports every missing part of c.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{
		tokens: c.Tokens, authenticator: c.Authenticator, users: c.Users, roles: c.Roles, cluster: c.Cluster,
		challenges: challenges(c.TokensEnabled), oneChallenge: oneChallenge(c.TokensEnabled),
		forgetPasswords: c.ForgetPasswords,
		timeout:         c.RequestTimeout,
		bodyBytes:       c.Limits.BodyBytes,
		now:             c.Now,
		log:             c.Logger,
		version:         c.Version,
	}
	if s.timeout == 0 {
		s.timeout = defaultRequestTimeout
	}
	if s.bodyBytes == 0 {
		s.bodyBytes = defaultBodyBytes
	}
	if c.Limits.HeldBytes == 0 {
		c.Limits.HeldBytes = defaultHeldBytes
	}
	held := max(c.Limits.HeldBytes, s.bodyBytes)
	s.held, s.strangers = semaphore.NewWeighted(held), semaphore.NewWeighted(held/strangersShare)
	s.issuer, s.publicClients = c.OAuth2.Issuer, c.OAuth2.PublicClients
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.version == "" {
		s.version = "unknown"
	}
	s.handler = s.routes()
	return s, nil
}

// Handler serves all routes.
func (s *Server) Handler() http.Handler { return s.handler }

func (c *Config) check() error {
	var problems []error
	require := func(ok bool, what string) {
		if !ok {
			problems = append(problems, errors.New("httpapi: no "+what))
		}
	}
	require(c.Tokens != nil, "tokens")
	require(c.Authenticator != nil, "authenticator")
	require(c.Users != nil, "users")
	require(c.Roles != nil, "roles")
	require(c.Cluster != nil, "cluster")
	require(c.Now != nil, "clock")
	return errors.Join(problems...)
}

// Challenges (RFC 9110, 11.6.1).
const (
	challengeBasic  = `Basic realm="security", charset="UTF-8"`
	challengeBearer = `Bearer realm="security"`
)

// challenges are the values of WWW-Authenticate for a caller that is not known, in
// Elasticsearch's order.
func challenges(tokens bool) []string {
	list := []string{challengeBasic}
	if tokens {
		list = append(list, challengeBearer)
	}
	return append(list, schemeAPIKey)
}

// oneChallenge is the same for a gateway, in one line, for some pass on the first line
// only (nginx before 1.23). What people want comes first; there are no API keys.
func oneChallenge(tokens bool) []string {
	if tokens {
		return []string{challengeBearer + ", " + challengeBasic}
	}
	return []string{challengeBasic}
}
