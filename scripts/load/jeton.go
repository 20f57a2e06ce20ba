package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

const (
	tokenPath        = "/_security/oauth2/token"
	authenticatePath = "/_security/_authenticate"
)

// operations on a Jeton node, in the order they are measured: invalidate uses
// up what the others leave behind.
var operations = []string{"issue", "authenticate", "refresh", "invalidate"}

// target is a node of a running cluster and who asks it.
type target struct {
	url      string
	log      string // file
	servers  []int  // processes of the whole cluster
	tls      *tls.Config
	username string
	password string
}

// load is one measurement: what, over how many connections, how long.
type load struct {
	operation   string
	connections int
	warmup      time.Duration
	length      time.Duration
	tokens      int // invalidate: how many are issued beforehand
}

// measure connects, prepares what the operation needs, and drives it.
func (t target) measure(ctx context.Context, l load) (figures, error) {
	var tokens []string
	if l.operation == "invalidate" { // first: a server closes connections that say nothing for long
		var err error
		if tokens, err = t.issueMany(ctx, l.tokens); err != nil {
			return figures{}, fmt.Errorf("issue the tokens to invalidate: %w", err)
		}
	}
	conns, err := dialAll(ctx, t.url, t.tls, l.connections)
	if err != nil {
		return figures{}, err
	}
	defer closeAll(conns)
	deadline := time.Now().Add(l.warmup + l.length + 2*time.Minute) // no node hangs the tool
	for _, c := range conns {
		if err := c.raw.SetDeadline(deadline); err != nil {
			return figures{}, fmt.Errorf("set deadline: %w", err)
		}
	}
	callers, err := t.callers(l.operation, conns, tokens)
	if err != nil {
		return figures{}, fmt.Errorf("prepare %s: %w", l.operation, err)
	}
	result, err := drive(callers, l.warmup, l.length, t.servers...)
	if err != nil {
		return result, fmt.Errorf("%s: %w", l.operation, err)
	}
	return result, nil
}

func (t target) callers(operation string, conns []*conn, tokens []string) ([]func() error, error) {
	// The first log-in at a node hashes the password, the others find it verified:
	// they must not all arrive before it is.
	if _, err := t.ask(conns[0], t.passwordGrant()); err != nil {
		return nil, err
	}
	switch operation {
	case "issue":
		return t.repeat(conns, t.clientCredentials()), nil
	case "password":
		return t.repeat(conns, t.passwordGrant()), nil
	case "authenticate":
		return t.authenticators(conns)
	case "refresh":
		return t.refreshers(conns)
	case "invalidate":
		return t.invalidators(conns, tokens), nil
	default:
		return nil, fmt.Errorf("no operation %q", operation)
	}
}

// repeat sends one and the same request for ever.
func (t target) repeat(conns []*conn, request []byte) []func() error {
	callers := make([]func() error, len(conns))
	for i, c := range conns {
		callers[i] = func() error {
			_, err := t.ask(c, request)
			return err
		}
	}
	return callers
}

// authenticators present a token of their own each.
func (t target) authenticators(conns []*conn) ([]func() error, error) {
	callers := make([]func() error, len(conns))
	err := inParallel(len(conns), len(conns), func(i int) error {
		answer, err := t.ask(conns[i], t.clientCredentials())
		if err != nil {
			return err
		}
		token, err := member(answer, "access_token")
		if err != nil {
			return err
		}
		callers[i] = t.repeat(conns[i:i+1], t.request(http.MethodGet, authenticatePath, "Bearer "+token, nil))[0]
		return nil
	})
	return callers, err
}

// refreshers exchange the refresh token of the last answer for the next, each in a chain of its own.
func (t target) refreshers(conns []*conn) ([]func() error, error) {
	callers := make([]func() error, len(conns))
	err := inParallel(len(conns), len(conns), func(i int) error {
		answer, err := t.ask(conns[i], t.passwordGrant())
		if err != nil {
			return err
		}
		token, err := member(answer, "refresh_token")
		if err != nil {
			return err
		}
		callers[i] = func() error {
			request := t.post(map[string]string{"grant_type": "refresh_token", "refresh_token": token})
			answer, err := t.ask(conns[i], request)
			if err != nil {
				return err
			}
			token, err = member(answer, "refresh_token")
			return err
		}
		return nil
	})
	return callers, err
}

// invalidators use up tokens that were issued before anything is timed.
func (t target) invalidators(conns []*conn, tokens []string) []func() error {
	requests := make([][]byte, len(tokens))
	for i, token := range tokens {
		body := []byte(`{"token":"` + token + `"}`)
		requests[i] = t.request(http.MethodDelete, tokenPath, basic(t.username, t.password), body)
	}
	var next atomic.Int64
	callers := make([]func() error, len(conns))
	for i, c := range conns {
		callers[i] = func() error {
			mine := int(next.Add(1)) - 1
			if mine >= len(requests) {
				return errExhausted
			}
			answer, err := t.ask(c, requests[mine])
			if err == nil && !bytes.Contains(answer, []byte(`"invalidated_tokens":1`)) {
				err = fmt.Errorf("a live token was not invalidated: %s", answer)
			}
			return err
		}
	}
	return callers
}

// issueMany issues n access tokens over connections of its own, fast.
func (t target) issueMany(ctx context.Context, n int) ([]string, error) {
	const width = 128
	conns, err := dialAll(ctx, t.url, t.tls, min(width, n))
	if err != nil {
		return nil, err
	}
	defer closeAll(conns)
	request := t.clientCredentials()
	tokens := make([]string, n)
	var next atomic.Int64
	err = inParallel(len(conns), len(conns), func(i int) error {
		for mine := int(next.Add(1)) - 1; mine < n; mine = int(next.Add(1)) - 1 {
			answer, err := t.ask(conns[i], request)
			if err != nil {
				return err
			}
			if tokens[mine], err = member(answer, "access_token"); err != nil {
				return err
			}
		}
		return nil
	})
	return tokens, err
}

func (t target) clientCredentials() []byte {
	return t.post(map[string]string{"grant_type": "client_credentials"})
}

func (t target) passwordGrant() []byte {
	return t.post(map[string]string{"grant_type": "password", "username": t.username, "password": t.password})
}

func (t target) post(form map[string]string) []byte {
	body, err := json.Marshal(form)
	if err != nil {
		panic(err) // strings always marshal
	}
	return t.request(http.MethodPost, tokenPath, basic(t.username, t.password), body)
}

func (t target) request(method, path, authorization string, body []byte) []byte {
	return newRequest(method, path, "localhost", authorization, body)
}

// ask sends a request, expects 200, and returns the body, which is valid until the next one.
func (t target) ask(c *conn, request []byte) ([]byte, error) {
	status, body, err := c.do(request)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %.300s", status, body)
	}
	return body, nil
}

// member returns a string member of a JSON answer. It looks for the name
// instead of parsing: tokens hold nothing that JSON escapes.
func member(answer []byte, name string) (string, error) {
	_, rest, found := bytes.Cut(answer, []byte(`"`+name+`":"`))
	end := bytes.IndexByte(rest, '"')
	if !found || end <= 0 {
		return "", errors.New("the answer has no " + name)
	}
	return string(rest[:end]), nil
}

func isOperation(name string) bool { return name == "password" || slices.Contains(operations, name) }
