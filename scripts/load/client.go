package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

const maxBodyBytes = 1 << 20 // an answer of Jeton is below 2 KiB; more is a mistake

// conn is one keep-alive HTTP/1.1 connection over TLS 1.3. It sends requests
// that were built beforehand and reads no more of an answer than it must:
// net/http's client costs more CPU than the servers that are measured, and it
// would take that from them. Not safe for concurrent use.
type conn struct {
	raw    net.Conn
	reader *bufio.Reader
	body   []byte
}

func dial(ctx context.Context, address string, settings *tls.Config) (*conn, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: settings}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return &conn{raw: raw, reader: bufio.NewReaderSize(raw, 4096)}, nil
}

// do sends one request and returns the answer's status and body. The body is
// valid until the next call. After an error the connection is of no more use.
func (c *conn) do(request []byte) (int, []byte, error) {
	if _, err := c.raw.Write(request); err != nil {
		return 0, nil, fmt.Errorf("send request: %w", err)
	}
	status, err := c.readStatus()
	if err != nil {
		return 0, nil, err
	}
	length, err := c.readHeaders()
	if err != nil {
		return 0, nil, err
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	if _, err := io.ReadFull(c.reader, c.body); err != nil {
		return 0, nil, fmt.Errorf("read body: %w", err)
	}
	return status, c.body, nil
}

func (c *conn) readStatus() (int, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read status line: %w", err)
	}
	const prefix = "HTTP/1.1 "
	if len(line) < len(prefix)+3 || string(line[:len(prefix)]) != prefix {
		return 0, fmt.Errorf("not an HTTP/1.1 status line: %q", line)
	}
	status, err := strconv.Atoi(string(line[len(prefix) : len(prefix)+3]))
	if err != nil {
		return 0, fmt.Errorf("status line %q: %w", line, err)
	}
	return status, nil
}

// readHeaders reads up to the empty line and returns the body's length.
func (c *conn) readHeaders() (int, error) {
	length := -1
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("read headers: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || length < 0 || length > maxBodyBytes {
				return 0, fmt.Errorf("content-length %q", value)
			}
		case bytes.EqualFold(name, []byte("connection")) && bytes.Contains(bytes.ToLower(value), []byte("close")):
			return 0, errors.New("the server closes the connection")
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without content-length")
	}
	return length, nil
}

func (c *conn) close() { _ = c.raw.Close() }

// newRequest builds the bytes of one request, to be sent any number of times.
func newRequest(method, path, host, authorization string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	if authorization != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", authorization)
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

// dialAll opens n connections to the host of rawURL, at most 32 handshakes at a
// time so that opening them looks like no attack.
func dialAll(ctx context.Context, rawURL string, settings *tls.Config, n int) ([]*conn, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	conns := make([]*conn, n)
	err = inParallel(32, n, func(i int) error {
		var err error
		conns[i], err = dial(ctx, parsed.Host, settings)
		return err
	})
	if err != nil {
		closeAll(conns)
		return nil, err
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		if c != nil {
			c.close()
		}
	}
}
