package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"

	"github.com/hashicorp/raft"

	"jeton/node/store"
)

// entryID names an entry as the consensus algorithm does: two entries with the same index and term are the same, and so
// is everything before them.
type entryID struct{ index, term uint64 }

// logs are what the nodes have on disk, together.
type logs struct {
	digests map[entryID][sha256.Size]byte
	of      map[entryID]string           // the node where it was seen first
	terms   map[string]map[uint64]uint64 // by node: term by index
	entries map[entryID]raft.Log
}

// openLogs reads the logs of nodes that have ended and compares their entries. What differs is a violation.
func (c *cluster) openLogs() (*logs, error) {
	l := &logs{
		digests: map[entryID][sha256.Size]byte{}, of: map[entryID]string{},
		terms: map[string]map[uint64]uint64{}, entries: map[entryID]raft.Log{},
	}
	for _, n := range c.nodes {
		content, err := n.disk.Read("data/raft.db")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l.terms[n.name] = map[uint64]uint64{}
		_, err = store.Verify("the log of "+n.name, bytes.NewReader(content), int64(len(content)), func(entry *raft.Log) { c.compare(l, n.name, entry) })
		if err != nil {
			return nil, err
		}
	}
	c.sameEverywhere(l)
	return l, nil
}

// compare looks at an entry of a node.
func (c *cluster) compare(l *logs, name string, entry *raft.Log) {
	id := entryID{entry.Index, entry.Term}
	digest := sha256.Sum256(append([]byte{byte(entry.Type)}, entry.Data...))
	if seen, known := l.digests[id]; known && seen != digest {
		c.journal.violate("entry %d of term %d is not the same at %s and at %s", id.index, id.term, l.of[id], name)
	}
	l.digests[id], l.of[id], l.entries[id] = digest, name, *entry
	l.terms[name][entry.Index] = entry.Term
}

// sameEverywhere compares the logs at the same index. It holds after the cluster has come to rest.
func (c *cluster) sameEverywhere(l *logs) {
	one := c.nodes[0].name
	for _, n := range c.nodes[1:] {
		for index, term := range l.terms[n.name] {
			if other, both := l.terms[one][index]; both && other != term {
				c.journal.violate("entry %d is of term %d at %s and of term %d at %s, after everything has come to rest", index, other, one, term, n.name)
				return // and so are all that follow
			}
		}
	}
}

// entry finds an entry at any node.
func (l *logs) entry(index uint64) (entry raft.Log, ok bool) {
	for _, terms := range l.terms {
		if term, has := terms[index]; has {
			return l.entries[entryID{index, term}], true
		}
	}
	return entry, false
}
