package node

import (
	"testing"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// A leader kept dialling the address that it had heard when the cluster was
// formed, although the member had moved and the configuration said so.
func TestAddressBookGivesWayToANewerConfiguration(t *testing.T) {
	configured := func(address raft.ServerAddress) []raft.Server {
		return []raft.Server{{ID: "other", Address: "other:9300"}, {ID: "mover", Address: address}}
	}
	book := newAddressBook()
	says := func(address raft.ServerAddress, servers []raft.Server) {
		book.note([]cluster.Status{{ServerID: "mover", TransportAddress: address}}, servers)
	}
	want := func(when string, address raft.ServerAddress) {
		t.Helper()
		if got := book.addressOf("mover"); got != address {
			t.Errorf("%s: %q, want %q", when, got, address)
		}
	}

	says("a:9300", nil) // before there was a cluster
	want("at the first start", "a:9300")
	book.follow(configured("a:9300"))
	want("in the configuration", "a:9300")

	says("b:9300", configured("a:9300")) // no leader was known
	book.follow(configured("a:9300"))
	want("moved, and the configuration does not know", "b:9300")
	book.follow(configured("c:9300"))
	want("moved again, and the configuration knows", "c:9300")
	book.follow(nil)
	want("no longer a member", "")
}
