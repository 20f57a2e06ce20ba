package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/store"
)

const (
	// peersFile, in the data folder, is how an operator says that most voters are lost
	// for good and this node is to go on alone. It has the form that Consul, Nomad and
	// Vault know. It is read once, at the start.
	peersFile = "raft/peers.json"
	// recoveryPatience is how long the lost members have to show that they are not.
	recoveryPatience = 5 * time.Second
	// recoveryPause is between two questions to them.
	recoveryPause = 250 * time.Millisecond
	// maxPeersFile bounds what is read of the file, in bytes.
	maxPeersFile = 64 << 10
)

// survivor is one entry of the peers file.
type survivor struct {
	ID       raft.ServerID      `json:"id"`
	Address  raft.ServerAddress `json:"address"`
	NonVoter bool               `json:"non_voter"`
	// KeepSessions keeps the sessions of this node's state, though some of them may
	// have ended without it.
	KeepSessions bool `json:"keep_sessions"`
}

// readPeers returns the entry of the file, which must be self's alone. The error wraps
// fs.ErrNotExist if there is no file. Every other says what to write.
func readPeers(path string, self survivor) (chosen survivor, err error) {
	file, err := os.Open(path)
	if err != nil {
		return survivor{}, err //nolint:wrapcheck // wrapped by the caller
	}
	defer func() { _ = file.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(file, maxPeersFile))
	if err != nil {
		return survivor{}, err //nolint:wrapcheck // wrapped by the caller
	}
	want := fmt.Sprintf(`; write [{"id": %q, "address": %q}]`, self.ID, self.Address)
	var peers []survivor
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&peers); err != nil {
		if misplaced, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text is for who writes Go
			err = fmt.Errorf("the %s at byte %d does not belong there", misplaced.Value, misplaced.Offset)
		}
		return survivor{}, fmt.Errorf("it is no list of members: %w%s", err, want)
	}
	if decoder.More() {
		return survivor{}, fmt.Errorf("something follows the list%s", want)
	}
	named := map[raft.ServerID]bool{}
	for _, peer := range peers {
		if named[peer.ID] {
			return survivor{}, fmt.Errorf("it names %s twice%s", peer.ID, want)
		}
		named[peer.ID] = true
		if peer.ID == self.ID {
			chosen = peer
		}
	}
	switch {
	case chosen.ID == "":
		return survivor{}, fmt.Errorf("it does not name this node, whose id is %s%s", self.ID, want)
	case len(peers) > 1:
		return survivor{}, fmt.Errorf("it names %d members, but each may have entries in its log that the others lack, and they would disagree for ever: "+
			"recover the one that is furthest, alone, and let the others join it with an empty path.data%s", len(peers), want)
	case chosen.NonVoter:
		return survivor{}, fmt.Errorf("it gives this node no vote%s", want)
	case chosen.Address != self.Address:
		return survivor{}, fmt.Errorf("it says that this node is at %s, but its settings say %s%s", chosen.Address, self.Address, want)
	}
	return chosen, nil
}

// recoverQuorum makes this node the only member of its cluster, if the operator has said
// so. It comes before raft is started. It tells whether the file has been followed, and must
// be put aside.
//
// From before it asks others until raft runs, this node answers that it is being recovered.
// So of two survivors that reach each other one at most goes on: each serves before it asks,
// so who serves later asks while the other serves, and refuses.
//
// Whenever the process ends, the data are those of before or the recovered ones. Raft makes
// the snapshot count in one step, and what counts has everything: the state, its
// lineage, the configuration. The log is dropped because it ends before it (further), here
// or when the stores are opened again. Only the file may still be there; then this node is the
// only member already.
func (n *Node) recoverQuorum(ctx context.Context, s *stores, rc *raft.Config, transport raft.Transport) (followed bool, err error) {
	path := n.dir.file(peersFile)
	self := survivor{ID: n.replica.id, Address: raft.ServerAddress(n.config.Transport.PublishAddress())}
	chosen, err := readPeers(path, self)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("recover by %s: %w", path, err)
	}
	n.doorman.recovering.Store(true)
	members, err := lastConfiguration(s.logs, s.snapshots)
	if err != nil {
		return false, fmt.Errorf("recover by %s: %w", path, err)
	}
	if len(members.Servers) == 1 && members.Servers[0].ID == chosen.ID && members.Servers[0].Suffrage == raft.Voter {
		n.log.Warn("this node is the only member of its cluster already: there is nothing to recover", "file", path)
		return true, nil
	}
	if err := n.mayRecover(ctx, members, newestSummary(s.snapshots)); err != nil {
		return false, fmt.Errorf("recover by %s: %w", path, err)
	}
	n.log.Warn("recovering the cluster from this node alone, as the operator has asked. Two things cannot be helped: " +
		"what was acknowledged and is not in this node's log is lost, and what is in its log and was never acknowledged happens now")
	state := &recovered{FSM: fsm.New(nil), levels: n.replica.levels, keepSessions: chosen.KeepSessions}
	configuration := raft.Configuration{Servers: []raft.Server{{ID: chosen.ID, Address: chosen.Address}}}
	if err := raft.RecoverCluster(rc, state, s.logs, s.stable, further{s.snapshots}, transport, configuration); err != nil {
		return false, fmt.Errorf("recover by %s: %w", path, err)
	}
	n.log.Warn("the cluster was recovered, and this node is its only member. The lost members must not start again with the data they had: "+
		"empty their path.data, and they join as new ones",
		"applied", state.Applied(), "sessions_kept", chosen.KeepSessions, "former_members", len(members.Servers))
	return true, nil
}

// putAside renames the file, so that it is not followed twice.
func (n *Node) putAside() error {
	path := n.dir.file(peersFile)
	used := fmt.Sprintf("%s.epoch-%d", path, n.replica.state.Summary().Epoch)
	if err := renameSynced(path, used); err != nil {
		return fmt.Errorf("the cluster was recovered, but %s must not be read again: %w", path, err)
	}
	n.log.Info("what the operator has asked for is done", "file", used)
	return nil
}

// further is a store whose snapshots end one entry after what they hold. So the whole log
// is from before such a snapshot, and is dropped as soon as that counts (joint.note): who
// joins later gets the snapshot. Entries of before would give them the state of before.
type further struct{ raft.SnapshotStore }

// Create implements raft.SnapshotStore.
func (s further) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	return s.SnapshotStore.Create(version, index+1, term, configuration, configurationIndex, transport) //nolint:wrapcheck // raft sees the store's own error
}

// recovered is the state that a recovery goes on from.
type recovered struct {
	*fsm.FSM
	levels       *levels
	keepSessions bool
}

// Snapshot implements raft.FSM. It is called once, when the whole log is applied.
func (r *recovered) Snapshot() (raft.FSMSnapshot, error) {
	if level := r.Level(); level > r.levels.highest {
		return nil, r.levels.beyond(level)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	r.BeginEpoch(id, r.keepSessions)
	return r.FSM.Snapshot()
}

// lastConfiguration is the newest that these stores hold, committed or not.
func lastConfiguration(logs raft.LogStore, snapshots raft.SnapshotStore) (members raft.Configuration, err error) {
	metas, err := snapshots.List() // newest first
	if err != nil {
		return members, fmt.Errorf("list snapshots: %w", err)
	}
	if len(metas) > 0 {
		members = metas[0].Configuration
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return members, fmt.Errorf("find the beginning of the log: %w", err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return members, fmt.Errorf("find the end of the log: %w", err)
	}
	for index := first; index > 0 && index <= last; index++ {
		var entry raft.Log
		if err := logs.GetLog(index, &entry); err != nil {
			return members, fmt.Errorf("read log entry %d: %w", index, err)
		}
		if entry.Type == raft.LogConfiguration {
			members = raft.DecodeConfiguration(entry.Data)
		}
	}
	if len(members.Servers) == 0 {
		return members, errors.New("this node's data holds no cluster, so there is nothing to recover; remove the file")
	}
	return members, nil
}

// newestSummary is of the newest snapshot that can be read, zero if there is none. Of one that
// cannot, raft tells more.
func newestSummary(snapshots raft.SnapshotStore) fsm.Summary {
	metas, _ := snapshots.List() // newest first
	for _, meta := range metas {
		if _, source, err := snapshots.Open(meta.ID); err == nil {
			state := fsm.New(nil)
			err := state.Restore(source)
			if err = errors.Join(err, source.Close()); err == nil {
				return state.Summary()
			}
		}
	}
	return fsm.Summary{}
}

// mayRecover refuses to split a cluster that is not lost. Own is what this node's data
// descend from.
func (n *Node) mayRecover(ctx context.Context, members raft.Configuration, own fsm.Summary) error {
	patience, cancel := context.WithTimeout(ctx, n.patience)
	defer cancel()
	votes := map[raft.ServerID]bool{}
	for _, member := range members.Servers {
		if member.Suffrage == raft.Voter {
			votes[member.ID] = true
		}
	}
	// One that starts at this moment too refuses at first.
	for {
		answers, _ := n.askStatus(patience, n.others(members.Servers))
		if err := goneOn(answers, own); err != nil {
			return err
		}
		if err := n.notLost(answers, votes); err != nil {
			return err
		}
		pause(patience, recoveryPause)
		if patience.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // nil, if nobody has come in all that time
		}
	}
}

// goneOn is an error if the cluster was recovered already, from another node.
func goneOn(answers []cluster.Status, own fsm.Summary) error {
	for _, answer := range answers {
		part := "belongs to"
		if answer.LeaderID == answer.ServerID {
			part = "leads"
		}
		switch kinship(answer, own) {
		case cousin:
			return fmt.Errorf("%s at %s %s a cluster that was recovered apart from this node, and there would be two for longer: decide which of them goes on, "+
				"stop the other one, and do not start that before its path.data is empty", answer.Name, answer.TransportAddress, part)
		case stranger, sibling, ancestor:
			continue
		case descendant:
		}
		return fmt.Errorf("%s at %s %s a cluster that was recovered without this node: this node cannot recover it. "+
			"Remove the file, empty path.data and start it, and it joins as a new member", answer.Name, answer.TransportAddress, part)
	}
	return nil
}

// notLost is why these answers forbid to go on alone; nil if they do not.
func (n *Node) notLost(answers []cluster.Status, votes map[raft.ServerID]bool) error {
	seen := map[raft.ServerID]bool{n.replica.id: true}
	var other cluster.Status // a voter that lives
	alive := 0
	if votes[n.replica.id] {
		alive++
	}
	for _, answer := range answers {
		if seen[answer.ServerID] {
			continue
		}
		seen[answer.ServerID] = true
		switch {
		case answer.LeaderID != "":
			return fmt.Errorf("%s at %s answers and knows a leader, so the cluster is not lost; remove the file and start this node as it is", answer.Name, answer.TransportAddress)
		case answer.State == stateRecovering:
			return fmt.Errorf("%s at %s is about to go on alone, too, and there would be two clusters: decide which of them goes on, "+
				"remove this file on the other one, and do not start that before its path.data is empty", answer.Name, answer.TransportAddress)
		case votes[answer.ServerID]:
			other = answer
			alive++
		}
	}
	switch {
	case alive > len(votes)/2:
		return fmt.Errorf("%d of %d voters are alive, this one included, and can elect a leader; remove the file and start this node as it is", alive, len(votes))
	case other.ServerID != "":
		return fmt.Errorf("%s at %s has a vote and is alive, so not all others are lost: decide which of the two goes on, "+
			"stop the other one, and do not start that before its path.data is empty", other.Name, other.TransportAddress)
	}
	return nil
}

// renameSynced renames a file so that a crash leaves one name or the other.
func renameSynced(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	return store.SyncDir(filepath.Dir(to))
}
