package clients

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const xoauth2 = "golang.org/x/oauth2"

// oauthScene is x/oauth2 on the way through its stories; oauth.mjs is the same for
// JavaScript.
type oauthScene struct {
	environment

	client *http.Client // trusts the cluster's authority
}

func TestOAuth2(t *testing.T) {
	e := fromHarness(t)
	s := oauthScene{e, e.trusting()}
	for _, tell := range []struct {
		name string
		tell func(*testing.T)
	}{
		{"issue", s.issue},
		{"use", s.use},
		{"refresh", s.refresh},
		{"repeated refresh", s.repeatedRefresh},
		{"client credentials", s.clientCredentials},
		{"scope", s.scope},
		{"revoke access token", s.revokeAccess},
		{"revoke refresh token", s.revokeRefresh},
		{"introspect", s.introspect},
		{"wrong password", s.wrongPassword},
		{"wrong secret", s.wrongSecret},
		{"expired", s.expired},
		{"nodes lost", s.losesNodes},
		{"as documented", s.asDocumented},
	} {
		story(t, xoauth2, tell.name, tell.tell)
	}
}

// context tells x/oauth2 which HTTP client to use.
func (s oauthScene) context(t *testing.T) context.Context {
	t.Helper()
	return context.WithValue(t.Context(), oauth2.HTTPClient, s.client)
}

func (s oauthScene) config(server string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: s.app.username, ClientSecret: s.app.password,
		Endpoint: oauth2.Endpoint{TokenURL: server + "/oauth2/token"},
	}
}

func (s oauthScene) login(t *testing.T) *oauth2.Token {
	t.Helper()
	token, err := s.config(s.repeatingURL).PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	must(t, err)
	return token
}

// renewed is what x/oauth2 gets when it holds a token to be expired.
func (s oauthScene) renewed(t *testing.T, pair *oauth2.Token) *oauth2.Token {
	t.Helper()
	successor, err := s.config(s.repeatingURL).TokenSource(s.context(t), outdated(pair)).Token()
	must(t, err)
	return successor
}

func outdated(pair *oauth2.Token) *oauth2.Token {
	return &oauth2.Token{AccessToken: pair.AccessToken, RefreshToken: pair.RefreshToken, Expiry: time.Now().Add(-time.Minute)}
}

// get asks with a client that shows the token.
func (s oauthScene) get(t *testing.T, source oauth2.TokenSource, url string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(s.context(t), http.MethodGet, url, http.NoBody)
	must(t, err)
	res, err := oauth2.NewClient(s.context(t), source).Do(req)
	must(t, err)
	defer res.Body.Close()
	var content json.RawMessage
	must(t, json.NewDecoder(res.Body).Decode(&content))
	return res.StatusCode, content
}

func (s oauthScene) accepted(t *testing.T, token *oauth2.Token, username string) {
	t.Helper()
	status, body := s.get(t, oauth2.StaticTokenSource(token), s.repeatingURL+"/_security/_authenticate")
	equal(t, status, http.StatusOK)
	var who struct{ Username string }
	must(t, json.Unmarshal(body, &who))
	equal(t, who.Username, username)
}

// refused asks thrice: every node is likely to be asked, and each knows.
func (s oauthScene) refused(t *testing.T, token *oauth2.Token) {
	t.Helper()
	for range 3 {
		status, _ := s.get(t, oauth2.StaticTokenSource(token), s.repeatingURL+"/_security/_authenticate")
		equal(t, status, http.StatusUnauthorized)
	}
}

func refusedAs(t *testing.T, err error, status int, code string) {
	t.Helper()
	said, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		t.Fatalf("got %v, want %d %s", err, status, code)
	}
	equal(t, said.Response.StatusCode, status)
	equal(t, said.ErrorCode, code)
}

// post is how users of x/oauth2, which has no words for them, use the endpoints
// for revocation and introspection.
func (s oauthScene) post(t *testing.T, path string, form url.Values) (answer map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(s.context(t), http.MethodPost, s.repeatingURL+path, strings.NewReader(form.Encode()))
	must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(s.app.username), url.QueryEscape(s.app.password))
	res, err := s.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	equal(t, res.StatusCode, http.StatusOK)
	must(t, json.NewDecoder(res.Body).Decode(&answer))
	return answer
}

func (s oauthScene) revoke(t *testing.T, token string) {
	t.Helper()
	s.post(t, "/oauth2/revoke", url.Values{"token": {token}})
}

func (s oauthScene) issue(t *testing.T) {
	token := s.login(t)
	equal(t, token.Type(), "Bearer")
	equal(t, token.ExpiresIn, 1200)
	equal(t, token.Valid(), true)
	if token.AccessToken == token.RefreshToken || token.RefreshToken == "" {
		t.Error("want another refresh token")
	}
}

func (s oauthScene) use(t *testing.T) {
	config := s.config(s.repeatingURL)
	token, err := config.PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	must(t, err)
	res, err := config.Client(s.context(t), token).Get(s.repeatingURL + "/_cluster/health")
	must(t, err)
	defer res.Body.Close()
	equal(t, res.StatusCode, http.StatusOK)
	var health struct {
		Nodes int `json:"number_of_nodes"`
	}
	must(t, json.NewDecoder(res.Body).Decode(&health))
	equal(t, health.Nodes, 3)
	s.accepted(t, token, s.user.username)
}

func (s oauthScene) refresh(t *testing.T) {
	pair := s.login(t)
	successor := s.renewed(t, pair)
	if successor.AccessToken == pair.AccessToken || successor.RefreshToken == pair.RefreshToken {
		t.Error("the successors are the old tokens")
	}
	s.accepted(t, successor, s.user.username)
}

func (s oauthScene) repeatedRefresh(t *testing.T) {
	pair := s.login(t)
	first := s.renewed(t, pair)
	for range 8 { // the balancer asks another node each time
		again := s.renewed(t, pair)
		equal(t, again.AccessToken, first.AccessToken)
		equal(t, again.RefreshToken, first.RefreshToken)
	}
	s.accepted(t, s.renewed(t, first), s.user.username)
}

func (s oauthScene) clientCredentials(t *testing.T) {
	config := &clientcredentials.Config{
		ClientID: s.app.username, ClientSecret: s.app.password,
		TokenURL: s.repeatingURL + "/oauth2/token",
	}
	token, err := config.Token(s.context(t))
	must(t, err)
	equal(t, token.RefreshToken, "")
	s.accepted(t, token, s.app.username)
}

func (s oauthScene) scope(t *testing.T) {
	config := s.config(s.repeatingURL)
	health := s.repeatingURL + "/_cluster/health"
	config.Scopes = []string{"manage_token"} // which says nothing about health
	narrow, err := config.PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	must(t, err)
	status, _ := s.get(t, oauth2.StaticTokenSource(narrow), health)
	equal(t, status, http.StatusForbidden)
	config.Scopes = []string{"monitor"}
	wide, err := config.PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	must(t, err)
	equal(t, wide.Extra("scope"), any("monitor"))
	status, _ = s.get(t, oauth2.StaticTokenSource(wide), health)
	equal(t, status, http.StatusOK)
	config.Scopes = []string{"make_coffee"}
	_, err = config.PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	refusedAs(t, err, http.StatusBadRequest, "invalid_scope")
}

func (s oauthScene) revokeAccess(t *testing.T) {
	pair := s.login(t)
	s.revoke(t, pair.AccessToken)
	s.refused(t, pair)
	s.accepted(t, s.renewed(t, pair), s.user.username) // the other half lives on
}

func (s oauthScene) revokeRefresh(t *testing.T) {
	pair := s.login(t)
	successor := s.renewed(t, pair)
	s.revoke(t, successor.RefreshToken)
	s.refused(t, successor) // all that came of the login ends
	s.refused(t, pair)
	_, err := s.config(s.repeatingURL).TokenSource(s.context(t), outdated(successor)).Token()
	refusedAs(t, err, http.StatusBadRequest, "invalid_grant")
	s.revoke(t, successor.RefreshToken) // again: no error (RFC 7009, 2.2)
}

func (s oauthScene) introspect(t *testing.T) {
	token := s.login(t)
	told := s.post(t, "/oauth2/introspect", url.Values{"token": {token.AccessToken}})
	equal(t, told["active"], any(true))
	equal(t, told["username"], any(s.user.username))
	equal(t, told["client_id"], any(s.app.username))
	s.revoke(t, token.AccessToken)
	told = s.post(t, "/oauth2/introspect", url.Values{"token": {token.AccessToken}})
	equal(t, told["active"], any(false))
}

func (s oauthScene) wrongPassword(t *testing.T) {
	_, err := s.config(s.repeatingURL).PasswordCredentialsToken(s.context(t), s.user.username, "guessed")
	refusedAs(t, err, http.StatusBadRequest, "invalid_grant")
}

func (s oauthScene) wrongSecret(t *testing.T) {
	config := s.config(s.repeatingURL)
	config.ClientSecret = "guessed"
	_, err := config.PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	refusedAs(t, err, http.StatusUnauthorized, "invalid_client")
}

// expired is what x/oauth2 makes invisible: it gets a new token before it shows one
// that is about to expire.
func (s oauthScene) expired(t *testing.T) {
	config := s.config(s.shortLivedURL)
	first, err := config.PasswordCredentialsToken(s.context(t), s.user.username, s.user.password)
	must(t, err)
	err = untilRefused(t, func() error {
		status, _ := s.get(t, oauth2.StaticTokenSource(first), s.shortLivedURL+"/_security/_authenticate")
		if status != http.StatusOK {
			return &refusal{status: status}
		}
		return nil
	})
	refusedWith(t, err, refusal{status: http.StatusUnauthorized})
	second, err := config.TokenSource(s.context(t), first).Token()
	must(t, err)
	if second.AccessToken == first.AccessToken {
		t.Error("x/oauth2 shows a token that has expired")
	}
}

func (s oauthScene) losesNodes(t *testing.T) {
	for anotherRound(t) {
		pair := s.login(t)
		s.accepted(t, pair, s.user.username)
		successor := s.renewed(t, pair)
		s.accepted(t, successor, s.user.username)
		s.revoke(t, successor.RefreshToken)
		s.refused(t, successor)
	}
}

func (s oauthScene) asDocumented(t *testing.T) {
	issuer, clientID, clientSecret := s.repeatingURL, s.app.username, s.app.password
	username, password, ctx := s.user.username, s.user.password, s.context(t)

	config := &oauth2.Config{
		ClientID: clientID, ClientSecret: clientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: issuer + "/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	token, err := config.PasswordCredentialsToken(ctx, username, password)
	must(t, err)
	client := config.Client(ctx, token) // refreshes by itself
	res, err := client.Get(issuer + "/_cluster/health")

	must(t, err)
	must(t, res.Body.Close())
	equal(t, res.StatusCode, http.StatusOK)

	machine := &clientcredentials.Config{
		ClientID: clientID, ClientSecret: clientSecret,
		TokenURL: issuer + "/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader,
	}
	res, err = machine.Client(ctx).Get(issuer + "/_security/_authenticate")

	must(t, err)
	must(t, res.Body.Close())
	equal(t, res.StatusCode, http.StatusOK)
}
