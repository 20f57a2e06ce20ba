package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"jeton/fsm"
)

// snapshotFile is the state of one node at one index, as the node wrote it.
type snapshotFile struct {
	node  string
	index uint64
	state []byte
}

var snapshotName = regexp.MustCompile(`^data/snapshots/\d+-(\d+)-\d+/state\.bin$`)

// snapshots returns what is on the disks, by index.
func (c *cluster) snapshots() (found []snapshotFile, err error) {
	for _, n := range c.nodes {
		for _, file := range n.disk.Files() {
			match := snapshotName.FindStringSubmatch(file.Path)
			if match == nil {
				continue
			}
			index, err := strconv.ParseUint(match[1], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file.Path, err)
			}
			state, err := n.disk.Read(file.Path)
			if err != nil {
				return nil, err
			}
			found = append(found, snapshotFile{n.name, index, state})
		}
	}
	slices.SortStableFunc(found, func(a, b snapshotFile) int { return cmp.Compare(a.index, b.index) })
	return found, nil
}

// snapshotEverywhere has every node write what it has in memory to its disk: it writes to the log until each thinks that a
// snapshot is due.
func (c *cluster) snapshotEverywhere(ctx context.Context) error {
	peers, err := c.peers(ctx, c.nodes[0])
	if err != nil {
		return err
	}
	rested := uint64(0)
	for _, p := range peers {
		rested = max(rested, p.Applied)
	}
	for began := time.Now(); time.Since(began) < snapshotPatience; {
		if len(c.withoutSnapshot(rested)) == 0 {
			return nil
		}
		if err := c.pad(ctx, c.nodes); err != nil {
			return err
		}
	}
	return fmt.Errorf("no snapshot within %v of %s", snapshotPatience, strings.Join(c.withoutSnapshot(rested), ", "))
}

const (
	snapshotPatience = 2 * time.Minute
	// paddingBytes is nearly as much as a role may have.
	paddingBytes = 15 << 10
	// paddingWrites are made by one call of pad: a quarter of a megabyte.
	paddingWrites = 16
)

// pad writes to the log what leaves the state as small as it is: the same role, again and again.
func (c *cluster) pad(ctx context.Context, through []*node) error {
	role := map[string]any{"cluster": []string{}, "metadata": map[string]string{"padding": strings.Repeat("x", paddingBytes)}}
	var writing errgroup.Group
	for i := range paddingWrites {
		target := through[i%len(through)].url()
		writing.Go(func() error {
			status, answer, err := c.admin.do(ctx, http.MethodPut, target+"/_security/role/padding", "", role)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("write to the log: %d %s", status, answer)
			}
			return err
		})
	}
	return writing.Wait()
}

// withoutSnapshot names the nodes that have no snapshot from after an index.
func (c *cluster) withoutSnapshot(index uint64) (names []string) {
	for name, newest := range c.newestSnapshots() {
		if newest <= index {
			names = append(names, name)
		}
	}
	return names
}

// newestSnapshots are the indexes at which they end, by node; zero: it has none.
func (c *cluster) newestSnapshots() map[string]uint64 {
	newest := map[string]uint64{}
	for _, n := range c.nodes {
		newest[n.name] = 0
		for _, file := range n.disk.Files() {
			if match := snapshotName.FindStringSubmatch(file.Path); match != nil {
				at, _ := strconv.ParseUint(match[1], 10, 64) // zero: not one that counts
				newest[n.name] = max(newest[n.name], at)
			}
		}
	}
	return newest
}

// sameDigests asks every node for the digest of its state, as it has it in memory. At the same index they must be the
// same. It returns the index.
func (c *cluster) sameDigests(ctx context.Context) (index uint64, err error) {
	for began := time.Now(); time.Since(began) < digestPatience; pause(ctx, replacePoll) {
		var states []savedState
		for _, n := range c.nodes {
			saved, err := c.save(ctx, n)
			if err != nil {
				return 0, err
			}
			states = append(states, saved)
		}
		if slices.ContainsFunc(states, func(s savedState) bool { return s.Index != states[0].Index }) {
			continue // something is still being written
		}
		for i, s := range states {
			if s.Digest != states[0].Digest {
				c.journal.violate("at entry %d the state of %s is %s and that of %s is %s", s.Index, c.nodes[0].name, states[0].Digest, c.nodes[i].name, s.Digest)
			}
		}
		return states[0].Index, nil
	}
	return 0, fmt.Errorf("the nodes do not come to rest at one index within %v", digestPatience)
}

// savedState is what `jeton snapshot save` says of what it has saved.
type savedState struct {
	Index  uint64 `json:"index"`
	Digest string `json:"digest"`
}

// save saves the state that a node has.
func (c *cluster) save(ctx context.Context, n *node) (s savedState, err error) {
	var out strings.Builder
	if err := c.jeton(ctx, &out, "snapshot", "save", n.file("state"), "--config", c.nodes[0].config(),
		"--node", n.name, "--stale", "--force", "--format", "json"); err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
		return s, fmt.Errorf("read what snapshot save says: %w", err)
	}
	return s, nil
}

const digestPatience = 20 * time.Second

// compareStates checks that the states of all nodes are one state: from the oldest snapshot on, the entries of the log
// must lead to every other one, byte for byte. It returns how many were compared.
func (c *cluster) compareStates(l *logs) (compared int, err error) {
	found, err := c.snapshots()
	if err != nil {
		return 0, err
	}
	replayed := fsm.New(func(uint64) {})
	at := uint64(0)
	for _, s := range found {
		if at == 0 || !l.replay(replayed, at, s.index) { // begin, or begin anew: the log does not reach so far
			if err := replayed.Restore(io.NopCloser(bytes.NewReader(s.state))); err != nil {
				c.journal.violate("the snapshot of %s at %d cannot be read: %v", s.node, s.index, err)
				return compared, nil
			}
			at = s.index
			continue
		}
		at = s.index
		state, err := persisted(replayed)
		if err != nil {
			return compared, err
		}
		compared++
		if !bytes.Equal(state, s.state) {
			c.journal.violate("the state of %s at entry %d (%d bytes) is not what the log says (%d bytes)", s.node, s.index, len(s.state), len(state))
		}
	}
	return compared, nil
}

// replay applies the entries from after one index to another; false if some are nowhere.
func (l *logs) replay(f *fsm.FSM, from, to uint64) bool {
	for index := from + 1; index <= to; index++ {
		entry, ok := l.entry(index)
		if !ok {
			return false
		}
		if entry.Type == raft.LogCommand {
			f.Apply(&entry)
		}
	}
	return true
}

// persisted is the state as a snapshot.
func persisted(f *fsm.FSM) ([]byte, error) {
	snapshot, err := f.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	defer snapshot.Release()
	sink := &memorySink{}
	if err := snapshot.Persist(sink); err != nil {
		return nil, fmt.Errorf("write a snapshot: %w", err)
	}
	return sink.Bytes(), nil
}

// memorySink is a raft.SnapshotSink in memory.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Close() error  { return nil }
func (*memorySink) Cancel() error { return nil }
