package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"jeton/scripts/lab/load"
)

const (
	pathToken = "/_security/oauth2/token"
	pathWhoAm = "/_security/_authenticate"
	username  = "elastic"
)

// client sends single requests, for the scenarios and the laboratory's own needs. It may be used concurrently.
type client struct {
	http     *http.Client
	roots    atomic.Pointer[x509.CertPool]
	password string
}

func newClient(roots *x509.CertPool, password string, timeout time.Duration) *client {
	c := &client{password: password}
	c.roots.Store(roots)
	c.http = &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialTLSContext:      load.DialTLS(c.roots.Load, 2*time.Second),
		MaxIdleConnsPerHost: 64,
	}}
	return c
}

// trust has the client trust other authorities, from the next connection on.
func (c *client) trust(roots *x509.CertPool) {
	c.roots.Store(roots)
	c.http.CloseIdleConnections()
}

// pair is what a login answers.
type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// do sends a request as the user, or with a bearer token, and returns the answer.
func (c *client) do(ctx context.Context, method, url, bearer string, body any) (status int, answer []byte, err error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, nil, fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return 0, nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	} else {
		request.SetBasicAuth(username, c.password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, err //nolint:wrapcheck // names method and URL
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or of no use
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err //nolint:wrapcheck // the caller knows the request
}

// status asks for a URL; zero: no answer.
func (c *client) status(ctx context.Context, url string) int {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, _, err := c.do(ctx, http.MethodGet, url, "", nil)
	if err != nil {
		return 0
	}
	return status
}

// issue logs in.
func (c *client) issue(ctx context.Context, node string) (p pair, err error) {
	status, answer, err := c.do(ctx, http.MethodPost, node+pathToken, "", map[string]string{"grant_type": "client_credentials"})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("issue: %d %s", status, answer)
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(answer, &p); err != nil {
		return p, fmt.Errorf("issue: %w", err)
	}
	return p, nil
}

// authenticate shows a token; the answer is a status.
func (c *client) authenticate(ctx context.Context, node, access string) (status int, err error) {
	status, _, err = c.do(ctx, http.MethodGet, node+pathWhoAm, access, nil)
	return status, err
}

// invalidate ends an access token.
func (c *client) invalidate(ctx context.Context, node, access string) error {
	status, answer, err := c.do(ctx, http.MethodDelete, node+pathToken, "", map[string]string{"token": access})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("invalidate: %d %s", status, answer)
	}
	return err
}
