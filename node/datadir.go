package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"jeton/node/store"
)

// dataDir is the folder that holds everything one node must not lose:
//
//	node.json        who this node is (see identity)
//	node.lock        held while a process uses the folder
//	raft.db          the log, the term and the vote
//	raft.db.last     how often they were changed (see store.OpenLog)
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

// openDataDir locks the folder, creates it if need be, and reads the node's
// identity. Nobody else may look into the folder: raft writes its snapshots, with
// password verifiers in them, for everybody to read.
func openDataDir(path, clusterName string) (*dataDir, error) {
	if err := makeSynced(path); err != nil {
		return nil, fmt.Errorf("create path.data: %w", err)
	}
	if err := CheckOwner(path); err != nil {
		return nil, fmt.Errorf("path.data: %w", err)
	}
	if err := os.Chmod(path, dirMode); err != nil {
		return nil, fmt.Errorf("close path.data to others: %w", err)
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
	if err := d.loadIdentity(clusterName); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

// CheckOwner says whether a folder for path.data, or what a node has put there, belongs to
// another user than this process, which could then not close it to others, or not write
// it. One that does not exist yet can be made; root may use everybody's.
func CheckOwner(path string) error {
	return checkOwner(path, os.Geteuid())
}

func checkOwner(path string, own int) error {
	if own == 0 {
		return nil
	}
	for _, name := range []string{"", lockFile, identityFile, logFile} {
		file := filepath.Join(path, name)
		info, err := os.Lstat(file)
		if err != nil {
			continue // it does not exist, or opening it will tell more
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != own {
			return fmt.Errorf("%s belongs to user %s, and this process runs as user %s: run it as that user, or give it the folder (chown -R %d %s), or name another one",
				file, userName(int(stat.Uid)), userName(own), own, path)
		}
	}
	return nil
}

// userName is how a person knows a user.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if known, err := user.LookupId(id); err == nil {
		return known.Username
	}
	return id
}

// makeSynced makes a folder, and those above it, so that no loss of power takes them
// away again.
func makeSynced(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeSynced(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	return store.SyncDir(parent)
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

// loadIdentity reads node.json, if there is one; see adopt.
func (d *dataDir) loadIdentity(clusterName string) error {
	raw, err := os.ReadFile(d.file(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read identity of the node: %w", err)
	}
	if err := json.Unmarshal(raw, &d.identity); err != nil || d.identity.ServerID == "" {
		return fmt.Errorf("%s in path.data [%s] is damaged: restore it, %s", identityFile, d.path, joinAnew)
	}
	if d.identity.ClusterName != clusterName {
		return fmt.Errorf("path.data [%s] belongs to cluster [%s], but cluster.name is [%s]; if the setting is right, then %s is damaged: mend it, %s",
			d.path, d.identity.ClusterName, clusterName, identityFile, joinAnew)
	}
	return nil
}

// joinAnew is what else an operator can do about a folder that lost something.
const joinAnew = "or remove this member from the cluster (jeton operator raft remove-peer), empty the folder and let the node join as a new one"

// serverIDKey is where the log keeps the id of the member it belongs to.
var serverIDKey = []byte("jeton/server_id")

// adopt makes sure that the folder's log is the one that its identity has voted
// and appended with. A log that is gone could be filled by the others again, but not
// with its votes, and a member that votes twice can make two leaders.
func (d *dataDir) adopt(log *store.Log, clusterName, nodeName string) error {
	held, err := log.Get(serverIDKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read whose the log is: %w", err)
	}
	switch {
	case d.identity.ServerID == "":
		return d.makeIdentity(log, raft.ServerID(held), clusterName, nodeName)
	case len(held) == 0:
		return fmt.Errorf("path.data [%s] belongs to a member, but its log %s is missing or empty: restore the file, %s", d.path, logFile, joinAnew)
	case raft.ServerID(held) != d.identity.ServerID:
		return fmt.Errorf("in path.data [%s] the log %s belongs to member %s and %s to %s: files of two nodes were mixed; restore them, %s",
			d.path, logFile, held, identityFile, d.identity.ServerID, joinAnew)
	case d.identity.NodeName != nodeName:
		return fmt.Errorf("path.data [%s] belongs to node [%s], but node.name is [%s]: two nodes must not run on copies of one folder; if the node was renamed, or the file is damaged, change node_name in %s",
			d.path, d.identity.NodeName, nodeName, identityFile)
	}
	return nil
}

// makeIdentity gives a new folder its identity: first the log, then node.json. held
// is not empty if that was interrupted before.
func (d *dataDir) makeIdentity(log *store.Log, held raft.ServerID, clusterName, nodeName string) error {
	last, err := log.LastIndex()
	if err != nil {
		return fmt.Errorf("look into the log: %w", err)
	}
	snapshots, err := filepath.Glob(d.file(filepath.Join("snapshots", "*")))
	if err != nil {
		return fmt.Errorf("look for snapshots: %w", err)
	}
	if last > 0 || len(snapshots) > 0 {
		return fmt.Errorf("path.data [%s] holds a log but no %s: restore the file, %s", d.path, identityFile, joinAnew)
	}
	if held == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("draw a server id: %w", err)
		}
		held = raft.ServerID(id.String())
		if err := log.Set(serverIDKey, []byte(held)); err != nil {
			return fmt.Errorf("mark the log as this member's: %w", err)
		}
	}
	d.identity = identity{ServerID: held, NodeName: nodeName, ClusterName: clusterName}
	raw, err := json.MarshalIndent(d.identity, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity of the node: %w", err)
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
