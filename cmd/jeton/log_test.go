package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"jeton/node/config"
)

func loggerFor(t *testing.T, ctx context.Context, level, format string) (hclog.Logger, *bytes.Buffer) { //nolint:revive // t comes first, as everywhere
	t.Helper()
	loaded := config.Default()
	loaded.Log = config.Log{Level: level, Format: format}
	var written bytes.Buffer
	logger, _, err := newLogger(ctx, loaded, &written)
	checkProblem(t, err, "")
	return logger, &written
}

func TestWhatIsExpectedIsNotAWarning(t *testing.T) {
	closed, refusal := errors.New("read tcp 127.0.0.1:1->127.0.0.1:2: use of closed network connection"), errors.New("dial tcp 127.0.0.1:1: connect: connection refused")
	var at, start, end moment
	start.starting, end.ending = true, true
	for _, test := range []struct {
		name, message string
		args          []any
		at            moment
		want          bool
	}{
		{"certificates were replaced", "failed to heartbeat to", []any{"peer", "a", "error", closed}, at, true},
		{"this node was removed and ends", "failed to accept connection", []any{"error", net.ErrClosed}, at, true},
		{"too many open files", "failed to accept connection", []any{"error", "too many open files"}, at, false},
		{"the peer ended", "failed to appendEntries to", []any{"error", io.EOF}, at, true},
		{"a peer is gone", "failed to heartbeat to", []any{"error", refusal}, at, false},
		{"a peer is gone while this node ends", "failed to heartbeat to", []any{"error", refusal}, end, true},
		{"who connects does not speak our language", "failed to decode incoming command", []any{"error", "unknown rpc type 71"}, at, false},
		{"the leader was lost", "heartbeat timeout reached, starting election", []any{"last-leader-addr", "a:1", "last-leader-id", "x"}, at, false},
		{"there was no leader", "heartbeat timeout reached, starting election", []any{"last-leader-addr", "", "last-leader-id", ""}, at, true},
		{"the log is shorter", "failed to get previous log", []any{"previous-index", 3, "error", "log not found"}, at, true},
		{"the log cannot be read", "failed to get previous log", []any{"error", "input/output error"}, at, false},
		{"all start together", "cannot reach a peer", []any{"error", refusal}, start, true},
		{"a name does not resolve", "cannot reach a peer", []any{"error", "no such host"}, start, false},
		{"later", "cannot reach a peer", []any{"error", refusal}, at, false},
		{"quorum is lost", "failed to contact quorum of nodes, stepping down", nil, at, false},
		{"a leader was deposed", "peer has newer term, stopping replication", []any{"peer", "b"}, at, false},
		{"a leader has handed over and ends", "peer has newer term, stopping replication", []any{"peer", "b"}, end, true},
		{"a message of its own", "failed to contact the moon", nil, end, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := expected(test.message, test.args, test.at); got != test.want {
				t.Errorf("expected = %v", got)
			}
		})
	}
}

func TestExpectedLinesAreDebugLines(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for level, want := range map[string][]string{"debug": {"[DEBUG]", "[DEBUG]", "[WARN]"}, "info": {"[WARN]"}} {
		logger, written := loggerFor(t, ctx, level, "text")
		raft := logger.Named("raft").With("node", "a")
		raft.Warn("no known peers, aborting election")
		raft.Error("failed to decode incoming command", "error", io.EOF)
		raft.Warn("the disk is slow")
		var got []string
		for line := range strings.Lines(written.String()) {
			got = append(got, strings.Fields(line)[1])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", level, diff)
		}
	}
	logger, written := loggerFor(t, ctx, "info", "text")
	logger.Warn("failed to contact", "server-id", "b")
	cancel()
	logger.Warn("failed to contact", "server-id", "c")
	if got := written.String(); !strings.Contains(got, "server-id=b") || strings.Contains(got, "server-id=c") {
		t.Errorf("before and after SIGTERM: %s", got)
	}
}

func TestJSONShowsValuesAsPeopleReadThem(t *testing.T) {
	logger, written := loggerFor(t, t.Context(), "info", "json")
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9200}
	logger.With("patience", 10*time.Second).Info("m", "delay", 5*time.Second, "http", address, "count", 3, "error", io.EOF)
	var got map[string]any
	if err := json.Unmarshal(written.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "@timestamp")
	want := map[string]any{
		"@level": "info", "@message": "m", "@module": "jeton",
		"patience": "10s", "delay": "5s", "http": "127.0.0.1:9200", "count": 3.0, "error": "EOF",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogFile(t *testing.T) {
	loaded := config.Default()
	loaded.LogsPath = filepath.Join(t.TempDir(), "logs")
	logger, closeLog, err := newLogger(t.Context(), loaded, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("hello")
	checkProblem(t, closeLog(), "")
	content, err := os.ReadFile(filepath.Join(loaded.LogsPath, "jeton.log"))
	if err != nil || !bytes.Contains(content, []byte("jeton: hello")) {
		t.Errorf("%s, %v", content, err)
	}
}
