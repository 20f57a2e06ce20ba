package node

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	boltstore "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"jeton/cluster"
	"jeton/node/config"
)

const (
	// retainedSnapshots is one more than needed, should the newest be damaged.
	retainedSnapshots = 2
	// openTimeout bounds the wait for the lock on the log file.
	openTimeout = time.Second
	// commitTimeout is how long the news of a commit may wait for the next entry when
	// nobody asks for it; who does gets it at once (replica.heard). It also paces an
	// idle leader's messages: 5 ms cost a tenth of a core.
	commitTimeout = 50 * time.Millisecond
)

// stores is what raft keeps on disk.
type stores struct {
	bolt      *boltstore.BoltStore
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	joint     *joint
}

// openStores opens the log and the snapshots of a data folder. fatal is called
// when a store cannot be relied on any more; the process must end then.
func openStores(dir *dataDir, c *config.Config, log hclog.Logger, fatal func(error)) (*stores, error) {
	bolt, err := boltstore.New(boltstore.Options{
		Path: dir.file(logFile),
		BoltOptions: &bbolt.Options{
			Timeout: openTimeout,
			// The list of free pages is rebuilt at the start instead of being written
			// at every commit, which after a burst costs more than the commit itself.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open the log %s: %w", dir.file(logFile), err)
	}
	opened, err := assembleStores(bolt, dir, c, log, fatal)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return opened, nil
}

func assembleStores(bolt *boltstore.BoltStore, dir *dataDir, c *config.Config, log hclog.Logger, fatal func(error)) (*stores, error) {
	if err := dir.adopt(bolt, c.ClusterName, c.NodeName); err != nil {
		return nil, err
	}
	watched := cluster.NewWatched(bolt, bolt, func(err error) { fatal(fmt.Errorf("path.data [%s]: %w", dir.path, err)) })
	stable, err := cluster.NewVoteStore(watched)
	if err != nil {
		return nil, fmt.Errorf("open the vote: %w", err)
	}
	logs, err := raft.NewLogCache(c.Raft.LogCache, watched)
	if err != nil {
		return nil, fmt.Errorf("make the log cache: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir.path, retainedSnapshots, log.Named("snapshot"))
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
	opened := &stores{bolt: bolt, stable: stable}
	if opened.joint, opened.logs, opened.snapshots, err = joinStores(logs, snapshots); err != nil {
		return nil, err
	}
	return opened, nil
}

func (s *stores) close() error {
	if err := s.bolt.Close(); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
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
