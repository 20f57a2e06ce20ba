package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"jeton/cluster"
)

func TestPeerIdentity(t *testing.T) {
	ca := newAuthority(t)
	cases := []struct {
		name    string
		uris    []string
		cluster string
		node    string
		ok      bool
	}{
		{"node", []string{"jeton://prod/node/node-1"}, "prod", "node-1", true},
		{"among others", []string{"spiffe://x/y", "jeton://prod/node/a.b_c"}, "prod", "a.b_c", true},
		{"escaped", []string{"jeton://prod/node/a%20b"}, "prod", "a b", true},
		{"none", nil, "", "", false},
		{"other scheme", []string{"https://prod/node/node-1"}, "", "", false},
		{"client role", []string{"jeton://prod/client/app"}, "", "", false},
		{"two", []string{"jeton://prod/node/a", "jeton://prod/node/b"}, "", "", false},
		{"no name", []string{"jeton://prod/node/"}, "", "", false},
		{"deeper", []string{"jeton://prod/node/a/b"}, "", "", false},
		{"no cluster", []string{"jeton:///node/a"}, "", "", false},
		{"query", []string{"jeton://prod/node/a?x"}, "", "", false},
		{"user", []string{"jeton://u@prod/node/a"}, "", "", false},
		{"opaque", []string{"jeton:prod/node/a"}, "", "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clusterName, node, err := cluster.PeerIdentity(ca.issue(t, c.uris...).Leaf)
			if clusterName != c.cluster || node != c.node || (err == nil) != c.ok {
				t.Errorf("got %q %q %v", clusterName, node, err)
			}
		})
	}
}

func TestTLSIsForcedToBeStrict(t *testing.T) {
	ca := newAuthority(t)
	lax := ca.node(t, "one")
	lax.MinVersion, lax.ClientAuth, lax.NextProtos = tls.VersionTLS10, tls.NoClientCert, []string{"h2"}
	_, address := startService(t, lax, cluster.ServiceConfig{})
	old := ca.node(t, "two")
	old.InsecureSkipVerify, old.MaxVersion, old.MinVersion = true, tls.VersionTLS12, tls.VersionTLS12
	old.NextProtos = []string{cluster.ProtocolRPC}
	if conn, err := tls.Dial("tcp", string(address), old); err == nil {
		t.Error("TLS 1.2 was accepted")
		_ = conn.Close()
	}
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	if _, err := client.Confirm(t.Context(), address); err != nil {
		t.Error(err)
	}
}

func TestConfigurationsWithoutACAAreRefused(t *testing.T) {
	ca := newAuthority(t)
	listener := newPipeListener()
	material := ca.node(t, "one")
	good := cluster.ServiceConfig{
		Listener: listener, ClusterName: testCluster, ServerTLS: material, Handler: &fakeHandler{}, Now: time.Now,
		ClientTLS: func() *tls.Config { return material },
	}
	for name, spoil := range map[string]func(*cluster.ServiceConfig){
		"no CA":      func(c *cluster.ServiceConfig) { c.ServerTLS = &tls.Config{Certificates: material.Certificates} },
		"no TLS":     func(c *cluster.ServiceConfig) { c.ServerTLS = nil },
		"no dialler": func(c *cluster.ServiceConfig) { c.ClientTLS = nil },
		"no handler": func(c *cluster.ServiceConfig) { c.Handler = nil },
		"no clock":   func(c *cluster.ServiceConfig) { c.Now = nil },
		"no name":    func(c *cluster.ServiceConfig) { c.ClusterName = "" },
		"nothing":    func(c *cluster.ServiceConfig) { *c = cluster.ServiceConfig{} },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := cluster.NewService(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := cluster.NewClient(cluster.ClientConfig{}); err == nil {
		t.Error("a client of nothing was accepted")
	}
	// The system's roots must not do for a CA that a reload lost.
	client := startClient(t, &tls.Config{Certificates: material.Certificates}, cluster.ClientConfig{Dial: listener.dial})
	if _, err := client.Confirm(t.Context(), "pipe"); !errors.Is(err, cluster.ErrNotSent) {
		t.Errorf("got %v", err)
	}
	if listener.dials.Load() != 0 {
		t.Error("dialled without a CA")
	}
}

func TestAResultOfVerificationIsNotKept(t *testing.T) {
	// The node's own extra check runs on every connection, after ours.
	ca := newAuthority(t)
	material := ca.node(t, "one")
	calls := 0
	material.VerifyConnection = func(state tls.ConnectionState) error {
		calls++
		if len(state.PeerCertificates) == 0 || state.DidResume {
			t.Error("called without a fresh peer")
		}
		return x509.UnknownAuthorityError{}
	}
	_, address := startService(t, material, cluster.ServiceConfig{})
	client := startClient(t, ca.node(t, "two"), cluster.ClientConfig{})
	if _, err := client.Confirm(t.Context(), address); !errors.Is(err, cluster.ErrNotSent) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
