package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"testing"
)

// elasticsearch is what every client of Elasticsearch can do. How it is written
// differs, so each client's file says it. Errors of the server are a *refusal.
type elasticsearch interface {
	tagline(ctx context.Context) (string, error)

	password(ctx context.Context, user login) (tokens, error)
	refresh(ctx context.Context, refreshToken string) (tokens, error)
	clientCredentials(ctx context.Context) (tokens, error)

	invalidateAccess(ctx context.Context, token string) (invalidated int64, err error)
	invalidateRefresh(ctx context.Context, token string) (invalidated int64, err error)
	invalidateUser(ctx context.Context, username string) (invalidated int64, err error)

	// These are asked by the holder of an access token.
	username(ctx context.Context, accessToken string) (string, error)
	numberOfNodes(ctx context.Context, accessToken string) (int, error)

	// discover replaces the URL that the client was given by those of the nodes.
	discover(ctx context.Context) (urls []string, err error)
}

// connecting makes a client.
type connecting func(t *testing.T, url string, e environment, as login) elasticsearch

// tokens is the answer to a grant.
type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	Type         string `json:"type"`
	ExpiresIn    int64  `json:"expires_in"`
}

// refusal is what a server said when it refused.
type refusal struct {
	status int
	reason string // Elasticsearch's type of error, or RFC 6749's code
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.reason) }

// read decodes an answer as esapi returns it, or says why it is an error.
func read(status int, body io.ReadCloser, into any) error {
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if status >= http.StatusBadRequest {
		return refused(status, content)
	}
	return json.Unmarshal(content, into)
}

// refused reads the two shapes of an error's body.
func refused(status int, content []byte) error {
	var body struct{ Error json.RawMessage }
	var elasticsearchs struct{ Type string }
	var rfcs string
	if err := json.Unmarshal(content, &body); err != nil {
		return fmt.Errorf("%d %q: %w", status, content, err)
	}
	if json.Unmarshal(body.Error, &rfcs) != nil && json.Unmarshal(body.Error, &elasticsearchs) != nil {
		return fmt.Errorf("%d %q is no error of Elasticsearch's", status, content)
	}
	return &refusal{status, rfcs + elasticsearchs.Type}
}

// scene is one client on the way through its stories.
type scene struct {
	environment
	elasticsearch

	connect connecting
}

// elasticsearchStories is what every client goes through; elasticsearch.mjs is the
// same for JavaScript.
func elasticsearchStories(t *testing.T, module string, connect connecting) {
	t.Helper()
	e := fromHarness(t)
	s := scene{e, connect(t, e.url, e, e.app), connect}
	for _, tell := range []struct {
		name string
		tell func(*testing.T)
	}{
		{"product check", s.productCheck},
		{"issue", s.issue},
		{"use", s.use},
		{"refresh", s.refreshes},
		{"repeated refresh", s.repeatedRefresh},
		{"client credentials", s.grantsToItself},
		{"invalidate access token", s.invalidatesAccess},
		{"invalidate refresh token", s.invalidatesRefresh},
		{"invalidate by user", s.invalidatesUser},
		{"wrong password", s.wrongPassword},
		{"expired", s.expired},
		{"node discovery", s.discovers},
		{"nodes lost", s.losesNodes},
	} {
		story(t, module, tell.name, tell.tell)
	}
}

func (s scene) login(t *testing.T) tokens {
	t.Helper()
	pair, err := s.password(t.Context(), s.user)
	must(t, err)
	return pair
}

func (s scene) successor(t *testing.T, pair tokens) tokens {
	t.Helper()
	successor, err := s.refresh(t.Context(), pair.RefreshToken)
	must(t, err)
	return successor
}

func (s scene) accepted(t *testing.T, token, username string) {
	t.Helper()
	name, err := s.username(t.Context(), token)
	must(t, err)
	equal(t, name, username)
}

// refused asks thrice: every node is likely to be asked, and each knows.
func (s scene) refused(t *testing.T, token string) {
	t.Helper()
	for range 3 {
		_, err := s.username(t.Context(), token)
		refusedWith(t, err, refusal{http.StatusUnauthorized, "security_exception"})
	}
}

func (s scene) invalidGrant(t *testing.T, pair tokens) {
	t.Helper()
	_, err := s.refresh(t.Context(), pair.RefreshToken)
	refusedWith(t, err, refusal{http.StatusBadRequest, "invalid_grant"})
}

func (s scene) productCheck(t *testing.T) {
	tagline, err := s.tagline(t.Context())
	must(t, err)
	equal(t, tagline, "You Know, for Search")
}

func (s scene) issue(t *testing.T) {
	pair := s.login(t)
	if pair.AccessToken == "" || pair.RefreshToken == "" || pair.AccessToken == pair.RefreshToken {
		t.Error("want an access token and another refresh token")
	}
	equal(t, pair.Type, "Bearer")
	equal(t, pair.ExpiresIn, 1200)
}

func (s scene) use(t *testing.T) {
	pair := s.login(t)
	s.accepted(t, pair.AccessToken, s.user.username)
	nodes, err := s.numberOfNodes(t.Context(), pair.AccessToken)
	must(t, err)
	equal(t, nodes, 3)
}

func (s scene) refreshes(t *testing.T) {
	pair := s.login(t)
	successor := s.successor(t, pair)
	if successor.AccessToken == pair.AccessToken || successor.RefreshToken == pair.RefreshToken {
		t.Error("the successors are the old tokens")
	}
	s.accepted(t, successor.AccessToken, s.user.username)
	s.accepted(t, pair.AccessToken, s.user.username) // until it expires, as in Elasticsearch
}

func (s scene) repeatedRefresh(t *testing.T) {
	pair := s.login(t)
	first := s.successor(t, pair)
	for range 8 { // the balancer asks another node each time
		equal(t, s.successor(t, pair), first)
	}
	s.accepted(t, s.successor(t, first).AccessToken, s.user.username)
}

func (s scene) grantsToItself(t *testing.T) {
	token, err := s.clientCredentials(t.Context())
	must(t, err)
	equal(t, token.RefreshToken, "")
	s.accepted(t, token.AccessToken, s.app.username)
}

func (s scene) invalidatesAccess(t *testing.T) {
	pair := s.login(t)
	count, err := s.invalidateAccess(t.Context(), pair.AccessToken)
	must(t, err)
	equal(t, count, 1)
	s.refused(t, pair.AccessToken)
	s.accepted(t, s.successor(t, pair).AccessToken, s.user.username) // the other half lives on
}

func (s scene) invalidatesRefresh(t *testing.T) {
	pair := s.login(t)
	count, err := s.invalidateRefresh(t.Context(), pair.RefreshToken)
	must(t, err)
	equal(t, count, 1)
	s.invalidGrant(t, pair)
	s.accepted(t, pair.AccessToken, s.user.username)
}

func (s scene) invalidatesUser(t *testing.T) {
	pairs := []tokens{s.login(t), s.login(t)}
	count, err := s.invalidateUser(t.Context(), s.user.username)
	must(t, err)
	if count < 4 {
		t.Errorf("invalidated %d tokens, want at least 4", count)
	}
	for _, pair := range pairs {
		s.refused(t, pair.AccessToken)
		s.invalidGrant(t, pair)
	}
}

func (s scene) wrongPassword(t *testing.T) {
	_, err := s.password(t.Context(), login{s.user.username, "guessed"})
	refusedWith(t, err, refusal{http.StatusUnauthorized, "security_exception"})
	stranger := s.connect(t, s.url, s.environment, login{s.app.username, "guessed"})
	_, err = stranger.password(t.Context(), s.user)
	refusedWith(t, err, refusal{http.StatusUnauthorized, "security_exception"})
}

func (s scene) expired(t *testing.T) {
	shortLived := s.connect(t, s.shortLivedURL, s.environment, s.app)
	pair, err := shortLived.password(t.Context(), s.user)
	must(t, err)
	err = untilRefused(t, func() error {
		_, err := shortLived.username(t.Context(), pair.AccessToken)
		return err
	})
	refusedWith(t, err, refusal{http.StatusUnauthorized, "security_exception"})
	successor, err := shortLived.refresh(t.Context(), pair.RefreshToken)
	must(t, err)
	if successor.AccessToken == pair.AccessToken {
		t.Error("the successor is the expired token")
	}
}

func (s scene) discovers(t *testing.T) {
	discovering := s.connect(t, s.url, s.environment, s.app)
	urls, err := discovering.discover(t.Context())
	must(t, err)
	equal(t, len(urls), 3)
	for _, url := range urls {
		if !regexp.MustCompile(`^https://127\.0\.0\.1:\d+$`).MatchString(url) {
			t.Errorf("%s is not the URL of a node", url)
		}
	}
	_, err = discovering.password(t.Context(), s.user) // now at a node, past the balancer
	must(t, err)
}

func (s scene) losesNodes(t *testing.T) {
	for anotherRound(t) {
		pair := s.login(t)
		s.accepted(t, pair.AccessToken, s.user.username)
		successor := s.successor(t, pair)
		s.accepted(t, successor.AccessToken, s.user.username)
		_, err := s.invalidateAccess(t.Context(), successor.AccessToken)
		must(t, err)
		s.refused(t, successor.AccessToken)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func refusedWith(t *testing.T, err error, want refusal) {
	t.Helper()
	got, ok := errors.AsType[*refusal](err)
	if !ok {
		t.Fatalf("got %v, want %v", err, &want)
	}
	equal(t, *got, want)
}

// discovered has a client ask for the nodes, and returns where it will send
// requests from now on.
func discovered(client interface{ DiscoverNodes() error }, transport any) (urls []string, err error) {
	if err := client.DiscoverNodes(); err != nil {
		return nil, err
	}
	for _, url := range transport.(interface{ URLs() []*url.URL }).URLs() {
		urls = append(urls, url.String())
	}
	return urls, nil
}
