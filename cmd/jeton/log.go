package main

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"jeton/node/config"
)

// newLogger logs to stderr, or to path.logs if that is set. Once ctx has ended, so
// will the node.
func newLogger(ctx context.Context, loaded *config.Config, stderr io.Writer) (_ hclog.Logger, closeLog func() error, err error) {
	options := &hclog.LoggerOptions{
		Name:       "jeton",
		Level:      hclog.LevelFromString(loaded.Log.Level),
		Output:     stderr,
		JSONFormat: loaded.Log.Format == formatJSON,
	}
	closeLog = func() error { return nil }
	if loaded.LogsPath != "" {
		file, err := openLog(loaded.LogsPath, loaded.ClusterName)
		if err != nil {
			return nil, nil, fmt.Errorf("path.logs: %w", err)
		}
		options.Output, closeLog = file, file.Close
	} else if isTerminal(stderr) {
		options.Color = hclog.AutoColor
	}
	starting := time.Now().Add(startNoise)
	now := func() moment { return moment{starting: time.Now().Before(starting), ending: ctx.Err() != nil} }
	return calmLogger{Logger: hclog.New(options), now: now}, closeLog, nil
}

func openLog(folder, cluster string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	path := filepath.Join(folder, cluster+".log")
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640) //nolint:gosec,wrapcheck // for the group that reads logs; names the file
}

// calmLogger logs what is no news (see expected) as debug, and writes values as a
// person reads them: a duration is "5s" in JSON too.
type calmLogger struct {
	hclog.Logger
	now func() moment
}

// Log implements [hclog.Logger], as the methods below do.
func (l calmLogger) Log(level hclog.Level, message string, args ...any) {
	if level >= hclog.Warn && expected(message, args, l.now()) {
		level = hclog.Debug
	}
	if level < l.GetLevel() {
		return
	}
	l.Logger.Log(level, message, readable(args)...)
}

// Trace logs at this level.
func (l calmLogger) Trace(message string, args ...any) { l.Log(hclog.Trace, message, args...) }

// Debug logs at this level.
func (l calmLogger) Debug(message string, args ...any) { l.Log(hclog.Debug, message, args...) }

// Info logs at this level.
func (l calmLogger) Info(message string, args ...any) { l.Log(hclog.Info, message, args...) }

// Warn logs at this level, or what is no news as debug.
func (l calmLogger) Warn(message string, args ...any) { l.Log(hclog.Warn, message, args...) }

// Error logs at this level, or what is no news as debug.
func (l calmLogger) Error(message string, args ...any) { l.Log(hclog.Error, message, args...) }

// With returns a logger that adds args to every line.
func (l calmLogger) With(args ...any) hclog.Logger {
	return calmLogger{l.Logger.With(readable(args)...), l.now}
}

// Named returns a logger for a part of the program.
func (l calmLogger) Named(name string) hclog.Logger {
	return calmLogger{l.Logger.Named(name), l.now}
}

// ResetNamed returns a logger with another name.
func (l calmLogger) ResetNamed(name string) hclog.Logger {
	return calmLogger{l.Logger.ResetNamed(name), l.now}
}

// readable replaces values that know how to write themselves by what they write;
// JSON would show the numbers and structures behind it.
func readable(args []any) []any {
	var written []any // a copy: args are the caller's
	for i, arg := range args {
		switch arg.(type) {
		case error, encoding.TextMarshaler, hclog.Format: // the logger knows these
		case fmt.Stringer:
			if written == nil {
				written = append([]any{}, args...)
			}
			written[i] = fmt.Sprint(arg)
		}
	}
	if written == nil {
		return args
	}
	return written
}
