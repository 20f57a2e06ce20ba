package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"jeton/node/certs"
	"jeton/node/config"
	"jeton/node/realm"
)

const elasticPassword = "bootstrap password"

// site is what one real node needs: certificates, a data folder, ports.
type site struct {
	tb     testing.TB
	folder certs.Folder
	config *config.Config
	client *http.Client
}

func newSite(tb testing.TB) *site {
	tb.Helper()
	s := &site{tb: tb, folder: certs.Folder{Path: filepath.Join(tb.TempDir(), "certs"), Now: time.Now}}
	if err := s.folder.Create("jeton", time.Hour); err != nil {
		tb.Fatal(err)
	}
	err := s.folder.IssueNode(certs.NodeRequest{
		Identity: certs.Identity{Cluster: "jeton", Node: "one"}, Hosts: []string{"127.0.0.1"}, Lifetime: time.Hour,
	})
	if err != nil {
		tb.Fatal(err)
	}
	c := config.Default()
	c.NodeName, c.DataPath = "one", filepath.Join(tb.TempDir(), "data")
	c.Discovery.SingleNode = true
	c.HTTP.Port, c.Transport.Port = freePort(tb), freePort(tb)
	c.Transport.TLS.Files = s.folder.NodeTransport("one")
	c.HTTP.TLS.Enabled, c.HTTP.TLS.Files = true, s.folder.NodeHTTP("one")
	c.Token.Enabled, c.Token.KeyPath = true, s.folder.ClusterKey()
	c.BootstrapPassword, c.PasswordHashing = realm.NewSecret(elasticPassword), "bcrypt4"
	c.Raft.HeartbeatTimeout, c.Raft.ElectionTimeout = 50*time.Millisecond, 50*time.Millisecond
	c.Shutdown.Delay = 0
	s.config = c
	authority, err := os.ReadFile(s.folder.HTTPCA().Certificate)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ExpectContinueTimeout: time.Minute}
	tb.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}
	return s
}

// freePort draws below the ports that the system gives to connections, which could
// take it before it is used.
func freePort(tb testing.TB) int {
	tb.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		return port
	}
	tb.Fatal("no free port")
	return 0
}

func (s *site) open() (*Node, error) {
	return Open(s.tb.Context(), Options{Config: s.config, Logger: hclog.NewNullLogger(), Version: "test", patience: sitePatience})
}

// sitePatience is long enough for a node in this process to answer another.
const sitePatience = 400 * time.Millisecond

// mustOpen opens the node and waits until it is ready.
func (s *site) mustOpen() *Node {
	s.tb.Helper()
	n, err := s.open()
	for range 5 {
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			break
		}
		// Somebody was quicker.
		s.config.HTTP.Port, s.config.Transport.Port = freePort(s.tb), freePort(s.tb)
		n, err = s.open()
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { s.mustClose(n) })
	awaitReadiness(s.tb, n)
	return n
}

func awaitReadiness(tb testing.TB, n *Node) {
	tb.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for len(n.NotReady()) > 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline.C:
			tb.Fatalf("not ready: %v", n.NotReady())
		}
	}
}

func (s *site) mustClose(n *Node) {
	s.tb.Helper()
	if err := n.Close(); err != nil {
		s.tb.Errorf("close: %v", err)
	}
	s.client.CloseIdleConnections()
}

// ask sends a request and returns the status and the decoded answer.
func (s *site) ask(method, path, authorization, body string) (int, map[string]any) {
	s.tb.Helper()
	request, err := http.NewRequestWithContext(s.tb.Context(), method, "https://"+s.config.HTTP.PublishAddress()+path, strings.NewReader(body))
	if err != nil {
		s.tb.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization == "" {
		request.SetBasicAuth("elastic", elasticPassword)
	} else {
		request.Header.Set("Authorization", authorization)
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(raw, &answer); err != nil {
		s.tb.Fatalf("%s %s: %d %q", method, path, response.StatusCode, raw)
	}
	return response.StatusCode, answer
}

// issue returns the access and the refresh token of a new pair.
func (s *site) issue() (access, refresh string) {
	s.tb.Helper()
	status, answer := s.ask(http.MethodPost, "/_security/oauth2/token", "",
		`{"grant_type":"password","username":"elastic","password":"`+elasticPassword+`"}`)
	access, _ = answer["access_token"].(string)
	refresh, _ = answer["refresh_token"].(string)
	if status != http.StatusOK || access == "" || refresh == "" {
		s.tb.Fatalf("issue: %d %v", status, answer)
	}
	return access, refresh
}

func (s *site) authenticate(access string) int {
	s.tb.Helper()
	status, _ := s.ask(http.MethodGet, "/_security/_authenticate", "Bearer "+access, "")
	return status
}

func TestANodeKeepsWhatItAcknowledgedAcrossRestarts(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	kept, refresh := s.issue()
	ended, _ := s.issue()
	if status, answer := s.ask(http.MethodDelete, "/_security/oauth2/token", "", `{"token":"`+ended+`"}`); status != http.StatusOK {
		t.Fatalf("invalidate: %d %v", status, answer)
	}
	s.mustClose(n)
	n = s.mustOpen()
	if status := s.authenticate(kept); status != http.StatusOK {
		t.Errorf("the token that was issued: %d", status)
	}
	if status := s.authenticate(ended); status != http.StatusUnauthorized {
		t.Errorf("the token that was invalidated: %d", status)
	}
	status, answer := s.ask(http.MethodPost, "/_security/oauth2/token", "", `{"grant_type":"refresh_token","refresh_token":"`+refresh+`"}`)
	if status != http.StatusOK {
		t.Errorf("refresh: %d %v", status, answer)
	}
	// And from a snapshot.
	if err := await(t.Context(), n.replica.raft.Snapshot()); err != nil {
		t.Fatal(err)
	}
	s.mustClose(n)
	s.mustOpen()
	if status := s.authenticate(kept); status != http.StatusOK {
		t.Errorf("after a snapshot, the token that was issued: %d", status)
	}
	if status := s.authenticate(ended); status != http.StatusUnauthorized {
		t.Errorf("after a snapshot, the token that was invalidated: %d", status)
	}
}

func TestANodeRefusesToStartOnWhatItCannotRelyOn(t *testing.T) {
	file := func(s *site, name string) string { return filepath.Join(s.config.DataPath, name) }
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	occupy := func(t *testing.T, port int) {
		t.Helper()
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil { // else somebody else has occupied it
			t.Cleanup(func() { _ = listener.Close() })
		}
	}
	for _, c := range []struct {
		name string
		harm func(t *testing.T, s *site)
		want []string // in the error
	}{
		{
			"another process has the folder",
			func(t *testing.T, s *site) {
				t.Helper()
				other, err := openDataDir(s.config.DataPath, "jeton")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = other.close() })
			},
			[]string{"in use by another process"},
		},
		{
			"identity damaged",
			func(t *testing.T, s *site) { t.Helper(); write(t, file(s, identityFile), `{"server_id":`) },
			[]string{"node.json", "damaged"},
		},
		{
			"identity empty",
			func(t *testing.T, s *site) { t.Helper(); write(t, file(s, identityFile), `{}`) },
			[]string{"node.json", "damaged"},
		},
		{
			"identity missing",
			func(t *testing.T, s *site) { t.Helper(); _ = os.Remove(file(s, identityFile)) },
			[]string{"holds a log but no node.json"},
		},
		{
			"log missing",
			func(t *testing.T, s *site) { t.Helper(); _ = os.Remove(file(s, logFile)) },
			[]string{"raft.db", "missing"},
		},
		{
			"log truncated",
			func(t *testing.T, s *site) { t.Helper(); write(t, file(s, logFile), "") },
			[]string{"raft.db", "empty"},
		},
		{
			"log truncated, no snapshot yet", // a new log would vote again in the terms of the old one
			func(t *testing.T, s *site) {
				t.Helper()
				write(t, file(s, logFile), "")
				_ = os.RemoveAll(file(s, "snapshots"))
			},
			[]string{"raft.db", "empty"},
		},
		{
			"log of another member",
			func(t *testing.T, s *site) {
				t.Helper()
				other := newSite(t)
				other.mustClose(other.mustOpen())
				for _, name := range []string{logFile, logFile + ".last"} {
					content, err := os.ReadFile(file(other, name))
					if err != nil {
						t.Fatal(err)
					}
					write(t, file(s, name), string(content))
				}
			},
			[]string{"raft.db", "files of two nodes were mixed"},
		},
		{
			"copy of another node's folder",
			func(t *testing.T, s *site) {
				t.Helper()
				raw, err := os.ReadFile(file(s, identityFile))
				if err != nil {
					t.Fatal(err)
				}
				write(t, file(s, identityFile), strings.Replace(string(raw), `"node_name": "one"`, `"node_name": "other"`, 1))
			},
			[]string{"belongs to node [other]", "node.name is [one]"},
		},
		{
			"log damaged",
			func(t *testing.T, s *site) { t.Helper(); write(t, file(s, logFile), strings.Repeat("damage", 10_000)) },
			[]string{"open the log of member", "raft.db is damaged", "jeton operator raft remove-peer"},
		},
		{
			"one bit of the log changed",
			func(t *testing.T, s *site) {
				t.Helper()
				log, err := os.ReadFile(file(s, logFile))
				if err != nil {
					t.Fatal(err)
				}
				// Wherever it is: some of the pages are not in use any more.
				write(t, file(s, logFile), strings.ReplaceAll(string(log), "jeton/server_id", "jeton/server_ie"))
			},
			[]string{"raft.db is damaged", "checksum"},
		},
		{
			"folder of another cluster",
			func(t *testing.T, s *site) {
				t.Helper()
				s.config.ClusterName = "other"
			},
			[]string{"belongs to cluster [jeton]", "cluster.name is [other]"},
		},
		{
			"certificate of another node",
			func(t *testing.T, s *site) {
				t.Helper()
				s.config.NodeName = "two"
			},
			[]string{"transport certificate"},
		},
		{
			"cluster key missing",
			func(t *testing.T, s *site) { t.Helper(); s.config.Token.KeyPath += ".missing" },
			[]string{"cluster key"},
		},
		{
			"transport port in use",
			func(t *testing.T, s *site) { t.Helper(); occupy(t, s.config.Transport.Port) },
			[]string{"listen for peers", "transport.port", "in use"},
		},
		{
			"HTTP port in use",
			func(t *testing.T, s *site) { t.Helper(); occupy(t, s.config.HTTP.Port) },
			[]string{"listen for clients", "http.port", "in use"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			n := s.mustOpen()
			if err := await(t.Context(), n.replica.raft.Snapshot()); err != nil {
				t.Fatal(err)
			}
			s.mustClose(n)
			c.harm(t, s)
			n, err := s.open()
			if err == nil {
				_ = n.Close()
				t.Fatal("it starts")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in: %v", want, err)
				}
			}
		})
	}
}

func TestANodeWithAnotherClusterKeyEnds(t *testing.T) {
	s := newSite(t)
	s.mustClose(s.mustOpen())
	s.config.Token.KeyPath = filepath.Join(t.TempDir(), "other.key")
	if err := certs.CreateClusterKey(s.config.Token.KeyPath); err != nil {
		t.Fatal(err)
	}
	n, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.mustClose(n)
	if err := n.Wait(); err == nil || !strings.Contains(err.Error(), "cluster key") {
		t.Errorf("it ends with %v", err)
	}
	if len(n.NotReady()) == 0 {
		t.Error("it became ready")
	}
}

func TestCloseMayBeCalledByAnybodyAnyTime(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	var callers sync.WaitGroup
	for range 5 {
		callers.Go(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if err := n.Wait(); err != nil {
		t.Errorf("Wait after Close: %v", err)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
}

// A connection that is closed between two requests may meet the next one. So it is
// the answer that announces the end, while there still is time for others.
func TestAnswersAfterReadinessIsOffRetireTheirConnection(t *testing.T) {
	s := newSite(t)
	s.config.Shutdown.Delay = time.Second
	n := s.mustOpen()
	access, _ := s.issue()
	var both sync.WaitGroup
	both.Go(func() {
		if err := n.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for !n.draining.Load() {
		<-time.After(time.Millisecond)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.config.HTTP.PublishAddress()+"/_security/_authenticate", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+access)
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || !response.Close {
		t.Errorf("status %d, connection ends: %t", response.StatusCode, response.Close)
	}
	both.Wait()
}

func TestShutdownEndsRequestsInProgressFirst(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	body, rest := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.config.HTTP.PublishAddress()+"/_security/oauth2/token", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Expect", "100-continue") // the body is asked for by who handles the request
	request.SetBasicAuth("elastic", elasticPassword)
	var both sync.WaitGroup
	both.Go(func() {
		response, err := s.client.Do(request)
		if err != nil {
			t.Errorf("the request in progress: %v", err)
			return
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("the request in progress: %d", response.StatusCode)
		}
	})
	if _, err := io.WriteString(rest, `{"grant_type":`); err != nil {
		t.Fatal(err)
	}
	both.Go(func() {
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	for !n.draining.Load() {
		<-time.After(time.Millisecond)
	}
	if _, err := io.WriteString(rest, `"client_credentials"}`); err != nil {
		t.Fatal(err)
	}
	if err := rest.Close(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if reasons := n.NotReady(); len(reasons) != 1 || reasons[0] != "shutting down" {
		t.Errorf("not ready because of %v", reasons)
	}
	if err := n.Wait(); err != nil {
		t.Errorf("Wait after Shutdown: %v", err)
	}
}
