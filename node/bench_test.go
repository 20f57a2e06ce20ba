package node

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"jeton/node/certs"
	"jeton/node/config"
	"jeton/node/realm"
	"jeton/node/token"
)

// BenchmarkAuthenticateOnFollower is an answer of a follower of three nodes that talk
// over TLS, without HTTP, for one caller and for many. By lease it asks nobody.
func BenchmarkAuthenticateOnFollower(b *testing.B) {
	for _, mode := range []string{config.ReadQuorum, config.ReadLease} {
		b.Run(mode, func(b *testing.B) {
			nodes := benchNodes(b, mode)
			leader, follower := nodes[0], nodes[1]
			for _, n := range nodes[1:] {
				if n.replica.leads() {
					leader, follower = n, nodes[0]
				}
			}
			login := token.Credentials{Scheme: token.SchemeBasic, Username: "elastic", Password: realm.NewSecret(elasticPassword)}
			caller, err := leader.tokens.Authenticate(b.Context(), login)
			if err != nil {
				b.Fatal(err)
			}
			pair, err := leader.tokens.Issue(b.Context(), caller, token.IssueRequest{
				GrantType: token.GrantPassword, Username: login.Username, Password: login.Password,
			})
			if err != nil {
				b.Fatal(err)
			}
			bearer := token.Credentials{Scheme: token.SchemeBearer, Bearer: pair.AccessToken}
			recognize := func() {
				if _, err := follower.tokens.Recognize(b.Context(), bearer); err != nil {
					b.Fatal(err)
				}
			}
			recognize() // from now on it wants a lease
			b.Run("alone", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					recognize()
				}
			})
			b.Run("together", func(b *testing.B) {
				b.SetParallelism(64)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := follower.tokens.Recognize(b.Context(), bearer); err != nil {
							b.Error(err)
						}
					}
				})
			})
		})
	}
}

// benchNodes opens three nodes on loopback and waits until all are ready.
func benchNodes(b *testing.B, mode string) (nodes []*Node) {
	b.Helper()
	sites := make([]*site, 3)
	var names, seeds []string
	for i := range sites {
		sites[i] = newSite(b)
		c := sites[i].config
		c.NodeName = fmt.Sprintf("n%d", i+1)
		names, seeds = append(names, c.NodeName), append(seeds, c.Transport.PublishAddress())
	}
	folder := sites[0].folder
	for i, s := range sites {
		c := s.config
		err := folder.IssueNode(certs.NodeRequest{
			Identity: certs.Identity{Cluster: "jeton", Node: c.NodeName}, Hosts: []string{"127.0.0.1"}, Lifetime: time.Hour,
		})
		if err != nil {
			b.Fatal(err)
		}
		c.Transport.TLS.Files, c.HTTP.TLS.Files = folder.NodeTransport(c.NodeName), folder.NodeHTTP(c.NodeName)
		c.Token.KeyPath = folder.ClusterKey()
		c.DataPath = filepath.Join(b.TempDir(), c.NodeName)
		c.Discovery.SingleNode = false
		c.Discovery.SeedHosts, c.Discovery.InitialMasterNodes = seeds, names
		c.Raft.HeartbeatTimeout, c.Raft.ElectionTimeout = time.Second, time.Second
		c.Read.Mode = mode
		n, err := sites[i].open()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.mustClose(n) })
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		awaitReadiness(b, n)
	}
	return nodes
}
