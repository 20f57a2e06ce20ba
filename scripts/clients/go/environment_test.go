// Package clients holds real clients of Elasticsearch and of OAuth 2.0 in Go, as
// their users write them, for tests against a running cluster. It is a module of
// its own, so that Jeton does not depend on them. The harness that starts the
// cluster, and tells by environment variables where it is, is
// cmd/jeton/clients_test.go; run it with scripts/check.sh clients.
package clients

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"
)

// expiryPatience is how long a token that lives for two seconds may take to be
// refused.
const expiryPatience = 30 * time.Second

// environment is what the harness tells.
type environment struct {
	url           string // the load balancer, which repeats nothing
	repeatingURL  string // the same, which repeats what got no answer
	shortLivedURL string // another cluster, whose tokens live for two seconds
	authority     []byte // PEM
	app, user     login  // who obtains tokens, and who they are for
}

type login struct{ username, password string }

func given(t *testing.T, name string) string {
	t.Helper()
	value, ok := os.LookupEnv(name)
	if !ok {
		t.Skipf("%s is not set; run scripts/check.sh clients", name)
	}
	return value
}

func fromHarness(t *testing.T) environment {
	t.Helper()
	authority, err := os.ReadFile(given(t, "JETON_CACERT"))
	must(t, err)
	return environment{
		url: given(t, "JETON_URL"), repeatingURL: given(t, "JETON_REPEATING_URL"),
		shortLivedURL: given(t, "JETON_SHORT_LIVED_URL"), authority: authority,
		app:  login{given(t, "JETON_APP_USER"), given(t, "JETON_APP_PASSWORD")},
		user: login{given(t, "JETON_USER"), given(t, "JETON_PASSWORD")},
	}
}

// trusting is an HTTP client that trusts the cluster's authority.
func (e environment) trusting() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(e.authority)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// story is one case of a client. The harness wants to hear of each.
func story(t *testing.T, module, name string, tell func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() { report(t, module, name) })
		tell(t)
	})
}

// report appends a line to the file that the harness reads.
func report(t *testing.T, module, name string) {
	t.Helper()
	verdict := "passed"
	if t.Failed() || t.Skipped() {
		verdict = "failed"
	}
	line, err := json.Marshal(map[string]string{"version": versionOf(t, module), "case": name, "verdict": verdict})
	must(t, err)
	file, err := os.OpenFile(given(t, "JETON_RESULTS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	must(t, err)
}

// versionOf is the version of a module that is tested.
func versionOf(t *testing.T, module string) string {
	t.Helper()
	content, err := os.ReadFile("go.mod")
	must(t, err)
	found := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(module) + ` (\S+)`).FindSubmatch(content)
	if found == nil {
		t.Fatalf("%s is not in go.mod", module)
	}
	return string(found[1])
}

// anotherRound is asked after each round of a story that lasts as long as the
// harness kills and restarts nodes.
func anotherRound(t *testing.T) bool {
	t.Helper()
	answer, err := http.Post(given(t, "JETON_ROUNDS_URL"), "", http.NoBody)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	return string(body) == "another"
}

// untilRefused uses an access token until that fails.
func untilRefused(t *testing.T, use func() error) error {
	t.Helper()
	for deadline := time.Now().Add(expiryPatience); ; {
		if err := use(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			t.Fatal("the token never expires")
		}
	}
}
