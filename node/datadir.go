package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// dataDir is the folder that holds everything one node must not lose:
//
//	node.json        who this node is (see identity)
//	node.lock        held while a process uses the folder
//	raft.db          the log, the term and the vote
//	snapshots/       the newest snapshots of the state
//
// The identity belongs to the folder, not to the name or the address: a folder
// that was wiped is another member, because the old one's votes are forgotten.
type dataDir struct {
	path     string
	identity identity
	lock     *os.File
}

// identity is the content of node.json.
type identity struct {
	ServerID    raft.ServerID `json:"server_id"`
	NodeName    string        `json:"node_name"`
	ClusterName string        `json:"cluster_name"`
}

const (
	identityFile = "node.json"
	lockFile     = "node.lock"
	logFile      = "raft.db"
	dirMode      = 0o700
	fileMode     = 0o600
)

// openDataDir locks the folder, creates it if need be, and reads or makes the
// node's identity.
func openDataDir(path, clusterName, nodeName string) (*dataDir, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, fmt.Errorf("create path.data: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open lock of path.data: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("path.data [%s] is in use by another process (stop it, or give this node its own folder): %w", path, err)
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.loadIdentity(clusterName, nodeName); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) loadIdentity(clusterName, nodeName string) error {
	raw, err := os.ReadFile(d.file(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Stat(d.file(logFile)); err == nil && info.Size() > 0 {
			return fmt.Errorf("path.data [%s] holds a log but no %s: restore the file, or start with an empty folder to join as a new node", d.path, identityFile)
		}
		return d.makeIdentity(clusterName, nodeName)
	}
	if err != nil {
		return fmt.Errorf("read identity of the node: %w", err)
	}
	if err := json.Unmarshal(raw, &d.identity); err != nil || d.identity.ServerID == "" {
		return fmt.Errorf("%s in path.data [%s] is damaged: restore it, or start with an empty folder to join as a new node", identityFile, d.path)
	}
	if d.identity.ClusterName != clusterName {
		return fmt.Errorf("path.data [%s] belongs to cluster [%s], but cluster.name is [%s]", d.path, d.identity.ClusterName, clusterName)
	}
	d.identity.NodeName = nodeName
	return d.checkLog()
}

// checkLog refuses a folder whose log is gone. Others could replace its entries,
// but nobody its votes, and a member that votes twice can make two leaders.
func (d *dataDir) checkLog() error {
	info, err := os.Stat(d.file(logFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("path.data [%s] belongs to a member, but its log %s is missing: restore the file, or start with an empty folder to join as a new node", d.path, logFile)
	case err != nil:
		return fmt.Errorf("look for the log: %w", err)
	case info.Size() > 0:
		return nil
	}
	// Empty as it was made: no harm, unless it was in use.
	taken, err := filepath.Glob(d.file(filepath.Join("snapshots", "*")))
	if err != nil {
		return fmt.Errorf("look for snapshots: %w", err)
	}
	if len(taken) > 0 {
		return fmt.Errorf("path.data [%s] belongs to a member, but its log %s is empty: restore the file, or start with an empty folder to join as a new node", d.path, logFile)
	}
	return nil
}

// makeIdentity makes the log, empty, before the identity: from then on a log that
// is missing was lost.
func (d *dataDir) makeIdentity(clusterName, nodeName string) error {
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("draw a server id: %w", err)
	}
	d.identity = identity{ServerID: raft.ServerID(id.String()), NodeName: nodeName, ClusterName: clusterName}
	raw, err := json.MarshalIndent(d.identity, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity of the node: %w", err)
	}
	log, err := os.OpenFile(d.file(logFile), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return fmt.Errorf("create the log: %w", err)
	}
	if err := log.Close(); err != nil {
		return fmt.Errorf("create the log: %w", err)
	}
	if err := writeSynced(d.file(identityFile), append(raw, '\n')); err != nil {
		return fmt.Errorf("write identity of the node: %w", err)
	}
	return nil
}

// writeSynced replaces a file so that a crash leaves the old or the new content.
func writeSynced(path string, content []byte) error {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d *dataDir) close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("release path.data: %w", err)
	}
	return nil
}
