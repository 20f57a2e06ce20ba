package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// maxSocketPath is the shortest limit among the systems we run on (macOS:
	// 104 bytes with the terminating zero; Linux: 108).
	maxSocketPath = 103
	// maxControlBytes bounds a request or an answer on the control socket.
	maxControlBytes    = 64 << 10
	controlReadTimeout = 5 * time.Second
)

// controlRequest is what `jeton dev restart` asks the running dev: one line of
// JSON, answered by one line.
type controlRequest struct {
	Restart string `json:"restart"` // name of a node
}

type controlReply struct {
	PID   int    `json:"pid,omitempty"`
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}

// listenControl opens the control socket for this user alone. It lies in the
// cluster's folder, or, when that path is too long for a socket, in a new
// folder under one of the short ones given. remove removes what was made.
func listenControl(ctx context.Context, dir devDir, short ...string) (l net.Listener, remove func() error, err error) {
	path := dir.socket()
	remove = func() error { return removeFiles(path) }
	for _, base := range short {
		if len(path) <= maxSocketPath {
			break
		}
		folder, err := os.MkdirTemp(base, "jeton-")
		if err != nil {
			return nil, nil, err //nolint:wrapcheck // names the folder
		}
		path = filepath.Join(folder, "dev.sock")
		remove = func() error { return os.RemoveAll(folder) }
	}
	if err := removeFiles(path); err != nil { // of a dev that was killed: we hold the lock
		return nil, nil, err
	}
	if l, err = new(net.ListenConfig).Listen(ctx, "unix", path); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the control socket: %w", err), remove())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, nil, errors.Join(err, l.Close(), remove())
	}
	return l, remove, nil
}

// serveControl answers requests until the listener is closed, and returns when
// the last answer is written.
func serveControl(ctx context.Context, l net.Listener, restart func(ctx context.Context, name string) (pid int, ready bool, err error)) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed
		}
		conns.Go(func() {
			defer func() { _ = conn.Close() }() // the answer is written or cannot be
			_ = conn.SetReadDeadline(time.Now().Add(controlReadTimeout))
			var request controlRequest
			var reply controlReply
			if err := json.NewDecoder(io.LimitReader(conn, maxControlBytes)).Decode(&request); err != nil {
				return // nobody who speaks our language
			}
			if reply.PID, reply.Ready, err = restart(ctx, request.Restart); err != nil {
				reply.Error = err.Error()
			}
			_ = json.NewEncoder(conn).Encode(reply) // a caller who left does not wait for it
		})
	}
}

// askControl sends a request to the dev that runs on the folder and returns its answer.
func askControl(ctx context.Context, dir devDir, request controlRequest) (controlReply, error) {
	if _, err := os.Stat(dir.state()); errors.Is(err, fs.ErrNotExist) {
		return controlReply{}, fmt.Errorf("%s holds no dev cluster: --data is the folder of one that runs, which jeton dev prints at its start", dir)
	}
	state, err := loadDevState(dir)
	if err != nil {
		return controlReply{}, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", state.Socket)
	if err != nil {
		return controlReply{}, fmt.Errorf("no jeton dev runs on %s; start it with: %s",
			dir, comeback(dir, state))
	}
	defer func() { _ = conn.Close() }()                                              // one question, one answer
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ctrl-C
	defer stop()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return controlReply{}, fmt.Errorf("ask the running jeton dev: %w", err)
	}
	var reply controlReply
	if err := json.NewDecoder(io.LimitReader(conn, maxControlBytes)).Decode(&reply); err != nil {
		return controlReply{}, fmt.Errorf("the running jeton dev ended without an answer: %w", err)
	}
	if reply.Error != "" {
		return controlReply{}, errors.New(reply.Error)
	}
	return reply, nil
}
