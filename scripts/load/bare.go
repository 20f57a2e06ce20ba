package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"time"
)

// bareReady is what the bare server's process prints first.
type bareReady struct {
	URL string `json:"url"`
	CA  string `json:"ca"`
}

// bareServer is a running child process that serves the bare handler.
type bareServer struct {
	process *child
	target  target
	body    int
}

// startBare starts a process whose only work is to answer with a body of the
// given size: what net/http over TLS costs on this machine, and nothing else.
func startBare(ctx context.Context, stderr io.Writer, bodyBytes int) (*bareServer, error) {
	process, err := startChild(ctx, stderr, "bare-server", "-body", strconv.Itoa(bodyBytes))
	if err != nil {
		return nil, err
	}
	var ready bareReady
	if err := process.ask(nil, &ready); err != nil {
		process.close()
		return nil, err
	}
	settings, err := clientTLS([]byte(ready.CA))
	if err != nil {
		process.close()
		return nil, err
	}
	return &bareServer{process: process, target: target{url: ready.URL, tls: settings}, body: bodyBytes}, nil
}

func (s *bareServer) close() { s.process.close() }

// measure drives the bare handler with the very client that drives Jeton, and a
// request of the size of Jeton's.
func (s *bareServer) measure(ctx context.Context, l load) (figures, error) {
	conns, err := dialAll(ctx, s.target.url, s.target.tls, l.connections)
	if err != nil {
		return figures{}, err
	}
	defer closeAll(conns)
	likeToken := "Bearer jat_" + string(make48('A'))
	callers := s.target.repeat(conns, s.target.request(http.MethodGet, authenticatePath, likeToken, nil))
	result, err := drive(callers, l.warmup, l.length, s.process.pid())
	if err != nil {
		return result, fmt.Errorf("bare: %w", err)
	}
	return result, nil
}

func make48(b byte) []byte {
	text := make([]byte, 48)
	for i := range text {
		text[i] = b
	}
	return text
}

// runBareServer is the child: one handler, TLS, no timeouts, no router, no log.
func runBareServer(ctx context.Context, bodyBytes int, stdin io.Reader, stdout io.Writer) error {
	certificate, ca, err := selfSigned()
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           bareHandler(bodyBytes),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	ready := bareReady{URL: "https://" + listener.Addr().String(), CA: string(ca)}
	if err := json.NewEncoder(stdout).Encode(ready); err != nil {
		return fmt.Errorf("tell parent: %w", err)
	}
	_, _ = io.Copy(io.Discard, stdin) // the parent is gone
	_ = server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// bareHandler answers with JSON of a given size.
func bareHandler(bodyBytes int) http.Handler {
	body := []byte(`{"padding":""}`)
	for len(body) < bodyBytes {
		body = append(body[:len(body)-2], `x"}`...)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}

// selfSigned makes a P-256 certificate for loopback, the kind Jeton serves with, and its PEM form.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make certificate: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, block, nil
}

// clientTLS trusts one CA and speaks TLS 1.3 and HTTP/1.1 only.
func clientTLS(caPEM []byte) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("no certificate in the CA file")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, NextProtos: []string{"http/1.1"}}, nil
}
