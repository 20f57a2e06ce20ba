package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"jeton/node/config"
)

func TestHostsThatDoNotResolveAreWarnedOf(t *testing.T) {
	c := config.Default()
	c.HTTP.Host, c.Transport.Host = "lost.example.org", "lost.example.org"
	c.HTTP.PublishHost, c.Transport.PublishHost = "known.example.org", "10.0.0.1"
	c.Discovery.SeedHosts = []string{"nosuch.invalid:9300", "nosuch.invalid:9301", "known.example.org:9300", "10.0.0.2:9300", "[::1]:9300"}
	var asked []string
	warnings := unresolved(t.Context(), c, func(_ context.Context, host string) ([]string, error) {
		asked = append(asked, host)
		if host == "known.example.org" {
			return []string{"10.0.0.1"}, nil
		}
		return nil, errors.New("no such host")
	})
	const seed = "discovery.seed_hosts: [nosuch.invalid] does not resolve on this machine (no such host); "
	if len(warnings) != 2 || !strings.HasPrefix(warnings[1], seed) || !strings.HasPrefix(warnings[0], "http.host, transport.host: [lost.example.org] does not resolve on this machine (no such host); ") {
		t.Errorf("%q", warnings)
	}
	if len(asked) != 3 {
		t.Errorf("asked for %q", asked)
	}
}

// validate called a configuration valid with which the server ended at once.
func TestAddressesOfOtherMachinesAreWarnedOf(t *testing.T) {
	for name, test := range map[string]struct {
		http, transport string
		want            []string // how warnings begin
	}{
		"its own":            {"127.0.0.1", "0.0.0.0", nil},
		"of another machine": {"192.0.2.1", "192.0.2.1", []string{"http.host, transport.host: [192.0.2.1] is no address of this machine"}},
		"one of them":        {"127.0.0.1", "192.0.2.1", []string{"transport.host: [192.0.2.1] is no address of this machine"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Default()
			c.HTTP.Host, c.Transport.Host = test.http, test.transport
			warnings := strange(t.Context(), c, listenBriefly)
			if len(warnings) != len(test.want) {
				t.Fatalf("%q", warnings)
			}
			for i, warning := range warnings {
				if !strings.HasPrefix(warning, test.want[i]) {
					t.Errorf("%q", warning)
				}
			}
		})
	}
}
