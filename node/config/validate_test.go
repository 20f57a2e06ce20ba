package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/node/certs"
	"jeton/node/config"
	"jeton/node/realm"
)

func valid() *config.Config {
	c := config.Default()
	c.NodeName, c.DataPath, c.Token.KeyPath = "a", "/data", "/cluster.key"
	c.Transport.TLS.Files = certs.Files{Certificate: "/a.crt", Key: "/a.key", CertificateAuthorities: []string{"/ca.crt"}}
	c.Discovery.SeedHosts = []string{"b:9300"}
	return c
}

const needsHTTPS = "HTTPS is required in order to use the token service; " +
	"please enable HTTPS using the [xpack.security.http.ssl.enabled] setting or " +
	"disable the token service using the [xpack.security.authc.token.enabled] setting"

// A Config that was put together by a program is checked like a file.
func TestValidateChecksWhatWasNotLoaded(t *testing.T) {
	c := valid()
	c.ClusterName = "a b"
	c.HTTP.Host = ""
	c.HTTP.Port = -1
	c.Token.AccessLifetime = 2 * time.Hour
	c.Discovery.SeedHosts = []string{"b:x"}
	c.Log.Level = "loud"
	want := []string{
		"cluster.name: [a b] must be letters, digits, '-' and '_', in parts separated by single dots",
		"http.port: failed to parse value [-1] for setting [http.port], must be >= [0]",
		"discovery.seed_hosts: [b:x] has no port between 1 and 65535 after the colon",
		"xpack.security.authc.token.timeout: failed to parse value [2h] for setting [xpack.security.authc.token.timeout], must be <= [1h]",
		"log.level: [loud] must be one of [trace, debug, info, warn, error]",
		"http.host: is empty; _local_ binds this machine only, 0.0.0.0 all its addresses",
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no problem was found")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

// A cluster with such a password would never be ready.
func TestPasswordThatNoUserMayHave(t *testing.T) {
	const where = "bootstrap.password: (or what bootstrap.password_file holds) "
	for name, test := range map[string]struct{ password, algorithm, want string }{
		"none":              {"", "bcrypt", ""},
		"good":              {"secret", "bcrypt", ""},
		"too short":         {"secre", "bcrypt", where + "passwords must be at least [6] characters long"},
		"short characters":  {"éééééé", "bcrypt", ""},
		"long enough bytes": {"ééé", "bcrypt", where + "passwords must be at least [6] characters long"},
		"too long":          {strings.Repeat("a", 73), "bcrypt12", where + "passwords must be no more than [72] bytes long with the hashing algorithm [BCRYPT12]"},
		"long, for PBKDF2":  {strings.Repeat("a", 73), "pbkdf2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := valid()
			c.BootstrapPassword, c.PasswordHashing = realm.NewSecret(test.password), test.algorithm
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestBootstrapCheckOfTheTokenService(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Config)
		fatal  bool
		warned bool
	}{
		"loopback":                  {func(*config.Config) {}, false, true},
		"localhost":                 {func(c *config.Config) { c.Transport.Host = "localhost" }, false, true},
		"IPv6 loopback":             {func(c *config.Config) { c.Transport.Host = "::1" }, false, true},
		"loopback with HTTPS":       {enableHTTPS, false, false},
		"bound elsewhere":           {func(c *config.Config) { c.Transport.Host = "192.0.2.1" }, true, false},
		"bound to a host name":      {func(c *config.Config) { c.Transport.Host = "a.example.org" }, true, false},
		"bound everywhere":          {func(c *config.Config) { c.Transport.Host, c.Transport.PublishHost = "::", "localhost" }, true, false},
		"published elsewhere":       {func(c *config.Config) { c.Transport.PublishHost = "192.0.2.1" }, true, false},
		"only HTTP bound elsewhere": {func(c *config.Config) { c.HTTP.Host = "192.0.2.1" }, false, true},
		"a single node elsewhere":   {func(c *config.Config) { c.Transport.Host, c.Discovery.SingleNode = "192.0.2.1", true }, false, true},
		"elsewhere with HTTPS":      {func(c *config.Config) { c.Transport.Host = "192.0.2.1"; enableHTTPS(c) }, false, false},
		"elsewhere without service": {func(c *config.Config) { c.Transport.Host = "192.0.2.1"; c.Token.Enabled = false }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := valid()
			c.Token.Enabled = true
			test.change(c)
			err := c.Validate()
			if test.fatal && (err == nil || err.Error() != needsHTTPS) || !test.fatal && err != nil {
				t.Errorf("Validate: %v, want an error: %v", err, test.fatal)
			}
			warned := strings.Contains(strings.Join(c.Warnings(), "\n"), needsHTTPS)
			if warned != test.warned {
				t.Errorf("warnings %q, want that of the check: %v", c.Warnings(), test.warned)
			}
		})
	}
}

func enableHTTPS(c *config.Config) {
	c.HTTP.TLS = config.TLS{Enabled: true, Files: certs.Files{Certificate: "/h.crt", Key: "/h.key"}}
}

func TestWarnings(t *testing.T) {
	c := valid()
	c.HTTP.Host = "0.0.0.0"
	c.Discovery.InitialMasterNodes = []string{"a", "b"}
	want := []string{
		"http.host: [0.0.0.0] is reachable from other machines without HTTPS, so passwords cross the network in the clear; " +
			"set xpack.security.http.ssl.enabled to true",
		"xpack.security.authc.token.enabled: is false, so no token is issued or accepted; set xpack.security.http.ssl.enabled to true",
		"cluster.initial_master_nodes: a cluster of 2 survives no loss, like a cluster of 1; use an odd number",
	}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Error(diff)
	}
}

// A name that is spelled otherwise in the list was waited for without an end.
func TestANodeThatIsNotAmongTheInitialOnesIsWarnedOf(t *testing.T) {
	for name, test := range map[string]struct {
		own   string
		names []string
		want  string // empty: nothing
	}{
		"named":            {"a", []string{"a", "b", "c"}, ""},
		"another case":     {"a", []string{"A", "b", "c"}, `node.name "a" is not in cluster.initial_master_nodes [A b c]; "A"?`},
		"with its domain":  {"a.example.org", []string{"a", "b", "c"}, `node.name "a.example.org" is not in cluster.initial_master_nodes [a b c]; "a"?`},
		"a later one":      {"d", []string{"a", "b", "c"}, `node.name "d" is not in cluster.initial_master_nodes [a b c]: it can join the cluster`},
		"nothing to start": {"d", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := valid()
			before := len(c.Warnings())
			c.NodeName, c.Discovery.InitialMasterNodes = test.own, test.names
			warnings := c.Warnings()[before:]
			if (len(warnings) > 0) != (test.want != "") || len(warnings) > 0 && !strings.HasPrefix(warnings[0], test.want) {
				t.Errorf("%q, want %q", warnings, test.want)
			}
			if err := c.Validate(); err != nil {
				t.Errorf("it may join all the same: %v", err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for name, test := range map[string]struct {
		endpoint      config.Endpoint
		bind, publish string
	}{
		"bind only":      {config.Endpoint{Host: "192.0.2.1", Port: 9300}, "192.0.2.1:9300", "192.0.2.1:9300"},
		"published host": {config.Endpoint{Host: "0.0.0.0", Port: 9300, PublishHost: "a"}, "0.0.0.0:9300", "a:9300"},
		"published port": {config.Endpoint{Host: "::1", Port: 9300, PublishPort: 80}, "[::1]:9300", "[::1]:80"},
		"both":           {config.Endpoint{Host: "::", Port: 0, PublishHost: "2001:db8::1", PublishPort: 80}, "[::]:0", "[2001:db8::1]:80"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.endpoint.BindAddress(); got != test.bind {
				t.Errorf("BindAddress = %s, want %s", got, test.bind)
			}
			if got := test.endpoint.PublishAddress(); got != test.publish {
				t.Errorf("PublishAddress = %s, want %s", got, test.publish)
			}
		})
	}
}
