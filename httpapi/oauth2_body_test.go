package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// flood is a body that goes on and comes as fast as it is read.
type flood struct{ read int }

func (f *flood) Read(p []byte) (int, error) {
	f.read += len(p)
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A client that shows who it is before its body is known before its body is read.
func TestOAuth2BodiesAreReadAfterTheHeader(t *testing.T) {
	h := handlerOf(t, oauth2Config(&oauth2World{}))
	for _, c := range []struct {
		credentials string
		status      int
		least, most int // bytes read
	}{
		{"Basic " + encode("elastic:wrong"), 401, 0, 0},
		{"Bearer tok", 401, 0, 0},
		{"Negotiate x", 401, 0, 0},
		{basic, 413, 64 << 10, 65 << 10},
		{"", 413, 16 << 10, 17 << 10},
		{"Basic Og==", 413, 16 << 10, 17 << 10},
	} {
		for _, length := range []int64{-1, 100, 1 << 20} {
			body := &flood{}
			r := httptest.NewRequest(http.MethodPost, "/oauth2/token", body)
			r.ContentLength = length
			r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
			if c.credentials != "" {
				r.Header.Set("Authorization", c.credentials)
			}
			least, most, status := c.least, c.most, c.status
			if length == 1<<20 { // what is announced is refused at once
				least, most, status = 0, 0, http.StatusRequestEntityTooLarge
			}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			if answer.Code != status || body.read < least || body.read > most {
				t.Errorf("%q, %d bytes announced: status %d, %d bytes read", c.credentials, length, answer.Code, body.read)
			}
		}
	}
}

// waiting is a body that says when it is read for the second time, and then waits.
type waiting struct {
	first  io.Reader
	asked  chan<- struct{}
	ending <-chan struct{}
}

func (b *waiting) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	b.asked <- struct{}{}
	<-b.ending
	return 0, io.EOF
}

// Strangers have a quarter of the room for bodies, and of that only what has arrived of
// theirs; those who are authenticated first always find room.
func TestStrangersBodiesHaveAPartOfTheRoom(t *testing.T) {
	const room, each = 16 << 10, 600 // two steps each: four strangers at a time
	c := oauth2Config(&oauth2World{})
	c.Limits = httpapi.Limits{BodyBytes: room, HeldBytes: room}
	h := handlerOf(t, c)
	send := func(body io.Reader, credentials string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/oauth2/token", body)
		r.ContentLength = 10_000 // what is announced is not reserved
		r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		if credentials != "" {
			r.Header.Set("Authorization", credentials)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer
	}
	form := grantClient + "&" + clientPost + "&x="
	form += strings.Repeat("x", each-len(form))
	for range 2 { // what was reserved is given back
		asked, ending := make(chan struct{}), make(chan struct{})
		var slow sync.WaitGroup
		for range 4 {
			slow.Go(func() {
				if answer := send(&waiting{first: strings.NewReader(form), asked: asked, ending: ending}, ""); answer.Code != http.StatusOK {
					t.Errorf("a slow stranger: status %d, %s", answer.Code, answer.Body)
				}
			})
		}
		for range 4 {
			<-asked
		}
		refused := send(strings.NewReader(form), "")
		want := oauth2Error("temporarily_unavailable", "rejected execution: too many request bodies are held: "+repeat)
		if refused.Code != http.StatusServiceUnavailable || refused.Header().Get("Retry-After") != "1" || refused.Body.String() != want {
			t.Errorf("one stranger too many: status %d, %s", refused.Code, refused.Body)
		}
		if answer := send(strings.NewReader(grantClient), basic); answer.Code != http.StatusOK {
			t.Errorf("a client that is known: status %d, %s", answer.Code, answer.Body)
		}
		close(ending)
		slow.Wait()
	}
}

// Whatever a stranger does with its body, its connection is held for five seconds; and
// a body that came in time leaves its sender the patience that everybody has.
func TestSlowStrangers(t *testing.T) {
	const head = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	length := func(n string) string { return head + "Content-Length: " + n + "\r\n\r\n" }
	type action func(client net.Conn, more *sync.WaitGroup)
	send := func(text string, then func(client net.Conn)) action {
		return func(client net.Conn, more *sync.WaitGroup) {
			more.Go(func() { _, _ = io.Copy(io.Discard, client) })
			_, _ = io.WriteString(client, text)
			more.Go(func() { then(client) })
		}
	}
	nothing := func(net.Conn) {}
	dribble := func(text string) func(client net.Conn) {
		return func(client net.Conn) {
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = io.WriteString(client, text)
			}
		}
	}
	const second = time.Second
	for _, c := range []struct {
		name         string
		act          action
		least, limit time.Duration
	}{
		{"sends no body", send(length("100"), nothing), 5 * second, 6 * second},
		{"sends its body slowly", send(length("100"), dribble("x")), 5 * second, 6 * second},
		{"sends chunks slowly", send(head+"Transfer-Encoding: chunked\r\n\r\n", dribble("1\r\nx\r\n")), 5 * second, 6 * second},
		{"sends too much", send(head+"Transfer-Encoding: chunked\r\n\r\n", dribble("400\r\n"+strings.Repeat("x", 1024)+"\r\n")), 5 * second, 6 * second},
		{"says nothing more", send(length("1")+"x", nothing), 3 * time.Minute, 3 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			if after := held(t, c.act); after < c.least || after > c.limit {
				t.Errorf("the connection was held for %v, want %v to %v", after, c.least, c.limit)
			}
		})
	}
}

// slowIssuer takes longer over a grant than a stranger may take over its body.
type slowIssuer struct{ *oauth2World }

func (s slowIssuer) Issue(ctx context.Context, c token.Caller, _ token.IssueRequest) (token.Pair, error) {
	select {
	case <-ctx.Done():
		return token.Pair{}, realm.ErrUnavailable
	case <-time.After(2 * 5 * time.Second):
		return token.Pair{Identity: c.Identity}, nil
	}
}

// The deadline of the body is not that of the request.
func TestStrangersAreServedPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := slowIssuer{&oauth2World{}}
		c := oauth2Config(w.oauth2World)
		c.Tokens = w
		server := httpapi.HTTPServer(handlerOf(t, c), 0, log.New(io.Discard, "", 0))
		listener, done := make(pipes, 1), make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		client, accepted := net.Pipe()
		listener <- accepted
		const body = grantClient + "&" + clientPost
		_, _ = fmt.Fprintf(client, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
			"Content-Length: %d\r\n\r\n%s", len(body), body)
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("status %d", answer.StatusCode)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = client.Close()
		close(listener)
		<-done
	})
}
