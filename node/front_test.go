package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startFront serves over TLS until the test ends.
func startFront(t *testing.T, handler http.HandlerFunc) *front {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	certified.Close()
	listener, err := listenForClients(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(&http.Server{
		Handler: handler, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS13},
	}, listener)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := f.serve(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = f.server.Close()
		serving.Wait()
	})
	return f
}

func (f *front) dial(t *testing.T, protocols ...string) *tls.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return tls.Client(conn, trusting(protocols...))
}

func trusting(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols} // who serves is not the matter
}

// stubborn is a client that speaks HTTP/1.1 on one connection after the other and
// repeats nothing, unlike http.Client: a request without an answer is lost.
type stubborn struct {
	address string
	pause   func() // between two requests
}

const plainRequest = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"

// run asks until nobody listens any more, and counts the answers.
func (c *stubborn) run(answers *atomic.Int64) error {
	for {
		conn, err := net.DialTimeout("tcp", c.address, 10*time.Second)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil // it can ask elsewhere
		}
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		if err := c.use(tls.Client(conn, trusting()), answers); err != nil {
			return err
		}
	}
}

// use asks until an answer says that the connection ends, or it ended while it was idle for so
// long that it may: a busy machine makes clients slow, too.
func (c *stubborn) use(conn net.Conn, answers *atomic.Int64) error {
	defer conn.Close()
	asked := time.Now()
	for n, reader := 1, bufio.NewReader(conn); ; n++ {
		idle := time.Since(asked)
		asked = time.Now()
		ends, err := ask(conn, reader)
		if err != nil && idle < leastRetirement {
			return fmt.Errorf("request %d of a connection, %v after the one before: %w", n, idle, err)
		}
		answers.Add(1)
		if ends || err != nil {
			return nil
		}
		c.pause()
	}
}

func ask(conn io.Writer, reader *bufio.Reader) (ends bool, err error) {
	if _, err := io.WriteString(conn, plainRequest); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.Close, errors.Join(err, response.Body.Close())
}

// With shutdown.delay 0, a request was cut off that arrived on a connection kept alive
// while it was closed, and one of a client that had just connected.
func TestNoRequestIsCutOffByTheEnd(t *testing.T) {
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			f := startFront(t, func(http.ResponseWriter, *http.Request) { <-time.After(rand.N(2 * time.Millisecond)) })
			var clients sync.WaitGroup
			var answers atomic.Int64
			for i := range 48 {
				c := &stubborn{address: f.Addr().String(), pause: func() {
					if i%2 == 0 {
						<-time.After(rand.N(50 * time.Millisecond))
					}
				}}
				clients.Go(func() {
					if err := c.run(&answers); err != nil {
						t.Errorf("client %d: %v", i, err)
					}
				})
			}
			for answers.Load() < 1000 {
				<-time.After(time.Millisecond)
			}
			f.retire(time.Now().Add(leastRetirement))
			if err := f.end(t.Context(), time.Minute); err != nil {
				t.Error(err)
			}
			clients.Wait()
			if !f.empty() {
				t.Error("connections are open")
			}
		})
	}
}

// On a busy machine the time for the last to be accepted was over before anybody looked.
func TestWhoWasLetInIsAcceptedHoweverLate(t *testing.T) {
	listener, err := listenForClients(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(&http.Server{}, listener)
	for range 3 {
		client, err := net.Dial("tcp", f.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
	}
	if err := letNobodyIn(listener); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := listener.SetDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		conn, err := f.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if err := listener.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("then: %v", err)
	}
	if _, err := net.Dial("tcp", f.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("who comes then: %v", err)
	}
}

// busyConn is a connection on a machine where a short time is over before anybody looks.
type busyConn struct{ *net.TCPConn }

func (c busyConn) SetReadDeadline(at time.Time) error {
	err := c.TCPConn.SetReadDeadline(at)
	if left := time.Until(at); !at.IsZero() && left < time.Second {
		<-time.After(left + time.Millisecond)
	}
	return err
}

// On a busy machine the time for a last look at an idle connection was over before anybody
// looked, and a request that had arrived was cut off.
func TestWhatHasArrivedIsReadHoweverLate(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, sent := range []string{"", "a request"} {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		c := &clientConn{Conn: busyConn{accepted.(*net.TCPConn)}, front: &front{}, idle: true}
		if _, err := io.WriteString(client, sent); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		c.retire(time.Now())
		got := make([]byte, 100)
		n, err := c.Read(got)
		if sent == "" && !errors.Is(err, io.EOF) || sent != "" && (err != nil || string(got[:n]) != sent) {
			t.Errorf("sent %q, read %q, %v", sent, got[:n], err)
		}
	}
}

// HTTP/2 says which requests were not looked at (RFC 9113, 6.8), and clients repeat
// those, also ones that change something.
func TestNoHTTP2RequestIsCutOffByTheEnd(t *testing.T) {
	f := startFront(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	var clients sync.WaitGroup
	var answers atomic.Int64
	for range 16 {
		clients.Go(func() {
			for {
				response, err := client.Post("https://"+f.Addr().String(), "text/plain", strings.NewReader("a body"))
				if errors.Is(err, syscall.ECONNREFUSED) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil || response.ProtoMajor != 2 {
					t.Errorf("HTTP/%d, %v", response.ProtoMajor, err)
				}
				_ = response.Body.Close()
				answers.Add(1)
			}
		})
	}
	for answers.Load() < 1000 {
		<-time.After(time.Millisecond)
	}
	f.retire(time.Now().Add(100 * time.Millisecond))
	if err := f.end(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	clients.Wait()
}

func TestIdleConnectionsAreServedOnceMoreAndThenClosed(t *testing.T) {
	f := startFront(t, func(http.ResponseWriter, *http.Request) {})
	used, unused := f.dial(t), f.dial(t)
	readers := map[net.Conn]*bufio.Reader{used: bufio.NewReader(used), unused: bufio.NewReader(unused)}
	for conn, reader := range readers {
		if ends, err := ask(conn, reader); err != nil || ends {
			t.Fatalf("before: %v, connection ends: %t", err, ends)
		}
	}
	f.retire(time.Now().Add(100 * time.Millisecond))
	if ends, err := ask(used, readers[used]); err != nil || !ends {
		t.Errorf("after: %v, connection ends: %t", err, ends)
	}
	if err := f.end(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	for conn, reader := range readers {
		if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%v is not closed in order: %v", conn.LocalAddr(), err)
		}
	}
}

func TestRequestInProgressIsFinished(t *testing.T) {
	for _, c := range []struct {
		name  string
		drain time.Duration
		cut   bool
	}{
		{"in time", time.Minute, false},
		{"too slow", time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begun, finish := make(chan struct{}), make(chan struct{})
			f := startFront(t, func(http.ResponseWriter, *http.Request) {
				close(begun)
				<-finish
			})
			conn := f.dial(t)
			answered := make(chan error, 1)
			go func() {
				_, err := ask(conn, bufio.NewReader(conn))
				answered <- err
			}()
			<-begun
			f.retire(time.Now())
			if c.cut {
				defer close(finish)
			} else {
				time.AfterFunc(50*time.Millisecond, func() { close(finish) })
			}
			err := f.end(t.Context(), c.drain)
			if errors.Is(err, context.DeadlineExceeded) != c.cut {
				t.Errorf("the end: %v", err)
			}
			if err := <-answered; (err != nil) != c.cut {
				t.Errorf("the request: %v", err)
			}
		})
	}
}

// A request has arrived, and the time of the connection is up before anybody reads it.
func TestWhatArrivedInTimeIsRead(t *testing.T) {
	f := startFront(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peer, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := &clientConn{Conn: raw, front: f}
	defer conn.Close()

	conn.rest()
	conn.retire(time.Now().Add(-time.Second))
	if _, err := io.WriteString(peer, "GET"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 16)
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != "GET" {
		t.Errorf("read %q, %v", buffer[:n], err)
	}
	// The rest of it is not bound by the time of retirement.
	if _, err := io.WriteString(peer, " /"); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != " /" {
		t.Errorf("then read %q, %v", buffer[:n], err)
	}
	// Idle again, with an answer that did not say that it was the last one.
	conn.rest()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := conn.Read(buffer); !errors.Is(err, io.EOF) || time.Since(began) < leastRetirement {
		t.Errorf("closed after %v with %v", time.Since(began), err)
	}
}

// Go's server closes idle HTTP/2 connections in its Shutdown before they hear of it.
func TestIdleHTTP2ConnectionIsToldFirst(t *testing.T) {
	f := startFront(t, func(http.ResponseWriter, *http.Request) {})
	conn := f.dial(t, "h2")
	const settings, goAway = 4, 7
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	frames := make(chan byte, 16)
	go func() { // RFC 9113, 4.1
		defer close(frames)
		for header := make([]byte, 9); ; {
			if _, err := io.ReadFull(conn, header); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(header)>>8)); err != nil {
				return
			}
			frames <- header[3]
		}
	}()
	if first := <-frames; first != settings {
		t.Fatalf("the first frame is of type %d", first)
	}
	f.retire(time.Now())
	if err := f.end(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	var rest []byte
	for frame := range frames {
		rest = append(rest, frame)
	}
	if !slices.Contains(rest, goAway) {
		t.Errorf("no GOAWAY in frames of types %v", rest)
	}
}
