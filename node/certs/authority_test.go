package certs_test

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/node/certs"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	self  = certs.Identity{Cluster: "jeton", Node: "node-1"}
)

const (
	year = 365 * 24 * time.Hour
	day  = 24 * time.Hour
)

func newAuthority(t *testing.T, name string) *certs.Authority {
	t.Helper()
	authority, err := certs.NewAuthority(name, start, 10*year)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func parse(t *testing.T, encoded []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(encoded)
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", encoded)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// certificate is what of a certificate decides where it is accepted.
type certificate struct {
	DNS, IP, URI        []string
	Usage               []x509.ExtKeyUsage
	IsCA                bool
	NotBefore, NotAfter time.Time
}

func essence(c *x509.Certificate) certificate {
	e := certificate{DNS: c.DNSNames, Usage: c.ExtKeyUsage, IsCA: c.IsCA, NotBefore: c.NotBefore, NotAfter: c.NotAfter}
	for _, address := range c.IPAddresses {
		e.IP = append(e.IP, address.String())
	}
	for _, uri := range c.URIs {
		e.URI = append(e.URI, uri.String())
	}
	return e
}

func TestNodeCertificateNamesItsNodeAndServesBothEnds(t *testing.T) {
	authority := newAuthority(t, "transport")
	pair, err := authority.IssueNode(self, []string{"a.example.org", "10.0.0.1", "::1"}, start, 90*day)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, pair.Certificate)
	want := certificate{
		DNS:       []string{"a.example.org"},
		IP:        []string{"10.0.0.1", "::1"},
		URI:       []string{"jeton://jeton/node/node-1"},
		Usage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: start.Add(-time.Hour),
		NotAfter:  start.Add(90 * day),
	}
	if diff := cmp.Diff(want, essence(leaf)); diff != "" {
		t.Error(diff)
	}
	if identity, ok := certs.IdentityOf(leaf); !ok || identity != self {
		t.Errorf("IdentityOf = %v, %v; want %v", identity, ok, self)
	}
}

func TestHTTPCertificateCannotOpenTheTransport(t *testing.T) {
	pair, err := newAuthority(t, "http").IssueHTTP([]string{"api.example.org"}, start, 90*day)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, pair.Certificate)
	want := certificate{
		DNS:       []string{"api.example.org"},
		Usage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: start.Add(-time.Hour),
		NotAfter:  start.Add(90 * day),
	}
	if diff := cmp.Diff(want, essence(leaf)); diff != "" {
		t.Error(diff)
	}
	if identity, ok := certs.IdentityOf(leaf); ok {
		t.Errorf("an HTTP certificate has the identity %v", identity)
	}
}

func TestCertificateEndsWithItsAuthority(t *testing.T) {
	pair, err := newAuthority(t, "transport").IssueNode(self, nil, start, 20*year)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := parse(t, pair.Certificate).NotAfter, start.Add(10*year); !got.Equal(want) {
		t.Errorf("NotAfter = %v, want %v", got, want)
	}
}

func TestIssueRefusesWhatNobodyCouldUse(t *testing.T) {
	authority := newAuthority(t, "transport")
	for name, identity := range map[string]certs.Identity{
		"no cluster":     {Node: "n1"},
		"no node":        {Cluster: "c"},
		"path traversal": {Cluster: "c", Node: ".."},
		"slash":          {Cluster: "c", Node: "a/b"},
		"space":          {Cluster: "my cluster", Node: "n1"},
		"too long":       {Cluster: "c", Node: strings.Repeat("n", 129)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := authority.IssueNode(identity, nil, start, day); err == nil {
				t.Errorf("issued a certificate for %v", identity)
			}
		})
	}
	if _, err := authority.IssueHTTP(nil, start, day); err == nil {
		t.Error("issued an HTTP certificate without a host")
	}
}

func TestIdentityOf(t *testing.T) {
	for name, test := range map[string]struct {
		uris []string
		want certs.Identity
	}{
		"a node":                  {[]string{"jeton://c/node/n"}, certs.Identity{Cluster: "c", Node: "n"}},
		"beside others":           {[]string{"spiffe://x/y", "jeton://c/node/n"}, certs.Identity{Cluster: "c", Node: "n"}},
		"none":                    {nil, certs.Identity{}},
		"another role":            {[]string{"jeton://c/client/n"}, certs.Identity{}},
		"two":                     {[]string{"jeton://c/node/n", "jeton://c/node/m"}, certs.Identity{}},
		"a node and another role": {[]string{"jeton://c/node/n", "jeton://c/client/n"}, certs.Identity{}},
		"deeper path":             {[]string{"jeton://c/node/n/m"}, certs.Identity{}},
		"query":                   {[]string{"jeton://c/node/n?x=1"}, certs.Identity{}},
		"user":                    {[]string{"jeton://u@c/node/n"}, certs.Identity{}},
		"port":                    {[]string{"jeton://c:1/node/n"}, certs.Identity{}},
		"escaped":                 {[]string{"jeton://c/node/%6e"}, certs.Identity{}},
		"no cluster":              {[]string{"jeton:///node/n"}, certs.Identity{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := certs.IdentityOf(&x509.Certificate{URIs: urls(t, test.uris), IPAddresses: []net.IP{}})
			if got != test.want || ok != (test.want != certs.Identity{}) {
				t.Errorf("IdentityOf = %v, %v; want %v", got, ok, test.want)
			}
		})
	}
}
