package node

import (
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// maxNames bounds a nameBook: a node meets a new member for each folder that was emptied.
const maxNames = 1024

// maxName bounds what is kept of a name, in bytes. Everybody repeats it: a longer one would
// make everybody's Status too large to be sent.
const maxName = 255

// nameBook knows what members are called, also when they do not answer any more: a
// configuration has their ids and addresses alone. It is for people, nothing is decided
// by it. The zero value knows nobody. Safe for concurrent use.
type nameBook struct {
	mu   sync.Mutex
	byID map[raft.ServerID]string
}

// heard takes note of what peers say of themselves, and else of each other.
func (b *nameBook) heard(peers []cluster.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byID == nil {
		b.byID = map[raft.ServerID]string{}
	}
	for _, peer := range peers {
		for _, member := range peer.Members {
			if b.byID[member.ID] == "" {
				b.writeLocked(member.ID, member.Name)
			}
		}
	}
	for _, peer := range peers {
		b.writeLocked(peer.ServerID, peer.Name)
	}
}

func (b *nameBook) writeLocked(id raft.ServerID, name string) {
	if _, known := b.byID[id]; name != "" && (known || len(b.byID) < maxNames) {
		b.byID[id] = strings.ToValidUTF8(name[:min(len(name), maxName)], "")
	}
}

// of returns the name of a member, empty if it was never heard.
func (b *nameBook) of(id raft.ServerID) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byID[id]
}
