package cluster_test

import (
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// BenchmarkConfirm is a round trip over loopback TLS, both ends in this process.
func BenchmarkConfirm(b *testing.B) {
	client, address := pair(b, &fakeHandler{})
	ctx := b.Context()
	ask := func() {
		if _, err := client.Confirm(ctx, address); err != nil {
			b.Error(err)
		}
	}
	b.Run("sequential", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ask()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				ask()
			}
		})
	})
}

// BenchmarkStartConfirm asks two peers and waits for the first answer, as a node in
// a cluster of three does.
func BenchmarkStartConfirm(b *testing.B) {
	ca := newAuthority(b)
	client := startClient(b, ca.node(b, "asking"), cluster.ClientConfig{})
	var addresses []raft.ServerAddress
	for _, name := range []string{"one", "two"} {
		_, address := startService(b, ca.node(b, name), cluster.ServiceConfig{})
		addresses = append(addresses, address)
	}
	b.ReportAllocs()
	for b.Loop() {
		var once sync.Once
		first := make(chan struct{})
		for _, address := range addresses {
			client.StartConfirm(address, func(_ cluster.Confirmation, err error) {
				if err == nil { // the last round's second answer may meet Close
					once.Do(func() { close(first) })
				}
			})
		}
		<-first
	}
}

// BenchmarkPropose sends a batch of 64 commands of 200 bytes.
func BenchmarkPropose(b *testing.B) {
	client, address := pair(b, &fakeHandler{})
	commands := make([][]byte, 64)
	for i := range commands {
		commands[i] = make([]byte, 200)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := client.Propose(ctx, address, commands); err != nil {
			b.Fatal(err)
		}
	}
}
