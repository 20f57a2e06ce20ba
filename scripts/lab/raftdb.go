package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	boltstore "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// entryID names an entry as the consensus algorithm does: two entries with the same index and term are the same, and so
// is everything before them.
type entryID struct{ index, term uint64 }

// logs are what the nodes have on disk, together.
type logs struct {
	digests map[entryID][sha256.Size]byte
	of      map[entryID]string              // the node where it was seen first
	terms   map[string]map[uint64]uint64    // by node: term by index
	stores  map[string]*boltstore.BoltStore // by node
}

// openLogs copies the logs of nodes that have ended and compares their entries. What differs is a violation. The
// caller closes.
func (c *cluster) openLogs() (*logs, error) {
	l := &logs{
		digests: map[entryID][sha256.Size]byte{}, of: map[entryID]string{},
		terms: map[string]map[uint64]uint64{}, stores: map[string]*boltstore.BoltStore{},
	}
	for _, n := range c.nodes {
		// bbolt maps its file, and a process must not map what it serves itself.
		content, err := n.disk.Read("data/raft.db")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		path := filepath.Join(c.setup.out, "end", n.name, "raft.db")
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600))
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		store, err := boltstore.New(boltstore.Options{Path: path, BoltOptions: &bbolt.Options{ReadOnly: true}})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the log of %s: %w", n.name, err), l.close())
		}
		l.stores[n.name] = store
		if err := c.compare(l, n.name, store); err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	c.sameEverywhere(l)
	return l, nil
}

// compare looks at each entry of a node.
func (c *cluster) compare(l *logs, name string, store *boltstore.BoltStore) error {
	first, err := store.FirstIndex()
	if err != nil {
		return fmt.Errorf("read the log of %s: %w", name, err)
	}
	last, err := store.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log of %s: %w", name, err)
	}
	l.terms[name] = map[uint64]uint64{}
	for index := max(first, 1); index <= last; index++ {
		var entry raft.Log
		if err := store.GetLog(index, &entry); err != nil {
			c.journal.violate("the log of %s, entries %d to %d, has no entry %d: %v", name, first, last, index, err)
			continue
		}
		id := entryID{entry.Index, entry.Term}
		digest := sha256.Sum256(append([]byte{byte(entry.Type)}, entry.Data...))
		if seen, known := l.digests[id]; known && seen != digest {
			c.journal.violate("entry %d of term %d is not the same at %s and at %s", id.index, id.term, l.of[id], name)
		}
		l.digests[id], l.of[id] = digest, name
		l.terms[name][index] = entry.Term
	}
	return nil
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
	for name, store := range l.stores {
		if _, has := l.terms[name][index]; has && store.GetLog(index, &entry) == nil {
			return entry, true
		}
	}
	return entry, false
}

func (l *logs) close() error {
	var problems []error
	for _, store := range l.stores {
		problems = append(problems, store.Close())
	}
	return errors.Join(problems...)
}
