package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jeton/node/certs"
	"jeton/node/config"
	"jeton/node/realm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// compareSecrets lets cmp look into secrets; a difference still shows as ***.
var compareSecrets = cmp.Comparer(func(a, b realm.Secret) bool { return a.Expose() == b.Expose() })

func write(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "jeton.yml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// complete is a file to which nothing has to be added.
const complete = `
node.name: a
path.data: data
discovery.type: single-node
xpack.security.authc.token.key_path: cluster.key
xpack.security.transport.ssl: {certificate: a.crt, key: a.key, certificate_authorities: ca.crt}
`

func load(t *testing.T, content string, environ []string, overrides map[string]string) *config.Config {
	t.Helper()
	c, err := config.Load(write(t, content), environ, overrides)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadReadsAFileOfElasticsearch(t *testing.T) {
	const file = "testdata/good/elasticsearch.yml"
	got, err := config.Load(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(folder, "certs", name) }
	want := config.Default()
	want.ClusterName, want.NodeName, want.DataPath = "my-application", "node-1", "/var/lib/jeton"
	want.HTTP.Host, want.HTTP.Port, want.HTTP.MaxContentLength = "192.0.2.7", 9201, 128<<10
	want.HTTP.TLS = config.TLS{Enabled: true, Files: certs.Files{Certificate: at("http.crt"), Key: at("http.key")}}
	want.Transport.Host = "192.0.2.7"
	want.Transport.TLS.Files = certs.Files{
		Certificate: at("transport.crt"), Key: at("transport.key"),
		CertificateAuthorities: []string{at("ca.crt"), "/etc/ca2.crt"},
	}
	want.Discovery.SeedHosts = []string{"host1:9300", "host2:9301", "[2001:db8::1]:9302", "[2001:db8::2]:9300"}
	want.Discovery.InitialMasterNodes = []string{"node-1", "node-2", "node-3"}
	want.PasswordHashing = "pbkdf2_stretch"
	want.Token.Enabled = true // since HTTPS is on
	want.Token.AccessLifetime, want.Token.RefreshLifetime = 15*time.Minute, 7*24*time.Hour
	want.Token.KeyPath = at("cluster.key")
	if diff := cmp.Diff(want, got, compareSecrets); diff != "" {
		t.Error(diff)
	}
	if warnings := got.Warnings(); warnings != nil {
		t.Errorf("warnings: %q", warnings)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("Validate after Load: %v", err)
	}
}

// Every problem of a bad file is reported, and nothing else.
func TestLoadReportsAllProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			environ := []string{"JETON_NODE_NAME=from-the-environment", "PATH=/bin"}
			if strings.Contains(file, "values") || strings.Contains(file, "shapes") || strings.Contains(file, "expansion") {
				environ = nil
			}
			_, err := config.Load(file, environ, nil)
			if err == nil {
				t.Fatal("no problem was found")
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", "") + "\n"
			if strings.Contains(got, "canary") {
				t.Errorf("a secret is in the error: %s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".problems"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDottedAndNestedNamesMeanTheSame(t *testing.T) {
	dotted := load(t, complete+"xpack.security.authc.token.timeout: 5m\nhttp.port: 1\n", nil, nil)
	nested := load(t, complete+"xpack: {security.authc: {token: {timeout: 5m}}}\nhttp: {port: 1}\n", nil, nil)
	nested.DataPath, nested.Token.KeyPath, nested.Transport.TLS = dotted.DataPath, dotted.Token.KeyPath, dotted.Transport.TLS
	if diff := cmp.Diff(dotted, nested, compareSecrets); diff != "" {
		t.Error(diff)
	}
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	file := complete + "http.port: 2\n"
	environ := []string{"JETON_HTTP_PORT=3"}
	flags := map[string]string{"http.port": "4"}
	for name, test := range map[string]struct {
		file    string
		environ []string
		flags   map[string]string
		want    int
	}{
		"default":     {complete, nil, nil, 9200},
		"file":        {file, nil, nil, 2},
		"environment": {file, environ, nil, 3},
		"flag":        {file, environ, flags, 4},
	} {
		t.Run(name, func(t *testing.T) {
			if got := load(t, test.file, test.environ, test.flags).HTTP.Port; got != test.want {
				t.Errorf("http.port = %d, want %d", got, test.want)
			}
		})
	}
}

func TestLoadWithoutAFile(t *testing.T) {
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("", []string{
		"JETON_NODE_NAME=a",
		"JETON_DISCOVERY_SEED_HOSTS=b, c:1",
		"JETON_TRANSPORT_PORT=9400",
		"JETON_XPACK_SECURITY_AUTHC_TOKEN_KEY_PATH=/k",
		"JETON_XPACK_SECURITY_TRANSPORT_SSL_CERTIFICATE=a.crt",
		"JETON_XPACK_SECURITY_TRANSPORT_SSL_KEY=a.key",
		"JETON_XPACK_SECURITY_TRANSPORT_SSL_CERTIFICATE_AUTHORITIES=ca1.crt,ca2.crt",
	}, map[string]string{"path.data": "data"})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(working, name) }
	want := config.Default()
	want.NodeName, want.DataPath, want.Token.KeyPath = "a", at("data"), "/k"
	want.Transport.Port = 9400
	want.Discovery.SeedHosts = []string{"b:9400", "c:1"}
	want.Transport.TLS.Files = certs.Files{
		Certificate: at("a.crt"), Key: at("a.key"), CertificateAuthorities: []string{at("ca1.crt"), at("ca2.crt")},
	}
	if diff := cmp.Diff(want, c, compareSecrets); diff != "" {
		t.Error(diff)
	}
}

func TestNodeNameDefaultsToTheHostName(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil || certs.CheckName(hostname) != nil {
		t.Skip("this machine's host name cannot be a node's name")
	}
	if got := load(t, strings.Replace(complete, "node.name: a", "", 1), nil, nil).NodeName; got != hostname {
		t.Errorf("node.name = %q, want %q", got, hostname)
	}
}

func TestEnvironment(t *testing.T) {
	for name, test := range map[string]struct {
		variable string
		problem  string // empty: none
	}{
		"another program's":                    {"ELASTIC_HTTP_PRT=1", ""},
		"what dev tells scripts":               {"JETON_PASSWORD=x", ""},
		"a measurement's":                      {"JETON_BENCH_SECONDS=1", ""},
		"Kubernetes, service jeton":            {"JETON_SERVICE_PORT_HTTPS=9200", ""},
		"Kubernetes, service jeton, link":      {"JETON_PORT_9200_TCP_ADDR=10.0.0.1", ""},
		"Kubernetes, service jeton, port":      {"JETON_PORT=tcp://10.0.0.1:9200", ""},
		"Kubernetes, service jeton-http":       {"JETON_HTTP_SERVICE_HOST=10.0.0.1", ""},
		"Kubernetes, service jeton-http, port": {"JETON_HTTP_PORT=tcp://10.0.0.1:9200", ""},
		"misspelled":                           {"JETON_HTTP_PRT=1", "JETON_HTTP_PRT: unknown setting, did you mean [JETON_HTTP_PORT]?"},
		"unknown":                              {"JETON_QUITE_ELSE=canary", "JETON_QUITE_ELSE: unknown setting; `jeton help settings` lists all settings"},
		"a bad value":                          {"JETON_HTTP_PORT=x", "JETON_HTTP_PORT: http.port: failed to parse value [x] as a number: it is not a whole number"},
		"an empty value":                       {"JETON_CLUSTER_NAME=", "JETON_CLUSTER_NAME: cluster.name: is empty; leave the setting out, or give it a value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(write(t, complete), []string{test.variable}, nil)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.problem {
				t.Errorf("problem %q, want %q", got, test.problem)
			}
		})
	}
}

func TestUnknownFlag(t *testing.T) {
	_, err := config.Load(write(t, complete), nil, map[string]string{"cluster.nmae": "x"})
	const want = "-E: unknown setting [cluster.nmae], did you mean [cluster.name]?"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestVariablesInTheFile(t *testing.T) {
	environ := []string{"HOST=db.example.org", "SEEDS=a, b", "NESTED=${HOST}", "P=$ecret${"}
	c := load(t, complete+`
transport.publish_host: ${HOST}
discovery.seed_hosts: ${SEEDS}
cluster.name: pre-${HOST}-post
bootstrap.password: ${P}-$x-${NESTED}
`, environ, nil)
	want := []string{"db.example.org", "a:9300 b:9300", "pre-db.example.org-post", "$ecret${-$x-${HOST}"}
	got := []string{
		c.Transport.PublishHost, strings.Join(c.Discovery.SeedHosts, " "), c.ClusterName, c.BootstrapPassword.Expose(),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPasswordFile(t *testing.T) {
	for name, test := range map[string]struct {
		content  string
		mode     os.FileMode
		password string // in the configuration file beside it
		want     string
		problem  string
	}{
		"one line":        {"changeme\n", 0o600, "", "changeme", ""},
		"no end of line":  {" change me ", 0o400, "", " change me ", ""},
		"Windows":         {"changeme\r\n", 0o600, "", "changeme", ""},
		"readable by all": {"changeme\n", 0o644, "", "", "others may read or change this password"},
		"empty":           {"\n", 0o600, "", "", "is empty; write the password into it"},
		"another's file":  {"canary\ncanary\n", 0o644, "", "", "secret holds no password"},
		"two lines":       {"canary\ncanary\n", 0o600, "", "", "has more than one line"},
		"beside another":  {"canary\n", 0o600, "canary", "", "is given beside bootstrap.password"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, complete+"bootstrap.password_file: secret\n")
			if test.password != "" {
				file = write(t, complete+"bootstrap.password_file: secret\nbootstrap.password: "+test.password+"\n")
			}
			secret := filepath.Join(filepath.Dir(file), "secret")
			if err := os.WriteFile(secret, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(secret, test.mode); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(file, nil, nil)
			switch {
			case test.problem == "" && err != nil:
				t.Error(err)
			case test.problem == "":
				if got := c.BootstrapPassword.Expose(); got != test.want {
					t.Errorf("password %q, want %q", got, test.want)
				}
			case err == nil || !strings.Contains(err.Error(), "bootstrap.password_file: ") || !strings.Contains(err.Error(), test.problem):
				t.Errorf("error %v, want one with %q", err, test.problem)
			case strings.Contains(err.Error(), "canary"):
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestLoadNamesAMissingFile(t *testing.T) {
	_, err := config.Load("no/such.yml", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no/such.yml") {
		t.Errorf("error %v", err)
	}
}

// FuzzLoad looks for files that break the reader. What it accepts must be valid.
func FuzzLoad(f *testing.F) {
	f.Add(complete)
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(content))
		}
	}
	path := filepath.Join(f.TempDir(), "jeton.yml")
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := config.Load(path, []string{"A=b"}, nil); err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("accepted by Load, but: %v", err)
			}
		}
	})
}
