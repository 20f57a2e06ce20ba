package node

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// oauth2 posts a form to a running node, as a client that authenticates with
// client_secret_basic, or without a name in whatever way the form says.
func (s *site) oauth2(path, client, form string) (int, map[string]any) {
	s.tb.Helper()
	request, err := http.NewRequestWithContext(s.tb.Context(), http.MethodPost, "https://"+s.config.HTTP.PublishAddress()+path, strings.NewReader(form))
	if err != nil {
		s.tb.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	switch {
	case strings.HasPrefix(client, "Bearer "):
		request.Header.Set("Authorization", client)
	case client != "":
		request.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(client)))
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		s.tb.Fatalf("%s: %d %v", path, response.StatusCode, err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, answer
}

// must is oauth2 for what must succeed; it returns both tokens, if there are any.
func (s *site) must(path, client, form string) (answer map[string]any, access, refresh string) {
	s.tb.Helper()
	status, answer := s.oauth2(path, client, form)
	if status != http.StatusOK {
		s.tb.Fatalf("%s by %s: %d %v", path, client, status, answer)
	}
	access, _ = answer["access_token"].(string)
	refresh, _ = answer["refresh_token"].(string)
	return answer, access, refresh
}

// refused is oauth2 for what must fail in a certain way.
func (s *site) refused(path, client, form string, status int, code string) {
	s.tb.Helper()
	if got, answer := s.oauth2(path, client, form); got != status || answer["error"] != code {
		s.tb.Errorf("%s by %s: %d %v, want %d %s", path, client, got, answer, status, code)
	}
}

// active asks the introspection endpoint.
func (s *site) active(client, token string) bool {
	s.tb.Helper()
	answer, _, _ := s.must("/oauth2/introspect", client, "token="+token)
	active, _ := answer["active"].(bool)
	return active
}

const (
	portalClient, joeClient, annClient = "portal:portal-secret", "joe:joe-secret", "ann:ann-secret"

	passwordForm = "grant_type=password&username=joe&password=joe-secret"
)

func newOAuth2Site(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.config.OAuth2.Issuer, s.config.OAuth2.PublicClients = "https://example.org/id", true
	s.mustOpen()
	for path, body := range map[string]string{
		"/_security/role/portal": `{"cluster":["manage_token"]}`,
		"/_security/user/portal": `{"password":"portal-secret","roles":["portal"]}`,
		"/_security/user/joe":    `{"password":"joe-secret","roles":["superuser"]}`,
		"/_security/user/ann":    `{"password":"ann-secret","roles":[]}`,
	} {
		if status, answer := s.ask(http.MethodPut, path, "", body); status != http.StatusOK {
			t.Fatalf("%s: %d %v", path, status, answer)
		}
	}
	return s
}

// The whole way of a session by OAuth 2.0 alone: RFC 6749, 7662 and 7009.
func TestOAuth2Session(t *testing.T) {
	s := newOAuth2Site(t)
	answer, access, refresh := s.must("/oauth2/token", "", passwordForm+"&scope=monitor&client_id=portal&client_secret=portal-secret")
	if answer["scope"] != "monitor" || answer["token_type"] != "Bearer" {
		t.Errorf("issued: %v", answer)
	}
	if status, _ := s.ask(http.MethodGet, "/", "Bearer "+access, ""); status != http.StatusOK {
		t.Errorf("what the scope grants: %d", status)
	}
	if status, _ := s.ask(http.MethodGet, "/_security/user", "Bearer "+access, ""); status != http.StatusForbidden {
		t.Errorf("what the scope does not grant: %d", status)
	}
	answer, _, _ = s.must("/oauth2/introspect", joeClient, "token="+access)
	for name, want := range map[string]any{
		"active": true, "scope": "monitor", "client_id": "portal", "username": "joe", "iss": "https://example.org/id", "token_type": "Bearer",
	} {
		if answer[name] != want {
			t.Errorf("introspected %s: %v", name, answer[name])
		}
	}
	if s.active(annClient, access) || !s.active(portalClient, access) || !s.active("Bearer "+access, access) || s.active("Bearer "+access, refresh) {
		t.Error("the wrong ones may introspect")
	}

	s.refused("/oauth2/token", portalClient, "grant_type=refresh_token&refresh_token="+refresh+"&scope=manage_token", 400, "invalid_scope")
	s.refused("/oauth2/token", joeClient, "grant_type=refresh_token&refresh_token="+refresh, 400, "invalid_grant")
	s.refused("/oauth2/token", annClient, "grant_type=refresh_token&refresh_token="+refresh, 400, "unauthorized_client")
	answer, second, next := s.must("/oauth2/token", portalClient, "grant_type=refresh_token&refresh_token="+refresh)
	if answer["scope"] != "monitor" {
		t.Errorf("refreshed: %v", answer)
	}

	s.must("/oauth2/revoke", annClient, "token="+next) // in vain, and without a sign of it
	s.must("/oauth2/revoke", annClient, "token=nonsense")
	if !s.active(joeClient, next) {
		t.Error("a stranger ended the session")
	}
	s.must("/oauth2/revoke", joeClient, "token="+second)
	if s.active(joeClient, second) || !s.active(joeClient, access) {
		t.Error("an access token does not end alone")
	}
	s.must("/oauth2/revoke", portalClient, "token="+next+"&token_type_hint=access_token")
	if s.active(joeClient, access) || s.active(joeClient, next) {
		t.Error("the family has survived its refresh token")
	}
	if status := s.authenticate(access); status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", status)
	}
}

// RFC 6749, 2.1: what a public client obtained is for nobody else to refresh.
func TestOAuth2PublicClient(t *testing.T) {
	s := newOAuth2Site(t)
	s.refused("/oauth2/token", "", "grant_type=client_credentials&client_id=portal", 401, "invalid_client")
	s.refused("/oauth2/token", "", passwordForm+"x&client_id=portal", 400, "invalid_grant")
	_, access, refresh := s.must("/oauth2/token", "", passwordForm+"&client_id=portal")
	form := "grant_type=refresh_token&refresh_token=" + refresh
	s.refused("/oauth2/token", portalClient, form, 400, "invalid_grant") // a user of that name
	s.refused("/oauth2/token", "", form+"&client_id=other", 400, "invalid_grant")
	s.refused("/oauth2/token", "", form, 400, "invalid_grant")
	_, _, next := s.must("/oauth2/token", "portal:", form)
	s.must("/oauth2/revoke", "", "client_id=other&token="+next)
	if !s.active("elastic:"+url.QueryEscape(elasticPassword), next) {
		t.Error("another public client ended the session")
	}
	s.must("/oauth2/revoke", "", "client_id=portal&token="+next)
	if status := s.authenticate(access); status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", status)
	}
}

func TestOAuth2Metadata(t *testing.T) {
	s := newOAuth2Site(t)
	for _, path := range []string{
		"/.well-known/oauth-authorization-server/id", "/id/.well-known/openid-configuration", "/.well-known/openid-configuration",
	} {
		status, answer := s.ask(http.MethodGet, path, "Bearer x", "")
		if status != http.StatusOK || answer["issuer"] != "https://example.org/id" || answer["token_endpoint"] != "https://example.org/id/oauth2/token" {
			t.Errorf("%s: %d %v", path, status, answer)
		}
	}
}
