package node

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"jeton/node/certs"
	"jeton/node/config"
)

// release names the data that this tree writes. It changes with the first change of what is
// written after a release.
const release = "v0.1"

// update writes the data of this release if there are none. What a release has written never
// changes again.
var update = flag.Bool("update", false, "write missing data folders")

// kept is what is known of a data folder of a release, in testdata/data/RELEASE/SET. Beside
// it lie the key of the cluster and a folder for each node.
type kept struct {
	Written time.Time      `json:"written"`
	Nodes   []string       `json:"nodes"`
	Tokens  []keptToken    `json:"tokens"`
	Users   map[string]int `json:"users"` // by "name:password", the status of who logs in so
}

// keptToken is a token and what became of it.
type keptToken struct {
	What   string `json:"what"`
	Access string `json:"access"`
	Status int    `json:"status"` // of who shows the access token
	// Refresh is shown in the end. Successor is the refresh token that comes back, if it
	// has been shown before.
	Refresh   string `json:"refresh"`
	Refreshed int    `json:"refreshed"`
	Successor string `json:"successor,omitempty"`
}

const (
	keptFile = "kept.json"
	keptKey  = "cluster.key"
)

// crew is the nodes of one cluster in this process.
type crew struct {
	t     *testing.T
	sites []*site
	nodes []*Node
	wall  func() time.Time
}

// newCrew makes machines for nodes with the given names. Their data folders do not exist
// yet.
func newCrew(t *testing.T, names ...string) *crew {
	t.Helper()
	c := &crew{t: t}
	base := newSite(t)
	var seeds []string
	for i, name := range names {
		s := &site{tb: t, folder: base.folder, client: base.client, config: config.Default()}
		*s.config = *base.config
		if i > 0 {
			s.config.HTTP.Port, s.config.Transport.Port = freePort(t), freePort(t)
		}
		if name != base.config.NodeName {
			err := s.folder.IssueNode(certs.NodeRequest{
				Identity: certs.Identity{Cluster: "jeton", Node: name}, Hosts: []string{"127.0.0.1"}, Lifetime: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		s.config.NodeName, s.config.DataPath = name, filepath.Join(t.TempDir(), name)
		s.config.Transport.TLS.Files, s.config.HTTP.TLS.Files = s.folder.NodeTransport(name), s.folder.NodeHTTP(name)
		s.config.Read.Mode = config.ReadLease
		if len(names) > 1 { // a busy machine's heartbeats are late
			s.config.Raft.HeartbeatTimeout, s.config.Raft.ElectionTimeout = time.Second, time.Second
		}
		seeds = append(seeds, s.config.Transport.PublishAddress())
		c.sites = append(c.sites, s)
	}
	for _, s := range c.sites {
		s.config.Discovery = config.Discovery{SeedHosts: seeds, InitialMasterNodes: names}
	}
	return c
}

// open starts all nodes and waits until they are ready.
func (c *crew) open() {
	c.t.Helper()
	c.nodes = nil
	for _, s := range c.sites {
		n, err := Open(c.t.Context(), Options{Config: s.config, Logger: hclog.NewNullLogger(), Version: "test", wallTime: c.wall})
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { _ = n.Close() })
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		awaitReadiness(c.t, n)
	}
}

func (c *crew) close() {
	c.t.Helper()
	for i, n := range c.nodes {
		c.sites[i].mustClose(n)
	}
}

// must has a node answer a request with a status, and returns its answer.
func (c *crew) must(at, status int, method, path, authorization, body string) map[string]any {
	c.t.Helper()
	got, answer := c.sites[at%len(c.sites)].ask(method, path, authorization, body)
	if got != status {
		c.t.Errorf("%s %s: %d instead of %d: %v", method, path, got, status, answer)
	}
	return answer
}

const tokenPath = "/_security/oauth2/token"

func (c *crew) issue(at int) keptToken {
	c.t.Helper()
	answer := c.must(at, http.StatusOK, http.MethodPost, tokenPath, "", `{"grant_type":"password","username":"elastic","password":"`+elasticPassword+`"}`)
	return keptToken{
		Access: fmt.Sprint(answer["access_token"]), Refresh: fmt.Sprint(answer["refresh_token"]), Status: http.StatusOK, Refreshed: http.StatusOK,
	}
}

func (c *crew) refresh(at, status int, refresh string) map[string]any {
	c.t.Helper()
	return c.must(at, status, http.MethodPost, tokenPath, "", `{"grant_type":"refresh_token","refresh_token":"`+refresh+`"}`)
}

// live has tokens, users and roles of every kind come about.
func (c *crew) live(names []string) *kept {
	c.t.Helper()
	admin := basicAuthorization("elastic", elasticPassword)
	k := &kept{Nodes: names, Users: map[string]int{"elastic:" + elasticPassword: http.StatusOK}}
	c.must(0, http.StatusOK, http.MethodPut, "/_security/role/keeper", admin, `{"cluster":["manage_token","monitor"]}`)
	c.must(0, http.StatusOK, http.MethodPut, "/_security/role/gone", admin, `{"cluster":["monitor"]}`)
	c.must(0, http.StatusOK, http.MethodDelete, "/_security/role/gone", admin, "")
	for name, enabled := range map[string]bool{"ann": true, "bob": false} {
		c.must(0, http.StatusOK, http.MethodPost, "/_security/user/"+name, admin,
			fmt.Sprintf(`{"password":"password of %s","roles":["keeper"],"full_name":"%s","enabled":%t,"metadata":{"n":1}}`, name, strings.ToUpper(name), enabled))
	}
	k.Users["ann:password of ann"], k.Users["ann:wrong password"], k.Users["bob:password of bob"] = http.StatusOK, http.StatusUnauthorized, http.StatusUnauthorized

	add := func(what string, token keptToken) { token.What = what; k.Tokens = append(k.Tokens, token) }
	for i := range 2 { // before the snapshot, and after it
		add("live", c.issue(i))
		dead := c.issue(i)
		c.must(i, http.StatusOK, http.MethodDelete, tokenPath, admin, `{"token":"`+dead.Access+`"}`)
		dead.Status = http.StatusUnauthorized
		add("its access token was invalidated", dead)
		dead = c.issue(i)
		c.must(i, http.StatusOK, http.MethodDelete, tokenPath, admin, `{"refresh_token":"`+dead.Refresh+`"}`)
		dead.Refreshed = http.StatusBadRequest
		add("its refresh token was invalidated", dead)
		used := c.issue(i)
		answer := c.refresh(i, http.StatusOK, used.Refresh)
		next := keptToken{Access: fmt.Sprint(answer["access_token"]), Refresh: fmt.Sprint(answer["refresh_token"]), Status: http.StatusOK, Refreshed: http.StatusOK}
		used.Successor = next.Refresh
		used.Status, _ = c.sites[0].ask(http.MethodGet, "/_security/_authenticate", "Bearer "+used.Access, "")
		add("refreshed", used)
		add("successor", next)
		if i == 0 {
			for _, n := range c.nodes {
				if err := await(c.t.Context(), n.replica.raft.Snapshot()); err != nil {
					c.t.Fatal(err)
				}
			}
		}
	}
	return k
}

// check compares an opened cluster with what is known of it.
func (c *crew) check(k *kept) {
	c.t.Helper()
	admin := basicAuthorization("elastic", elasticPassword)
	for i, n := range c.nodes {
		if sum := n.replica.state.Summary(); sum.Level != 1 || sum.Epoch != 0 || sum.Pairs != len(k.Tokens) || sum.Users != 3 || sum.Roles != 1 {
			c.t.Errorf("%s holds %+v", k.Nodes[i], sum)
		}
		if leases := n.replica.state.ReadLeases(); len(leases) < len(k.Nodes) {
			c.t.Errorf("%s knows of the leases %v", k.Nodes[i], leases)
		}
		for login, status := range k.Users {
			user, password, _ := strings.Cut(login, ":")
			c.must(i, status, http.MethodGet, "/_security/_authenticate", basicAuthorization(user, password), "")
		}
		for _, token := range k.Tokens {
			if got := c.sites[i].authenticate(token.Access); got != token.Status {
				c.t.Errorf("%s, at %s: %d instead of %d", token.What, k.Nodes[i], got, token.Status)
			}
		}
		c.must(i, http.StatusOK, http.MethodGet, "/_security/role/keeper", admin, "")
		c.must(i, http.StatusNotFound, http.MethodGet, "/_security/role/gone", admin, "")
	}
	for i, token := range k.Tokens {
		answer := c.refresh(i, token.Refreshed, token.Refresh)
		if token.Successor != "" && answer["refresh_token"] != token.Successor {
			c.t.Errorf("%s: shown again, it gave another successor", token.What)
		}
	}
}

func basicAuthorization(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TestDataOfEveryRelease opens what every release has left behind, as it would be opened
// after an upgrade, seconds after the former release has ended.
func TestDataOfEveryRelease(t *testing.T) {
	for set, names := range map[string][]string{"single": {"one"}, "three": {"one", "two", "three"}} {
		if dir := filepath.Join("testdata", "data", release, set); *update {
			writeData(t, dir, names)
		}
	}
	sets, err := filepath.Glob(filepath.Join("testdata", "data", "*", "*", keptFile))
	if err != nil || len(sets) < 2 {
		t.Fatalf("%v: %v", sets, err)
	}
	for _, set := range sets {
		dir := filepath.Dir(set)
		t.Run(filepath.ToSlash(dir), func(t *testing.T) {
			t.Parallel()
			var k kept
			raw, err := os.ReadFile(set)
			if err := errors.Join(err, json.Unmarshal(raw, &k)); err != nil {
				t.Fatal(err)
			}
			c := newCrew(t, k.Nodes...)
			key := filepath.Join(t.TempDir(), keptKey) // it must be private
			raw, err = os.ReadFile(filepath.Join(dir, keptKey))
			if err := errors.Join(err, os.WriteFile(key, raw, 0o600)); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			c.wall = func() time.Time { return k.Written.Add(time.Second + time.Since(began)) }
			for i, name := range k.Nodes {
				c.sites[i].config.Token.KeyPath = key
				unpack(t, filepath.Join(dir, name), c.sites[i].config.DataPath)
			}
			c.open()
			c.check(&k)
			fresh := c.issue(0)
			c.close()
			c.open() // on what it has written itself, beside what it found
			for i := range c.sites {
				if got := c.sites[i].authenticate(fresh.Access); got != http.StatusOK {
					t.Errorf("a new token at %s: %d", k.Nodes[i], got)
				}
			}
			c.close()
		})
	}
}

// writeData keeps the data of a cluster that has just lived, unless there are some.
func writeData(t *testing.T, dir string, names []string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, keptFile)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	c := newCrew(t, names...)
	c.open()
	k := c.live(names)
	c.sites[0].authenticate(k.Tokens[0].Access)
	for _, n := range c.nodes {
		for deadline := time.Now().Add(10 * time.Second); len(n.replica.state.ReadLeases()) < len(names); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no leases")
			}
			for i := range c.sites {
				c.sites[i].authenticate(k.Tokens[0].Access)
			}
		}
	}
	k.Written = time.Now().UTC()
	c.close()
	for i, s := range c.sites {
		pack(t, s.config.DataPath, filepath.Join(dir, names[i]))
	}
	key, err := os.ReadFile(c.sites[0].config.Token.KeyPath)
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, keptKey), key, 0o600)); err != nil {
		t.Fatal(err)
	}
	raw, err := json.MarshalIndent(k, "", "  ")
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, keptFile), append(raw, '\n'), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// pack copies a data folder, compressed: most of a young log is empty.
func pack(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == lockFile {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		writer, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // a good level
		_, _ = writer.Write(content)                                    // to memory
		_ = writer.Close()
		target := filepath.Join(to, strings.TrimPrefix(path, from)) + ".gz"
		return errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, packed.Bytes(), 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		reader, err := gzip.NewReader(file)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(reader)
		target := filepath.Join(to, strings.TrimSuffix(strings.TrimPrefix(path, from), ".gz"))
		return errors.Join(err, os.MkdirAll(filepath.Dir(target), dirMode), os.WriteFile(target, content, fileMode))
	})
	if err != nil {
		t.Fatal(err)
	}
}
