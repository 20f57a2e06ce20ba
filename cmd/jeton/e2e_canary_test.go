package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

// canaries are secrets that were put in somewhere and must come out nowhere.
type canaries struct {
	mu   sync.Mutex
	sung map[string]string // secret -> where it was put in
	// echoed are no secrets by their place (a name, a path): an answer may repeat
	// them to who sent them, as Elasticsearch's do, but no log may.
	echoed map[string]bool
}

func (c *canaries) add(secret, where string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sung[secret] = where
	return secret
}

func (c *canaries) fresh(where string) string {
	return c.add("Canary"+strings.ToLower(rand.Text()), where)
}

func (c *canaries) misplaced(where string) string {
	secret := c.fresh(where)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.echoed[secret] = true
	return secret
}

// Secrets are put into every input, rightly and wrongly, with and without a
// quorum; then they are looked for in every answer, log and file.
func TestE2ESecretsAreNowhere(t *testing.T) {
	birds := &canaries{sung: map[string]string{}, echoed: map[string]bool{}}
	elastic := birds.fresh("bootstrap.password")
	c := startDev(t, "log.level: trace\nrequest.timeout: 2s\n"+cheapHashes+"bootstrap.password: "+elastic+
		"\nraft.snapshot_threshold: 4kb\nraft.snapshot_interval: 1s\nraft.trailing_logs: 16\n")

	must(t, birds.live(c))
	for i := range c.nodes {
		must(t, birds.misuse(c, c.node(i)))
	}
	for _, n := range c.nodes {
		until(t, n.Name+" has a snapshot", func() error {
			found, err := filepath.Glob(filepath.Join(n.Data, "snapshots", "*", "state.bin"))
			if err == nil && len(found) == 0 {
				_, err = c.node(0).token(c.elastic, asPassword("elastic", elastic))
				err = errors.Join(errors.New("none"), err)
			}
			return err
		})
	}
	survivor := c.leader(t)
	for _, n := range c.others(survivor) {
		n.kill(t)
	}
	must(t, birds.misuse(c, survivor))
	bringBack(t, c.others(survivor)...)
	must(t, birds.live(c))

	if !contains(t, filepath.Join(survivor.Data, "raft.db"), "canary-user") {
		t.Error("the search finds nothing: not even a user's name in the log")
	}
	birds.search(t, c, elastic)
	t.Logf("%d secrets", len(birds.sung))
}

// live is the ordinary life of a user and the tokens.
func (c *canaries) live(cluster *e2eCluster) error {
	const name = "canary-user"
	first, second := c.fresh("password of a new user"), c.fresh("password, changed")
	user := func(password string) string { return fmt.Sprintf(`{"password":%q,"roles":["superuser"]}`, password) }
	for i, n := range cluster.nodes {
		_, err := n.want(http.StatusOK, http.MethodPut, "/_security/user/"+name, cluster.elastic, user(first))
		if err != nil {
			return err
		}
		pair, err := n.token(basic(name, first), asPassword(name, first))
		if err != nil {
			return err
		}
		next, err := cluster.node(i+1).token(basic(name, first), asRefresh(pair))
		if err != nil {
			return err
		}
		other, err := n.token(bearer(next.Access), `{"grant_type":"client_credentials"}`)
		if err != nil {
			return err
		}
		for _, token := range []string{pair.Access, pair.Refresh, next.Access, next.Refresh, other.Access} {
			c.add(token, "an issued token")
		}
		err = errors.Join(
			n.accepts(bearer(other.Access)),
			n.invalidate(cluster.elastic, other),
			n.refuses(bearer(other.Access)),
		)
		if err != nil {
			return err
		}
		body := fmt.Sprintf(`{"password":%q}`, second)
		if _, err := n.want(http.StatusOK, http.MethodPost, "/_security/user/_password", basic(name, first), body); err != nil {
			return err
		}
		if err := errors.Join(n.accepts(basic(name, second)), n.refuses(basic(name, first))); err != nil {
			return err
		}
	}
	return nil
}

// misuse puts secrets where they are wrong, malformed or misplaced.
func (c *canaries) misuse(cluster *e2eCluster, n *e2eNode) error {
	var group errgroup.Group
	for _, header := range []string{
		basic("elastic", c.fresh("wrong password")),
		basic("nobody", c.fresh("password of an unknown user")),
		"Basic " + base64.StdEncoding.EncodeToString([]byte(c.fresh("Basic without a colon"))),
		"Basic " + c.fresh("Basic, not base64"),
		bearer(c.fresh("malformed token")),
		bearer(c.fresh("two") + " " + c.fresh("tokens")),
		bearer(c.add(unknownToken("jat_"), "unknown access token")),
		bearer(c.add(unknownToken("jrt_"), "refresh token as an access token")),
		bearer(strings.Repeat(c.fresh("long token"), 2000)),
		"ApiKey " + c.fresh("API key"),
		"Digest " + c.fresh("other scheme"),
		c.fresh("no scheme"),
		basic(c.misplaced("password as user name"), "x"),
	} {
		group.Go(func() error { return c.send(n, http.MethodGet, pathWhoAmI, header, "") })
		group.Go(func() error {
			return c.send(n, http.MethodPost, pathToken, header, `{"grant_type":"client_credentials"}`)
		})
	}
	for _, target := range [][2]string{
		{http.MethodPost, pathToken},
		{http.MethodDelete, pathToken},
		{http.MethodPut, "/_security/user/canary-other"},
		{http.MethodPost, "/_security/user/canary-other/_password"},
		{http.MethodPut, "/_security/role/canary-role"},
	} {
		for _, body := range c.badBodies() {
			group.Go(func() error { return c.send(n, target[0], target[1], cluster.elastic, body) })
		}
	}
	for _, path := range []string{
		pathWhoAmI + "?access_token=" + c.misplaced("token in the query"),
		pathToken + "?password=" + c.misplaced("password in the query"),
		"/_security/user/" + c.misplaced("password in the path"),
		"/" + c.misplaced("password as a path"),
	} {
		group.Go(func() error { return c.send(n, http.MethodGet, path, cluster.elastic, "") })
		group.Go(func() error { return c.send(n, http.MethodGet, path, "", "") })
	}
	group.Go(func() error { return c.rawRequests(n) })
	return group.Wait()
}

// badBodies are bodies with a secret in them.
func (c *canaries) badBodies() []string {
	s := c.fresh
	return []string{
		asPassword("elastic", s("wrong password in a grant")),
		asPassword(c.misplaced("password as user name in a grant"), s("password of an unknown user in a grant")),
		asRefresh(e2ePair{Refresh: s("malformed refresh token")}),
		asRefresh(e2ePair{Refresh: c.add(unknownToken("jrt_"), "unknown refresh token")}),
		asRefresh(e2ePair{Refresh: c.add(unknownToken("jat_"), "access token as a refresh token")}),
		`{"token":"` + s("malformed token") + `"}`,
		`{"token":"` + c.add(unknownToken("jat_"), "unknown token") + `","username":"x"}`,
		`{"refresh_token":"` + s("refresh token") + `","token":"` + s("and token") + `"}`,
		`{"password":"` + s("cut short"),
		`{"password":"` + s("cut after the value") + `"`,
		`{"password":"` + s("invalid escape") + `\x"}`,
		`{"password":"` + s("not UTF-8") + "\xff\"}",
		`{"password":["` + s("in an array") + `"]}`,
		`{"password":{"p":"` + s("in an object") + `"}}`,
		`{"password":"` + s("given twice") + `","password":"` + s("given again") + `"}`,
		`{"grant_type":"` + s("as the grant type") + `","scope":"` + s("as the scope") + `"}`,
		`{"grant_type":"_kerberos","kerberos_ticket":"` + s("as a ticket") + `"}`,
		`{"grant_type":"client_credentials","password":"` + s("not supported") + `"}`,
		`{"password_hash":"` + s("as a hash") + `","roles":[]}`,
		`{"password":"` + s("with a hash") + `","password_hash":"$2a$10$` + s("hash") + `","roles":[]}`,
		`{"roles":"` + c.misplaced("as a role") + `","metadata":{"_x":"` + s("in refused metadata") + `"}}`,
		`{"unknown_member":"` + s("in an unknown member") + `"}`,
		`{"password":"x"} ` + s("after the body"),
		s("not JSON"),
		`"` + s("a JSON string") + `"`,
		`password=` + s("a form"),
		`{"password":"` + strings.Repeat(s("too large"), 4000) + `"}`,
	}
}

// send sends a request and looks for secrets in the answer.
func (c *canaries) send(n *e2eNode, method, path, authorization, body string) error {
	answer, err := n.ask(method, path, authorization, body)
	if err != nil {
		return err
	}
	if answer.status == http.StatusInternalServerError {
		return fmt.Errorf("%s %s: %v", method, path, answer)
	}
	return c.notIn(fmt.Sprintf("the answer to %s %s", method, path), answer.String())
}

func (c *canaries) notIn(what, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for secret, where := range c.sung {
		if !c.echoed[secret] && strings.Contains(text, secret) {
			return fmt.Errorf("%q is in %s: %s", where, what, text)
		}
	}
	return nil
}

// rawRequests are not HTTP, or not HTTPS.
func (c *canaries) rawRequests(n *e2eNode) error {
	address := strings.TrimPrefix(n.URL, "https://")
	plain := func() (net.Conn, error) { return net.Dial("tcp", address) }
	secure := func() (net.Conn, error) { return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) }
	for _, request := range []struct {
		dial func() (net.Conn, error)
		text string
	}{
		{plain, "GET /" + c.fresh("path without TLS") + " HTTP/1.1\r\nAuthorization: Bearer " + c.fresh("token without TLS") + "\r\n\r\n"},
		{secure, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer " + c.fresh("malformed header") + "\r\n\r\n"},
		{secure, "GET / HTTP/1.1\r\nHost: x\r\n" + c.fresh("header without a colon") + "\r\n\r\n"},
		{secure, c.fresh("no HTTP") + "\r\n\r\n"},
		{secure, "GET /" + c.fresh("unknown version") + " HTTP/9.9\r\n\r\n"},
	} {
		conn, err := request.dial()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(conn, request.text) // it may hang up before the end
		answer, _ := bufio.NewReader(conn).ReadString(0)
		if err := errors.Join(conn.Close(), c.notIn("the answer to no request", answer)); err != nil {
			return err
		}
	}
	return nil
}

// search looks for the secrets in everything on disk and in what is known of the
// processes. Only the files that `jeton dev` writes for its user may have one: the
// password of elastic.
func (c *canaries) search(t *testing.T, cluster *e2eCluster, elastic string) {
	t.Helper()
	places := []string{cluster.dev.log}
	must(t, filepath.WalkDir(cluster.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			places = append(places, path)
		}
		return err
	}))
	for _, n := range cluster.nodes {
		places = append(places, fmt.Sprintf("/proc/%d/cmdline", n.PID), fmt.Sprintf("/proc/%d/environ", n.PID))
	}
	forOperator := map[string]bool{cluster.dev.log: true}
	for _, name := range []string{"dev.env", "dev.json", "password"} {
		forOperator[filepath.Join(cluster.dir, name)] = true
	}
	for _, place := range places {
		content, err := os.ReadFile(place)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(place, "/proc/") {
			continue // not on this system
		}
		must(t, err)
		for secret, where := range c.sung {
			if secret == elastic && forOperator[place] {
				continue
			}
			for _, shape := range shapes(secret) {
				if bytes.Contains(content, shape) {
					t.Errorf("%s has %q as %q", place, where, shape)
				}
			}
		}
	}
	t.Logf("searched %d files", len(places))
}

// shapes are the ways in which a secret could have been written.
func shapes(secret string) [][]byte {
	all := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret)))}
	for offset := range 3 { // wherever it lies within what was encoded
		encoded := base64.StdEncoding.EncodeToString([]byte("???"[:offset] + secret))
		whole := encoded[4*((offset+2)/3) : len(encoded)-4]
		all = append(all, []byte(whole), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(whole)))
	}
	if kind, rest, ok := strings.Cut(secret, "_"); ok && len(kind) == 3 { // a token: its random part
		if payload, err := base64.RawURLEncoding.DecodeString(rest); err == nil && len(payload) == 36 {
			all = append(all, payload[:32], []byte(hex.EncodeToString(payload[:32])))
		}
	}
	return all
}

func contains(t *testing.T, path, text string) bool {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return bytes.Contains(content, []byte(text))
}
