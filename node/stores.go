package node

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/node/config"
	"jeton/node/store"
)

const (
	// commitTimeout is how long the news of a commit may wait for the next entry when
	// nobody asks for it; who does gets it at once (replica.heard). It also paces an
	// idle leader's messages: 5 ms cost a tenth of a core.
	commitTimeout = 50 * time.Millisecond
)

// stores is what raft keeps on disk.
type stores struct {
	log       *store.Log
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	joint     *joint
}

// openStores opens the log and the snapshots of a data folder, which reads all that is
// in them. fatal is called when a store cannot be relied on any more; the process must end then.
func openStores(dir *dataDir, c *config.Config, log hclog.Logger, fatal func(error)) (*stores, error) {
	opened, err := store.OpenLog(dir.file(logFile))
	if err != nil {
		return nil, fmt.Errorf("open the log of member [%s]: %w", dir.identity.ServerID, err)
	}
	s, err := assembleStores(opened, dir, c, log, fatal)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return s, nil
}

func assembleStores(opened *store.Log, dir *dataDir, c *config.Config, log hclog.Logger, fatal func(error)) (*stores, error) {
	if err := dir.adopt(opened, c.ClusterName, c.NodeName); err != nil {
		return nil, err
	}
	unreliable := func(err error) {
		fatal(fmt.Errorf("path.data [%s] of member [%s]: %w", dir.path, dir.identity.ServerID, err))
	}
	watched := cluster.NewWatched(opened, opened, unreliable)
	stable, err := cluster.NewVoteStore(watched)
	if err != nil {
		return nil, fmt.Errorf("open the vote: %w", err)
	}
	logs, err := raft.NewLogCache(c.Raft.LogCache, watched)
	if err != nil {
		return nil, fmt.Errorf("make the log cache: %w", err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("look into the log: %w", err)
	}
	snapshots, err := store.OpenSnapshots(dir.path, last, watched, log.Named("snapshot"), unreliable)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	deleted, err := cluster.Scrub(logs, snapshots)
	if err != nil {
		return nil, fmt.Errorf("check log against snapshots: %w", err)
	}
	if deleted {
		log.Warn("the log contradicted the newest snapshot and was deleted; what is missing comes from the leader")
	}
	s := &stores{log: opened, stable: stable}
	if s.joint, s.logs, s.snapshots, err = joinStores(logs, snapshots); err != nil {
		return nil, err
	}
	return s, nil
}

// hold tells whether there is anything: a log, or a snapshot.
func (s *stores) hold() (anything bool, err error) {
	last, err := s.logs.LastIndex()
	if err != nil {
		return false, fmt.Errorf("find the end of the log: %w", err)
	}
	snapshots, err := s.snapshots.List()
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	return last > 0 || len(snapshots) > 0, nil
}

func (s *stores) close() error {
	return s.log.Close()
}

// raftConfig is hashicorp/raft's configuration for this node.
func raftConfig(c *config.Config, id raft.ServerID, log hclog.Logger, notify chan<- bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = id
	rc.Logger = log.Named("raft")
	rc.NotifyCh = notify
	rc.HeartbeatTimeout = c.Raft.HeartbeatTimeout
	rc.ElectionTimeout = c.Raft.ElectionTimeout
	rc.LeaderLeaseTimeout = c.Raft.HeartbeatTimeout / 2
	rc.CommitTimeout = commitTimeout
	rc.TrailingLogs = uint64(c.Raft.TrailingLogs) //nolint:gosec // validated to be positive
	// Snapshots are taken by keepSnapshots, not every so many entries.
	rc.SnapshotThreshold = math.MaxUint64
	rc.SnapshotInterval = time.Hour
	rc.NoLegacyTelemetry = true
	return rc
}
