package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// devState is what a dev cluster remembers across its own restarts, in
// DIR/dev.json (mode 0600: it holds the password of elastic).
type devState struct {
	ClusterName string    `json:"cluster_name"`
	Password    string    `json:"password"`
	Nodes       []devNode `json:"nodes"`
	// Formed is set when all nodes were ready for the first time. What a first
	// start left behind before that is of no use to anybody.
	Formed bool `json:"formed"`
	// Settings is the file that --settings named at the last start, absolute.
	Settings string `json:"settings,omitempty"`
	// Socket is where the running dev takes commands; meaningless when none runs.
	Socket string `json:"socket,omitempty"`
}

// loadDevState returns nil when the folder holds no dev cluster yet. A folder
// that holds something else is refused: dev would mix its files with others'.
func loadDevState(dir devDir) (*devState, error) {
	content, err := os.ReadFile(dir.state())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, mustHoldNothingElse(dir)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	var state devState
	if err := json.Unmarshal(content, &state); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", dir.state(), err)
	}
	if len(state.Nodes) == 0 || len(state.Nodes) > maxDevNodes {
		return nil, fmt.Errorf("%s is damaged: %d nodes", dir.state(), len(state.Nodes))
	}
	return &state, nil
}

func mustHoldNothingElse(dir devDir) error {
	entries, err := os.ReadDir(string(dir))
	if err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	for _, entry := range entries {
		if name := entry.Name(); name != filepath.Base(dir.lock()) {
			return fmt.Errorf("%s holds %s but no dev cluster: give --data a new or an empty folder", dir, name)
		}
	}
	return nil
}

func (s *devState) save(dir devDir) error { return writeJSON(dir.state(), s) }

// nodeEntry is one element of DIR/nodes.json, in the order of JETON_URLS.
type nodeEntry struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	PID     int    `json:"pid"`     // of the newest process; it may have died since
	Data    string `json:"data"`    // the node's path.data
	Log     string `json:"log"`     // everything the process writes, appended across restarts
	Restart string `json:"restart"` // a shell command: starts the node again, returns when it is ready
}

// devEnv returns the content of DIR/dev.env: shell assignments for scripts.
func devEnv(dir devDir, certificateAuthority, password string, entries []nodeEntry) string {
	urls, pids := make([]string, len(entries)), make([]string, len(entries))
	for i, entry := range entries {
		urls[i], pids[i] = entry.URL, strconv.Itoa(entry.PID)
	}
	var b strings.Builder
	for _, assignment := range [][2]string{
		{"JETON_URLS", strings.Join(urls, ",")},
		{"JETON_CACERT", certificateAuthority},
		{"JETON_USER", elasticUser},
		{"JETON_PASSWORD", password},
		{"JETON_PIDS", strings.Join(pids, ",")},
		{"JETON_NODES", dir.nodes()},
	} {
		fmt.Fprintf(&b, "%s=%s\n", assignment[0], shellQuote(assignment[1]))
	}
	return b.String()
}

// writeFileAtomic writes a file of mode 0600 that readers see whole or not at all.
func writeFileAtomic(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func writeJSON(path string, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writeFileAtomic(path, append(content, '\n'))
}

// newPassword draws a password that needs no quoting anywhere: 26 letters and
// digits, 130 bits.
func newPassword() string { return strings.ToLower(rand.Text()) }

// lockDir takes the folder for this process until it ends, however it ends.
func lockDir(dir devDir) (*os.File, error) {
	f, err := os.OpenFile(dir.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // only the lock matters
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another jeton dev runs on %s: end it first, or give another --data", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir.lock(), err)
	}
	return f, nil
}

// discard removes what dev made in the folder, and the folder if nothing of
// anybody else's is left in it.
func (d devDir) discard() error {
	errs := []error{d.clear(), os.RemoveAll(d.lock())}
	if err := os.Remove(string(d)); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// clear removes what dev made in the folder, but for the lock.
func (d devDir) clear() error {
	var errs []error
	for i := range maxDevNodes {
		errs = append(errs, os.RemoveAll(d.node(nodeName(i))))
	}
	for _, path := range []string{d.certs().Path, d.password(), d.nodes(), d.env(), d.socket(), d.state()} {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// removeFiles removes files that may not exist.
func removeFiles(paths ...string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
