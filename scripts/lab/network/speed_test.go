package network

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestSwitchDoesNotAllocate(t *testing.T) {
	void, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = void.Close() }()
	p := newPath(&Host{device: void}, new(orphans), 1, 1)
	p.link.Store(&Link{Loss: 0.01, Duplicate: 0.01})
	packet := make([]byte, 1500)
	if got := testing.AllocsPerRun(1000, func() { p.send(packet) }); got != 0 {
		t.Errorf("%v allocations for a packet", got)
	}
}

// BenchmarkHTTP is requests of 64 clients with connections that stay, through the switch and, to compare, within one host.
func BenchmarkHTTP(b *testing.B) {
	for _, name := range []string{"switch", "loopback"} {
		b.Run(name, func(b *testing.B) {
			_, hosts := newNetwork(b, "one")
			url := "http://127.0.0.1"
			if name == "switch" {
				url = "http://" + hosts[0].Address().String()
			}
			url += serveHTTP(b, hosts[0], name == "loopback")
			transport := &http.Transport{MaxIdleConnsPerHost: 64}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: time.Minute}
			b.SetParallelism(16) // times the cores
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					answer, err := client.Post(url, "text/plain", strings.NewReader("a request of ordinary size"))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, answer.Body)
					_ = answer.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// BenchmarkBulk is one connection that sends as fast as it may.
func BenchmarkBulk(b *testing.B) {
	_, hosts := newNetwork(b, "one")
	conn := dial(b, echo(b, hosts[0]))
	block := random(1 << 20)
	b.SetBytes(int64(len(block)))
	go func() {
		for range b.N {
			_, _ = conn.Write(block)
		}
	}()
	got := make([]byte, len(block))
	for range b.N {
		if _, err := io.ReadFull(conn, got); err != nil {
			b.Fatal(err)
		}
	}
}

// serveHTTP serves in the host, or here, and returns colon and port.
func serveHTTP(b *testing.B, host *Host, here bool) string {
	b.Helper()
	var listener net.Listener
	listen := func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(b.Context(), "tcp4", ":0")
		return err
	}
	within := host.Do
	if here {
		within = func(act func() error) error { return act() }
	}
	if err := within(listen); err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close(); <-ended })
	return listener.Addr().String()[strings.LastIndex(listener.Addr().String(), ":"):]
}
