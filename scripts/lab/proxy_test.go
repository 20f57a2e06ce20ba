package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// proxied is a carrier before somebody at an address, as it is without the laboratory's network.
func proxied(t *testing.T, to string, treat treatment) (c *carrier, address string, violations *atomic.Int64, stop func()) {
	t.Helper()
	violations = new(atomic.Int64)
	c = newCarrier("n1", 1)
	c.dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return net.Dial("tcp", to) }
	c.violate = func(format string, args ...any) {
		violations.Add(1)
		t.Logf(format, args...)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.carrying.Go(func() { c.accept(ctx, listener, treat) })
	stop = func() {
		cancel()
		_ = listener.Close()
		c.carrying.Wait()
		c.playAgain(t.Context())
	}
	t.Cleanup(stop)
	return c, listener.Addr().String(), violations, stop
}

// What is replayed of a connection with TLS reaches nobody; without TLS it does, and that is noticed.
func TestAReplayedConnection(t *testing.T) {
	for _, secure := range []bool{true, false} {
		t.Run(fmt.Sprintf("TLS %t", secure), func(t *testing.T) {
			var served atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				served.Add(1)
				_, _ = w.Write(make([]byte, 1000))
			}))
			server.Config.ErrorLog = nil
			scheme := "http://"
			if secure {
				scheme = "https://"
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			c, address, violations, stop := proxied(t, server.Listener.Addr().String(), replayed)
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: rootsOf(server), MinVersion: tls.VersionTLS13}}
			client := &http.Client{Transport: transport}
			for range 2 { // on one connection
				response, err := client.Get(scheme + address)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
			transport.CloseIdleConnections()
			stop()
			if c.count["connections"] != 1 || c.count["replays"] != 2 {
				t.Errorf("it happened: %v", c.count)
			}
			if got := served.Load(); secure && (got != 2 || violations.Load() > 0) || !secure && (got != 6 || violations.Load() == 0) {
				t.Errorf("%d requests were served, %d violations", got, violations.Load())
			}
		})
	}
}

func rootsOf(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	if certificate := server.Certificate(); certificate != nil {
		pool.AddCert(certificate)
	}
	return pool
}

// echoes serves connections that get back what they send.
func echoes(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	return listener.Addr().String()
}

// A limit is met in time by whoever says enough: then the connection ends, or hangs until the fault is undone.
func TestALimitedConnection(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs %t", hangs), func(t *testing.T) {
			c, address, _, stop := proxied(t, echoes(t), limited(hangs))
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				for block := make([]byte, 64<<10); ; {
					if _, err := conn.Write(block); err != nil {
						return
					}
				}
			}()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			if hangs {
				for c.counted("stopped") == 0 && pause(t.Context(), time.Millisecond) {
				}
				select {
				case <-ended:
					t.Error("it ended")
				default:
				}
				stop()
			}
			<-ended
			if c.counted("stopped") == 0 {
				t.Error("it ended for another reason")
			}
		})
	}
}

func (c *carrier) counted(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[what]
}
