package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"jeton/node/token/tokentest"
)

// Repeated is how often an answer was lost and the request repeated.
type Repeated struct {
	// Swallowed answers arrived and were kept from the client. HungUp are requests whose
	// client was gone before the answer.
	Swallowed int `json:"swallowed"`
	HungUp    int `json:"hung_up"`
	// Compared are the answers that were compared with another, byte for byte.
	Compared int `json:"compared"`
}

// Repeats loses the answers to refreshes, and repeats each at two other targets (at the
// same one if there are no two), until so many were answered. All answers to one refresh
// token must be the same, byte for byte, also the one that was lost.
func (l *Load) Repeats(ctx context.Context, count int) (sum Repeated, err error) {
	var mu sync.Mutex
	err = l.inChains(ctx, count, func(ctx context.Context, c *chain) bool {
		one := c.loseAndRepeat(ctx)
		mu.Lock()
		defer mu.Unlock()
		sum.Swallowed += one.Swallowed
		sum.HungUp += one.HungUp
		sum.Compared += one.Compared
		return one.Compared > 0
	})
	return sum, err
}

// loseAndRepeat loses the answer to one refresh.
func (c *chain) loseAndRepeat(ctx context.Context) (r Repeated) {
	endpoints := *c.endpoints.Load()
	first := c.draw(len(endpoints))
	lost, known := c.lose(ctx, endpoints[first])
	if known {
		r.Swallowed++
	} else {
		r.HungUp++
	}
	c.figures.repeat()
	for i := range 2 {
		again := c.refresh(ctx, endpoints[(first+1+i)%len(endpoints)])
		if again.body == nil {
			return r
		}
		if lost.body != nil {
			r.Compared++
			c.same(order{in: tokentest.Input{Action: tokentest.Refresh, Family: c.family, Generation: c.next}}, lost, again)
		}
		lost = again
	}
	return r
}

// errLost is what a client gets in place of the answer.
var errLost = errors.New("the answer was lost")

// lose refreshes without getting the answer: it is swallowed, and known to us, or the
// client hangs up as soon as the request was sent, or a little later.
func (c *chain) lose(ctx context.Context, e *endpoint) (answered outcome, known bool) {
	o := order{in: tokentest.Input{Action: tokentest.Refresh, User: c.person.name, Family: c.family, Generation: c.next}, at: e}
	_, pairs := c.history.Family(c.family)
	op := c.history.Start(c.number, o.in)
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	thief := &thief{}
	switch c.draw(4) {
	case 0:
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { cancel() }})
	case 1:
		patience := time.Duration(c.draw(int(4 * time.Millisecond)))
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { time.AfterFunc(patience, cancel) }})
	default:
		thief.keeps = true
	}
	transport := &http.Transport{DialContext: thief.dial, DialTLSContext: thief.dialTLS(c.config), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	private := &endpoint{Target: e.Target, clients: []*http.Client{{Transport: transport}}}
	r := requestFor(o, pairs[c.next])
	began := c.now()
	a := private.ask(ctx, &c.config, &r)
	if a.err != nil {
		a, known = thief.stolen()
	}
	if answered = judge(o, e.Target, a); known && answered.recorded {
		c.history.End(op, answered.out)
	} else {
		c.history.End(op, tokentest.Output{Answer: tokentest.Unknown})
	}
	c.figures.record(e.Name, r.kind, endedGivenUp, c.now()-began, false)
	return answered, known
}

// thief makes connections on which the first answer is read to its end, kept, and never
// handed on, if it keeps any.
type thief struct {
	keeps bool

	mu     sync.Mutex
	answer *answer
}

func (t *thief) stolen() (a answer, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answer == nil {
		return answer{err: errLost, sent: true}, false
	}
	return *t.answer, true
}

func (t *thief) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return &stolen{Conn: raw, thief: t}, nil
}

func (t *thief) dialTLS(c Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS13}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		secured, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("dial: %w", err)
		}
		return &stolen{Conn: secured, thief: t}, nil
	}
}

// stolen is a connection on which no answer arrives.
type stolen struct {
	net.Conn
	thief *thief
}

// Read takes the answer for itself.
func (s *stolen) Read(p []byte) (int, error) {
	if !s.thief.keeps {
		return s.Conn.Read(p) //nolint:wrapcheck // io.Reader: the error is the connection's
	}
	response, err := http.ReadResponse(bufio.NewReader(s.Conn), nil)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errLost, err)
	}
	var body bytes.Buffer
	if _, err := io.Copy(&body, io.LimitReader(response.Body, maxAnswerBytes)); err != nil {
		return 0, fmt.Errorf("%w: %w", errLost, err)
	}
	_ = response.Body.Close() // read to its end
	s.thief.mu.Lock()
	defer s.thief.mu.Unlock()
	s.thief.answer = &answer{status: response.StatusCode, header: response.Header, body: body.Bytes(), sent: true}
	return 0, errLost
}
