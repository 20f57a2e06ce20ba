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
	var asked []string
	warnings := unresolved(t.Context(), c, func(_ context.Context, host string) ([]string, error) {
		asked = append(asked, host)
		if host == "known.example.org" {
			return []string{"10.0.0.1"}, nil
		}
		return nil, errors.New("no such host")
	})
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "http.host, transport.host: [lost.example.org] does not resolve on this machine (no such host); ") {
		t.Errorf("%q", warnings)
	}
	if len(asked) != 2 {
		t.Errorf("asked for %q", asked)
	}
}
