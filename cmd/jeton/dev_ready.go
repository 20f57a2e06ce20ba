package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// elasticUser is the superuser that every new cluster has.
	elasticUser = "elastic"
	// readyInterval is short because people wait for it; the probe is cheap.
	readyInterval = 50 * time.Millisecond
	probeTimeout  = 5 * time.Second
)

var errPasswordRefused = errors.New("the password of elastic was refused")

// readyClient asks nodes of a dev cluster how they are, over TLS as clients do.
type readyClient struct{ http *http.Client }

// newReadyClient trusts the authority in the file and nobody else.
func newReadyClient(certificateAuthority string) (*readyClient, error) {
	pem, err := os.ReadFile(certificateAuthority)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", certificateAuthority)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, // nodes come and go between two probes
	}
	return &readyClient{&http.Client{Transport: transport, Timeout: probeTimeout}}, nil
}

// readiness asks the node at url whether it is ready: 200.
func (c *readyClient) readiness(ctx context.Context, url string) (status int, err error) {
	return c.get(ctx, url+"/readyz", "")
}

// liveness asks the node at url whether it serves at all: 200.
func (c *readyClient) liveness(ctx context.Context, url string) (status int, err error) {
	return c.get(ctx, url+"/livez", "")
}

// authenticate returns when the node accepts the password of elastic. The user
// may come into being a moment after the node became ready, so a refusal is
// final only when ctx ends: then the error wraps errPasswordRefused.
func (c *readyClient) authenticate(ctx context.Context, url, password string) error {
	return c.poll(ctx, func(ctx context.Context) (int, error) { return c.get(ctx, url+"/_security/_authenticate", password) })
}

// poll returns when the probe gets a 200, or with the reason of its last
// refusal when ctx ends first.
func (c *readyClient) poll(ctx context.Context, probe func(context.Context) (int, error)) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for last := errors.New("no answer yet"); ; {
		status, err := probe(ctx)
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil && status == http.StatusUnauthorized:
			last = errPasswordRefused
		case err == nil:
			last = fmt.Errorf("it answered %d %s", status, http.StatusText(status))
		case ctx.Err() == nil:
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", last, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// get returns the status of the answer. With a password it asks as elastic.
func (c *readyClient) get(ctx context.Context, url, password string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", url, err)
	}
	if password != "" {
		req.SetBasicAuth(elasticUser, password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err //nolint:wrapcheck // names the URL
	}
	defer func() { _ = resp.Body.Close() }() // only the status matters
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, nil
}
