package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	// maxAnswerBytes is more than any answer to our requests has.
	maxAnswerBytes = 64 << 10
	// maxProbes bounds the requests at one target that nobody waits for.
	maxProbes = 200
)

// endpoint is a target and the connections to it.
type endpoint struct {
	Target
	clients []*http.Client
	turn    atomic.Uint64 // of clients
	room    int64         // operations in flight, at most
	busy    atomic.Int64
	probes  atomic.Int64
}

func newEndpoint(t Target, c Config, roots *atomic.Pointer[x509.CertPool]) *endpoint {
	e := &endpoint{Target: t, room: int64(max(2, (c.Workers+len(c.Targets)-1)/len(c.Targets)))}
	for range max(1, c.Clients) {
		e.clients = append(e.clients, &http.Client{Transport: &http.Transport{
			DialTLSContext:      DialTLS(roots.Load, c.Timeout),
			MaxIdleConnsPerHost: c.Workers + maxProbes,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		}})
	}
	return e
}

// DialTLS connects as a client does that trusts the authorities of this moment. The timeout is for the connection with its
// handshake.
func DialTLS(roots func() *x509.CertPool, timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		dialer := &tls.Dialer{
			NetDialer: &net.Dialer{Timeout: timeout},
			Config:    &tls.Config{RootCAs: roots(), MinVersion: tls.VersionTLS13},
		}
		return dialer.DialContext(ctx, network, address)
	}
}

// client is whose turn it is to ask.
func (e *endpoint) client() *http.Client { return e.clients[e.turn.Add(1)%uint64(len(e.clients))] }

// hangUp closes the connections that nobody uses.
func (e *endpoint) hangUp() {
	for _, client := range e.clients {
		client.CloseIdleConnections()
	}
}

// enter takes a place at the target, if there is room.
func (e *endpoint) enter() bool {
	if e.busy.Add(1) <= e.room {
		return true
	}
	e.busy.Add(-1)
	return false
}

func (e *endpoint) leave() { e.busy.Add(-1) }

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // no answer, or none in full
	sent   bool  // something may have reached the target
}

// ask sends a request and reads the answer.
func (e *endpoint) ask(ctx context.Context, c *Config, r *request) (a answer) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	defer func() { a.sent = sent.Load() }()
	built, err := r.build(ctx, e.URL, c.Username, c.Password)
	if err != nil {
		return answer{err: err}
	}
	response, err := e.client().Do(built)
	if err != nil {
		return answer{err: fmt.Errorf("ask: %w", err)}
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or of no use
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return answer{err: fmt.Errorf("read answer: %w", err)}
	case len(body) > maxAnswerBytes:
		return answer{err: errors.New("an endless answer")}
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}
}
