package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

// logLine is what the laboratory reads of a line of a node's log.
type logLine struct {
	Level   string `json:"@level"`
	Message string `json:"@message"`
	Module  string `json:"@module"`
	Term    uint64 `json:"term"`
	Reason  string `json:"reason"`
	Error   string `json:"error"`
}

// logPoll is how often a log is looked at: what it says of the leader decides whom the next fault hits.
const logPoll = 10 * time.Millisecond

// tail reads a growing file line by line until ctx ends.
func tail(ctx context.Context, path string, line func([]byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	defer func() { _ = file.Close() }() // only read
	reader := bufio.NewReaderSize(file, 1<<16)
	var begun []byte // of a line that is not complete yet
	for {
		part, err := reader.ReadSlice('\n')
		begun = append(begun, part...)
		switch {
		case err == nil:
			line(begun)
			begun = begun[:0]
		case errors.Is(err, bufio.ErrBufferFull):
		case !errors.Is(err, io.EOF):
			return err //nolint:wrapcheck // names the file
		case !pause(ctx, logPoll):
			return nil
		}
	}
}

// parseLine reads a line of a log; ok is false for one that is not the logger's, such as a stack.
func parseLine(raw []byte) (line logLine, ok bool) {
	if len(raw) == 0 || raw[0] != '{' {
		return line, false
	}
	return line, json.Unmarshal(raw, &line) == nil
}

// pause waits and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
