package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

// Real clients, unchanged, as their users write them, against three nodes behind
// HAProxy (scripts/clients). What each goes through is written once, in
// elasticsearch.mjs and oauth.mjs, and again in Go in scripts/clients/go.
//
//	JETON_CLIENTS       all, or the names of some, separated by commas
//	JETON_CLIENTS_JSON  a file for the verdicts, for machines

// clientsPatience bounds the run of one client. It covers compiling nothing: that
// is done before.
const clientsPatience = 3 * time.Minute

// realClient is a client and the program that uses it.
type realClient struct {
	name    string
	key     string   // short, for names of users and for JETON_CLIENTS
	program string   // of scripts/clients: a .mjs in js, a .sh, or a test in go
	stories []string // all that must be told
}

// clientVerdict is what became of a client.
type clientVerdict struct {
	Client  string   `json:"client"`
	Version string   `json:"version"`
	Passed  []string `json:"passed"`
	Failed  []string `json:"failed"`
	Missing []string `json:"missing"` // not told at all
	Seconds float64  `json:"seconds"`
	Good    bool     `json:"good"`

	output string
}

func realClients() []realClient {
	elasticsearch := []string{
		"product check", "issue", "use", "refresh", "repeated refresh", "client credentials", "invalidate access token",
		"invalidate refresh token", "invalidate by user", "wrong password", "expired", "node discovery", "nodes lost",
	}
	oauth := []string{
		"issue", "use", "refresh", "repeated refresh", "client credentials", "scope", "revoke access token",
		"revoke refresh token", "wrong password", "wrong secret", "expired", "nodes lost",
	}
	introspecting := slices.Concat(oauth, []string{"introspect"})
	documented := []string{"as documented"} // in docs/oauth-clients.md
	return []realClient{
		{"@elastic/elasticsearch 6", "js6", "elasticsearch-6.mjs", elasticsearch},
		{"@elastic/elasticsearch 7.13", "js7.13", "elasticsearch-7.13.mjs", elasticsearch},
		{"@elastic/elasticsearch 7.17", "js7.17", "elasticsearch-7.17.mjs", elasticsearch},
		{"@elastic/elasticsearch 8", "js8", "elasticsearch-8.mjs", elasticsearch},
		{"@elastic/elasticsearch 9", "js9", "elasticsearch-9.mjs", elasticsearch},
		{"go-elasticsearch 7", "go7", "TestGoElasticsearch7", elasticsearch},
		{"go-elasticsearch 8", "go8", "TestGoElasticsearch8", elasticsearch},
		{"go-elasticsearch 8, typed", "go8typed", "TestGoElasticsearch8Typed", elasticsearch},
		{"go-elasticsearch 9", "go9", "TestGoElasticsearch9", elasticsearch},
		{"go-elasticsearch 9, typed", "go9typed", "TestGoElasticsearch9Typed", elasticsearch},
		{"olivere/elastic 7", "olivere7", "TestOlivere7", elasticsearch},
		{"golang.org/x/oauth2", "x-oauth2", "TestOAuth2", slices.Concat(introspecting, documented)},
		{"curl", "curl", "curl.sh", introspecting},
		{"openid-client", "openid-client", "openid-client.mjs", slices.Concat(introspecting, documented)},
		{"oauth4webapi", "oauth4webapi", "oauth4webapi.mjs", slices.Concat(introspecting, documented)},
		{"simple-oauth2", "simple-oauth2", "simple-oauth2.mjs", slices.Concat(oauth, documented)},
	}
}

// chosenClients are those that JETON_CLIENTS names.
func chosenClients(t *testing.T) (chosen []realClient) {
	t.Helper()
	wanted := os.Getenv("JETON_CLIENTS")
	if wanted == "" {
		t.Skip("runs clients from other registries behind HAProxy; to run it: JETON_CLIENTS=all (scripts/check.sh clients)")
	}
	for _, program := range []string{"haproxy", "node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed: %v", program, err)
		}
	}
	for _, client := range realClients() {
		if wanted == "all" || slices.Contains(strings.Split(wanted, ","), client.key) {
			chosen = append(chosen, client)
		}
	}
	if len(chosen) == 0 {
		t.Fatalf("JETON_CLIENTS=%s names no client", wanted)
	}
	return chosen
}

func TestClients(t *testing.T) {
	chosen := chosenClients(t)
	t.Setenv("JETON_E2E", "1")
	var programs clientPrograms
	var preparing errgroup.Group
	preparing.Go(func() (err error) {
		programs, err = prepareClients(t.Context(), t.TempDir(), chosen)
		return err
	})
	b := startBalancer(t, chosen)
	must(t, preparing.Wait())

	verdicts := make([]clientVerdict, len(chosen))
	var running errgroup.Group
	for i, client := range chosen {
		running.Go(func() error {
			defer b.rounds.leave(client.key)
			verdicts[i] = runClient(t.Context(), b, programs, client)
			return nil
		})
	}
	lost := b.loseNodes(t, chosen)
	must(t, running.Wait())

	for _, v := range verdicts {
		if !v.Good {
			t.Errorf("%s: failed %q, missing %q\n%s", v.Client, v.Failed, v.Missing, v.output)
		}
	}
	must(t, lost)
	b.servedByAll(t)
	tellVerdicts(t, verdicts)
}

// clientPrograms is where the clients' programs are.
type clientPrograms struct {
	folder string // scripts/clients
	test   string // the compiled tests
}

func (p clientPrograms) js() string    { return filepath.Join(p.folder, "js") }
func (p clientPrograms) tests() string { return filepath.Join(p.folder, "go") }

func (p clientPrograms) command(ctx context.Context, program string) (cmd *exec.Cmd) {
	switch filepath.Ext(program) {
	case ".mjs":
		cmd = exec.CommandContext(ctx, "node", "--test-reporter=spec", program)
		cmd.Dir = p.js()
	case ".sh":
		cmd = exec.CommandContext(ctx, filepath.Join(p.folder, program))
	default:
		cmd = exec.CommandContext(ctx, p.test, "-test.v", "-test.run=^"+program+"$")
		cmd.Dir = p.tests()
	}
	return cmd
}

// prepareClients installs and compiles the clients.
func prepareClients(ctx context.Context, temporary string, chosen []realClient) (p clientPrograms, err error) {
	root, err := filepath.Abs(filepath.Join("..", "..", "scripts", "clients"))
	if err != nil {
		return p, err
	}
	p = clientPrograms{root, filepath.Join(temporary, "clients.test")}
	var both errgroup.Group
	both.Go(func() error { return p.install(ctx) })
	if slices.ContainsFunc(chosen, func(c realClient) bool { return strings.HasPrefix(c.program, "Test") }) {
		both.Go(func() error { return command(ctx, p.tests(), "go", "test", "-c", "-vet=off", "-o", p.test, ".") })
	}
	return p, both.Wait()
}

// install does what npm ci does, unless that has been done for the same lock file.
func (p clientPrograms) install(ctx context.Context) error {
	installed := filepath.Join(p.js(), "node_modules", ".installed")
	lock, err := os.ReadFile(filepath.Join(p.js(), "package-lock.json"))
	if err != nil {
		return err
	}
	if was, err := os.ReadFile(installed); err == nil && bytes.Equal(was, lock) {
		return nil
	}
	if err := command(ctx, p.js(), "npm", "ci", "--no-audit", "--no-fund"); err != nil {
		return err
	}
	return os.WriteFile(installed, lock, 0o600)
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// runClient runs one client and reads what it told.
func runClient(ctx context.Context, b *balancer, programs clientPrograms, client realClient) clientVerdict {
	ctx, cancel := context.WithTimeout(ctx, clientsPatience)
	defer cancel()
	cmd := programs.command(ctx, client.program)
	results := filepath.Join(b.folder, client.key+".results")
	cmd.Env = append(withoutJetonVariables(os.Environ()), b.environment(client, results)...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = fmt.Appendf(out, "%s: %v", cmd, err)
	}
	v := clientVerdict{Client: client.name, Seconds: time.Since(began).Seconds(), output: string(out), Passed: []string{}, Failed: []string{}, Missing: []string{}}
	err = errors.Join(err, v.read(results))
	for _, story := range client.stories {
		if !slices.Contains(v.Passed, story) && !slices.Contains(v.Failed, story) {
			v.Missing = append(v.Missing, story)
		}
	}
	v.Good = err == nil && len(v.Failed) == 0 && len(v.Missing) == 0
	return v
}

// read takes in the results that a client has written, one line a story.
func (v *clientVerdict) read(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		var told struct{ Version, Case, Verdict string }
		if err := json.Unmarshal([]byte(line), &told); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		v.Version = told.Version
		if told.Verdict == "passed" {
			v.Passed = append(v.Passed, told.Case)
		} else {
			v.Failed = append(v.Failed, told.Case)
		}
	}
	return nil
}

// tellVerdicts prints the table for people, and writes the file for machines.
func tellVerdicts(t *testing.T, verdicts []clientVerdict) {
	t.Helper()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "client\tversion\tcases\ttime\tverdict")
	for _, v := range verdicts {
		verdict := "good"
		if !v.Good {
			verdict = "failed: " + strings.Join(append(v.Failed, v.Missing...), ", ")
		}
		total := len(v.Passed) + len(v.Failed) + len(v.Missing)
		fmt.Fprintf(table, "%s\t%s\t%d of %d\t%.1f s\t%s\n", v.Client, v.Version, len(v.Passed), total, v.Seconds, verdict)
	}
	must(t, table.Flush())
	if path := os.Getenv("JETON_CLIENTS_JSON"); path != "" {
		content, err := json.MarshalIndent(verdicts, "", "  ")
		must(t, err)
		must(t, os.WriteFile(path, append(content, '\n'), 0o600))
	}
}
