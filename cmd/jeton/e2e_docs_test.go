package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Tokens as Elasticsearch's documentation prints them; its own tests put real ones
// in their place, and so do we.
const (
	docsAccess   = "dGhpcyBpcyBub3QgYSByZWFsIHRva2VuIGJ1dCBpdCBpcyBvbmx5IHRlc3QgZGF0YS4gZG8gbm90IHRyeSB0byByZWFkIHRva2VuIQ=="
	docsRefresh  = "vLBPvmAB6KvwvJZr27cS"
	docsRefresh2 = "movUJjPGRRC0PQ7+NW0eag"
)

// docsSession is a reader of the documentation with curl and a cluster.
type docsSession struct {
	cluster *e2eCluster
	cacert  string
	user    string // user:password, who makes the requests
	tokens  *strings.Replacer
}

// The requests of Elasticsearch's documentation of 6.0, 6.2, 6.5 and 7.2, sent as
// they are printed, but for the host and its authority.
func TestE2ERequestsOfElasticsearchsDocumentation(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	c := startDev(t, "bootstrap.password: changeme\n")
	s := &docsSession{cluster: c, cacert: c.cacert, user: "elastic:changeme", tokens: strings.NewReplacer()}

	t.Run("6.0", func(t *testing.T) {
		s.gets(t, `POST /_xpack/security/oauth2/token
{
  "grant_type" : "password",
  "username" : "elastic",
  "password" : "changeme"
}`, `{"type":"Bearer","expires_in":1200,"refresh_token":"given"}`) // the latter since 6.2
		s.bearerHealth(t)
		s.invalidates(t, `DELETE /_xpack/security/oauth2/token
{
  "token" : "`+docsAccess+`"
}`, 1, 0)
	})

	// From here on the documentation takes its test's superuser for granted.
	s.console(t, `PUT /_xpack/security/user/test_admin
{
  "password" : "x-pack-test-password",
  "roles" : [ "superuser" ]
}`)
	s.user = "test_admin:x-pack-test-password"
	for version, path := range map[string]string{
		"6.2 to 6.8": "/_xpack/security/oauth2/token",
		"7.2":        "/_security/oauth2/token",
	} {
		t.Run(version, func(t *testing.T) { s.passwordAndRefresh(t, path) })
		t.Run(version+", client credentials", func(t *testing.T) { s.clientCredentials(t, path) })
		t.Run(version+", invalidate", func(t *testing.T) { s.invalidation(t, path) })
	}
}

func (s *docsSession) passwordAndRefresh(t *testing.T, path string) {
	t.Helper()
	s.gets(t, `POST `+path+`
{
  "grant_type" : "password",
  "username" : "test_admin",
  "password" : "x-pack-test-password"
}`, `{"type":"Bearer","expires_in":1200,"refresh_token":"given"}`)
	s.bearerHealth(t)
	s.gets(t, `POST `+path+`
{
    "grant_type": "refresh_token",
    "refresh_token": "`+docsRefresh+`"
}`, `{"type":"Bearer","expires_in":1200,"refresh_token":"given"}`)
	s.bearerHealth(t)
}

func (s *docsSession) clientCredentials(t *testing.T, path string) {
	t.Helper()
	s.gets(t, `POST `+path+`
{
  "grant_type" : "client_credentials"
}`, `{"type":"Bearer","expires_in":1200}`)
	s.bearerHealth(t)
}

func (s *docsSession) invalidation(t *testing.T, path string) {
	t.Helper()
	login := `POST ` + path + `
{"grant_type":"password","username":"test_admin","password":"x-pack-test-password"}`
	const pair = `{"type":"Bearer","expires_in":1200,"refresh_token":"given"}`
	s.gets(t, login, pair)
	s.invalidates(t, `DELETE `+path+`
{
  "token" : "`+docsAccess+`"
}`, 1, 0)
	s.invalidates(t, `DELETE `+path+`
{
  "refresh_token" : "`+docsRefresh2+`"
}`, 1, 0)
	s.invalidates(t, `DELETE `+path+`
{
  "refresh_token" : "`+docsRefresh2+`"
}`, 0, 1)
	s.invalidates(t, `DELETE `+path+`
{
  "realm_name" : "saml1"
}`, 0, 0)

	s.console(t, `PUT /_security/user/myuser
{"password":"a-password","roles":[]}`)
	as := `POST ` + path + `
{"grant_type":"password","username":"myuser","password":"a-password"}`
	s.gets(t, as, pair)
	s.invalidates(t, `DELETE `+path+`
{
  "username" : "myuser",
  "realm_name" : "saml1"
}`, 0, 0)
	s.invalidates(t, `DELETE `+path+`
{
  "username" : "myuser"
}`, 2, 0)
	s.gets(t, as, pair)
	s.invalidates(t, `DELETE `+path+`
{
  "username" : "myuser",
  "realm_name" : "default_native"
}`, 2, 0)
}

// gets asks for tokens and compares the answer with the documented one; the tokens
// take the place of the printed ones from now on. Since 7.11 an answer also has
// the authentication.
func (s *docsSession) gets(t *testing.T, request, want string) {
	t.Helper()
	answer := s.console(t, request)
	access, _ := answer["access_token"].(string)
	refresh, _ := answer["refresh_token"].(string)
	s.tokens = strings.NewReplacer(docsAccess, access, docsRefresh, refresh, docsRefresh2, refresh)
	if access == "" {
		t.Fatalf("%s\nno access token in %v", request, answer)
	}
	if refresh != "" {
		answer["refresh_token"] = "given"
	}
	delete(answer, "access_token")
	delete(answer, "authentication")
	var wanted map[string]any
	must(t, json.Unmarshal([]byte(want), &wanted))
	if diff := cmp.Diff(wanted, answer); diff != "" {
		t.Errorf("%s\n%s", request, diff)
	}
}

func (s *docsSession) invalidates(t *testing.T, request string, invalidated, previously float64) {
	t.Helper()
	want := map[string]any{
		"invalidated_tokens": invalidated, "previously_invalidated_tokens": previously, "error_count": 0.0,
	}
	if strings.Contains(request, "/_xpack/") { // where versions before 7.0 look for it
		want["created"] = invalidated > 0
	}
	if diff := cmp.Diff(want, s.console(t, request)); diff != "" {
		t.Errorf("%s\n%s", request, diff)
	}
}

// bearerHealth sends the documented line
//
//	curl -H "Authorization: Bearer dGhp..." http://localhost:9200/_cluster/health
//
// to every node.
func (s *docsSession) bearerHealth(t *testing.T) {
	t.Helper()
	for _, n := range s.cluster.nodes {
		line := fmt.Sprintf(`curl -H "Authorization: Bearer %s" http://localhost:9200/_cluster/health`, docsAccess)
		line = strings.ReplaceAll(line, "http://localhost:9200", n.URL)
		if health := s.shell(t, line); health["status"] != "green" || health["number_of_nodes"] != 3.0 {
			t.Errorf("%s: %v", line, health)
		}
	}
}

// console sends a request of the documentation as its "Copy as cURL" does.
func (s *docsSession) console(t *testing.T, request string) map[string]any {
	t.Helper()
	line, body, _ := strings.Cut(request, "\n")
	method, path, _ := strings.Cut(line, " ")
	return s.shell(t, fmt.Sprintf(`curl -u %s -X %s "%s%s" -H 'Content-Type: application/json' -d'
%s
'`, s.user, method, s.cluster.nodes[0].URL, path, body))
}

// shell runs a line with curl in it, which must succeed, and returns the answer.
func (s *docsSession) shell(t *testing.T, line string) (answer map[string]any) {
	t.Helper()
	cmd := exec.Command("sh", "-c", s.tokens.Replace(line))
	cmd.Env = append(cmd.Environ(), "CURL_CA_BUNDLE="+s.cacert)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil {
		t.Fatalf("%s\n%s%s%v", line, out, complaints.String(), err)
	}
	return answer
}
