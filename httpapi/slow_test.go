package httpapi_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jeton/httpapi"
)

// pipes is a listener whose connections are in memory, so that time may be as well.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, open := <-p; open {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// held connects to a server in memory and tells how long the server held the
// connection.
func held(t *testing.T, act func(client net.Conn, more *sync.WaitGroup)) (duration time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start, closed := time.Now(), make(chan time.Time, 1)
		server := httpapi.HTTPServer(handlerOf(t, config(&world{})), 0, log.New(io.Discard, "", 0))
		server.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed <- time.Now()
			}
		}
		listener, done := make(pipes, 1), make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		client, accepted := net.Pipe()
		listener <- accepted
		var more sync.WaitGroup
		act(client, &more)
		duration = (<-closed).Sub(start)
		more.Wait()
		close(listener)
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return duration
}

// Nothing a client does slowly, or not at all, holds its connection for longer than
// the limits: also where the request is refused before its body is read.
func TestSlowClients(t *testing.T) {
	const head = " HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
	type action func(client net.Conn, more *sync.WaitGroup)
	send := func(text string) action {
		return func(client net.Conn, _ *sync.WaitGroup) { _, _ = io.WriteString(client, text) }
	}
	drain := func(then action) action {
		return func(client net.Conn, more *sync.WaitGroup) {
			more.Go(func() { _, _ = io.Copy(io.Discard, client) })
			then(client, more)
		}
	}
	dribble := func(text string) action {
		return func(client net.Conn, more *sync.WaitGroup) {
			send(text)(client, more)
			more.Go(func() {
				for err := error(nil); err == nil; time.Sleep(time.Second) {
					_, err = io.WriteString(client, " ")
				}
			})
		}
	}
	for _, c := range []struct {
		name         string
		act          action
		least, limit time.Duration
	}{
		{"says nothing", drain(send("")), 5 * time.Second, 5 * time.Second},
		{"stops in the headers", drain(send("GET / HTTP/1.1\r\nHos")), 5 * time.Second, 5 * time.Second},
		{"says nothing more", drain(send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")), 3 * time.Minute, 3 * time.Minute},
		{"sends no body", drain(send("POST " + tokenPath + head)), 45 * time.Second, 46 * time.Second},
		{"sends its body slowly", drain(dribble("POST " + tokenPath + head)), 45 * time.Second, 46 * time.Second},
		{"sends no body to a path that does not exist", drain(send("POST /nowhere" + head)), 0, 46 * time.Second},
		{"sends its body slowly to a path that does not exist", drain(dribble("POST /nowhere" + head)), 0, 46 * time.Second},
		{"sends its body slowly to an operation without one", drain(dribble("PATCH /livez" + head)), 0, 46 * time.Second},
		{"does not read its answer", send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 75 * time.Second, 76 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if after := held(t, c.act); after < c.least || after > c.limit {
				t.Errorf("the connection was held for %v, want %v to %v", after, c.least, c.limit)
			}
		})
	}
}
