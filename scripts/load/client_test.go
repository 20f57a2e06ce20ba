package main

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

// answering returns a connection whose other end sends the given bytes.
func answering(t *testing.T, answer string) *conn {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	go func() {
		buffer := make([]byte, 4096)
		_, _ = far.Read(buffer)
		_, _ = far.Write([]byte(answer))
		_ = far.Close()
	}()
	return &conn{raw: near, reader: bufio.NewReader(near)}
}

func TestAnswerIsReadWhole(t *testing.T) {
	c := answering(t, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\ncontent-LENGTH: 5\r\n\r\nhello")
	status, body, err := c.do(newRequest("GET", "/", "localhost", "", nil))
	if err != nil || status != 401 || string(body) != "hello" {
		t.Errorf("got %d %q %v", status, body, err)
	}
}

// What the client does not understand must fail the run, never be counted.
func TestAnswersThatFailTheRun(t *testing.T) {
	tests := map[string]string{
		"nothing":           "",
		"other protocol":    "SSH-2.0-OpenSSH\r\n\r\n",
		"HTTP/1.0":          "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no number":         "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
		"chunked":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"negative length":   "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"absurd length":     "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"cut short":         "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"cut in headers":    "HTTP/1.1 200 OK\r\nContent-Le",
		"closes connection": "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
		"endless header":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10_000) + "\r\nContent-Length: 0\r\n\r\n",
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			if status, body, err := answering(t, answer).do([]byte("x")); err == nil {
				t.Errorf("accepted: %d %q", status, body)
			}
		})
	}
}

func TestRequestBytes(t *testing.T) {
	got := string(newRequest("POST", "/p", "localhost", basic("Aladdin", "open sesame"), []byte("{}")))
	want := "POST /p HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n" +
		"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	if got != want {
		t.Errorf("got %q", got)
	}
}
