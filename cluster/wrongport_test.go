package cluster_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// Whoever mixes up the two ports of a node is told so, at both ends.
func TestTheOtherPort(t *testing.T) {
	ca := newAuthority(t)
	material := ca.node(t, "a")
	for name, start := range map[string]func(*httptest.Server){
		"HTTPS": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
		"HTTP":  (*httptest.Server).Start,
	} {
		t.Run("a node asks at a port for "+name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			start(server)
			defer server.Close()
			client := startClient(t, material, cluster.ClientConfig{})
			_, err := client.Status(t.Context(), raft.ServerAddress(server.Listener.Addr().String()))
			if !errors.Is(err, cluster.ErrNotSent) || !strings.Contains(err.Error(), "this is not the port between nodes (transport.port") {
				t.Error(err)
			}
		})
	}
	t.Run("a node asks where nobody listens", func(t *testing.T) {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = startClient(t, material, cluster.ClientConfig{}).Status(t.Context(), raft.ServerAddress(address))
		want := "nothing was sent: dial tcp " + address + ": connect: connection refused" // once
		if !errors.Is(err, cluster.ErrNotSent) || !strings.HasSuffix(err.Error(), want) || strings.Count(err.Error(), "dial") != 1 {
			t.Error(err)
		}
	})
	for _, scheme := range []string{"https", "http"} {
		t.Run("a client speaks "+scheme+" to a node", func(t *testing.T) {
			var written logBuffer
			_, address := startService(t, material, cluster.ServiceConfig{Logger: written.logger(), Handler: &fakeHandler{}})
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+string(address)+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if answer, err := transport.RoundTrip(request); err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
			eventually(t, "the node says so", func() bool {
				return strings.Contains(written.String(), "perhaps a client that wants the other port (http.port")
			})
		})
	}
}
