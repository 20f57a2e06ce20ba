package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"jeton/httpapi"
	"jeton/node/realm"
)

// connection is one end of nothing.
type connection struct {
	net.Conn
	from   string
	closed int
}

func (c *connection) RemoteAddr() net.Addr {
	address, err := net.ResolveTCPAddr("tcp", c.from)
	if err != nil {
		panic(err)
	}
	return address
}

func (c *connection) Close() error {
	c.closed++
	return nil
}

// queue is a listener that has its connections already.
type queue struct {
	net.Listener
	waiting []*connection
}

func (q *queue) Accept() (net.Conn, error) {
	if len(q.waiting) == 0 {
		return nil, &net.OpError{Op: "accept", Err: io.EOF}
	}
	next := q.waiting[0]
	q.waiting = q.waiting[1:]
	return next, nil
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConnectionsPerAddress(t *testing.T) {
	open := func(from ...string) *queue {
		q := &queue{}
		for _, address := range from {
			q.waiting = append(q.waiting, &connection{from: address})
		}
		return q
	}
	q := open("10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.2:1", "10.0.0.1:4")
	third := q.waiting[2]
	l := httpapi.LimitConnections(q, 2)
	first := accept(t, l)
	accept(t, l)
	if c := accept(t, l); c.RemoteAddr().String() != "10.0.0.2:1" || third.closed != 1 {
		t.Errorf("third connection: got %v, closed %d times", c.RemoteAddr(), third.closed)
	}
	for range 2 { // closing twice gives one place back
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if c := accept(t, l); c.RemoteAddr().String() != "10.0.0.1:4" {
		t.Errorf("after a close: got %v", c.RemoteAddr())
	}
	q.waiting = open("10.0.0.1:5").waiting
	// The error comes through as it is: net/http asserts its type, to go on after some.
	if _, err := l.Accept(); err == nil {
		t.Error("beyond the limit again: accepted")
	} else if _, ok := err.(net.Error); !ok { //nolint:errorlint // as net/http does
		t.Errorf("the listener's error has become a %T", err)
	}

	l = httpapi.LimitConnections(open("[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1", "[::ffff:10.0.0.1]:1"), 1)
	accept(t, l)
	if c := accept(t, l); c.RemoteAddr().String() != "[2001:db8:0:1::1]:1" {
		t.Errorf("the same network of 64 bits: got %v", c.RemoteAddr())
	}
	accept(t, l)
}

// Many addresses have no more than the process can serve, and one address no more
// than half of that.
func TestConnectionsOfAll(t *testing.T) {
	const most, beyond = 16384, 100
	count := func(perAddress int, from func(i int) string) (accepted int, last net.Conn, next func() error) {
		q := &queue{}
		for i := range most + beyond {
			q.waiting = append(q.waiting, &connection{from: from(i)})
		}
		l := httpapi.LimitConnections(q, perAddress)
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			accepted, last = accepted+1, c
		}
		return accepted, last, func() error {
			q.waiting = []*connection{{from: "10.1.1.1:1"}}
			_, err := l.Accept()
			return err
		}
	}
	one := func(int) string { return "10.0.0.1:1" }
	many := func(i int) string { return fmt.Sprintf("10.0.%d.%d:1", i/256, i%256) }
	all, last, next := count(0, many)
	if all == 0 || all > most {
		t.Fatalf("%d connections accepted", all)
	}
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	if err := next(); err != nil {
		t.Errorf("after a close: %v", err)
	}
	if err := next(); err == nil {
		t.Error("beyond the limit again: accepted")
	}
	if n, _, _ := count(0, one); n != all/2 {
		t.Errorf("one address has %d of %d", n, all)
	}
	if n, _, _ := count(-1, one); n != all {
		t.Errorf("one address without a limit of its own has %d of %d", n, all)
	}
}

// The queue in front of password hashing is fair by it.
func TestHTTPServerSaysWhereARequestComesFrom(t *testing.T) {
	server := httpapi.HTTPServer(http.NotFoundHandler(), 0, nil)
	for from, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1/32",
		"[2001:db8:0:1:2:3:4:5]:1": "2001:db8:0:1::/64",
	} {
		ctx := server.ConnContext(t.Context(), &connection{from: from})
		if got, _ := ctx.Value(realm.Source{}).(realm.Source); netip.Prefix(got).String() != want {
			t.Errorf("%s: got %v, want %s", from, netip.Prefix(got), want)
		}
	}
}

// The server with its limits, on a real socket.
func TestHTTPServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httpapi.HTTPServer(handlerOf(t, config(&world{})), 0, log.New(io.Discard, "", 0))
	done := make(chan error, 1)
	go func() { done <- server.Serve(httpapi.LimitConnections(listener, 0)) }()
	url := "http://" + listener.Addr().String()

	send := func(method, path, body string, header http.Header) (status int, length int64, text string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		whole, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.ContentLength, string(whole)
	}
	status, length, body := send("GET", "/_security/_authenticate", "", authorization("Bearer tok"))
	if status != 200 || body != elasticJSON+`"token"}` || length != int64(len(body)) {
		t.Errorf("authenticate: status %d, length %d, body %s", status, length, body)
	}
	status, _, body = send("DELETE", tokenPath, `{"token":"t"}`, http.Header{"Authorization": {basic}, "Content-Type": {"application/json"}})
	if status != 200 {
		t.Errorf("DELETE with a body: status %d, body %s", status, body)
	}
	status, _, _ = send("GET", "/livez", "", http.Header{"X-Large": {strings.Repeat("x", 32<<10)}})
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("32 KiB of headers: status %d", status)
	}
	status, length, _ = send("HEAD", "/", "", authorization(basic))
	if status != 200 || length <= 0 {
		t.Errorf("HEAD: status %d, length %d", status, length)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if server.ReadHeaderTimeout != 5*time.Second || server.MaxHeaderBytes != 16<<10 || server.ReadTimeout <= 30*time.Second ||
		server.IdleTimeout == 0 || server.WriteTimeout <= server.ReadTimeout || server.HTTP2.MaxConcurrentStreams != 64 ||
		server.HTTP2.MaxReceiveBufferPerConnection != 64<<10 {
		t.Errorf("limits: %+v", server)
	}
}
