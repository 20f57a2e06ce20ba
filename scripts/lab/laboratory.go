package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"jeton/scripts/lab/load"
	"jeton/scripts/lab/report"
)

// laboratory is a cluster that runs, with everything that watches it.
type laboratory struct {
	options  *options
	command  string // that does all this again
	journal  *journal
	cluster  *cluster
	monitor  *monitor
	unwatch  context.CancelFunc // ends the monitor
	progress io.Writer
	stdout   io.Writer

	load       *load.Load
	stopLoad   context.CancelFunc
	loadBegan  time.Time
	loaded     time.Duration // how long the load ran, once it has ended
	background sync.WaitGroup
	stop       context.CancelFunc

	checked []string // what was looked at in the end, for the report
}

// open makes and starts a cluster.
func (o *options) open(ctx context.Context, stdout, stderr io.Writer, command string) (*laboratory, error) {
	l := &laboratory{options: o, command: command, stdout: stdout, progress: stdout}
	if o.json {
		l.progress = stderr
	}
	fmt.Fprintf(l.progress, "again with: %s\nlogs and report: %s\n", command, o.out)
	watcher := l.progress
	l.journal = newJournal(watcher, o.verbose)
	c, err := newCluster(ctx, o.setup(), l.journal)
	if err != nil {
		return nil, err
	}
	l.cluster = c
	// Who interrupts a run wants its end, and that is to check what was seen.
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := c.start(ctx); err != nil {
		for _, n := range c.nodes {
			fmt.Fprintf(l.progress, "%s: %s\n", n.name, n.lastWords())
		}
		l.close()
		return nil, err
	}
	l.monitor = &monitor{cluster: c, samples: map[string][]usage{}}
	watching, unwatch := context.WithCancel(ctx)
	l.unwatch = unwatch
	l.background.Go(func() { l.monitor.run(watching) })
	return l, nil
}

func (l *laboratory) close() {
	l.stop()
	l.background.Wait()
	l.cluster.close()
}

// finish lets everything come to rest and checks it. rests is false for a cluster that did not recover: then there is
// no more to ask it, only to read.
func (l *laboratory) finish(ctx context.Context, rests bool) {
	if l.load != nil {
		l.stopLoad()
		for l.loaded == 0 && pause(context.WithoutCancel(ctx), lookInterval) { // until the last answer
		}
	}
	l.unwatch()                      // before the log is filled with padding
	ctx = context.WithoutCancel(ctx) // an interrupted run is checked, too
	if rests {
		_, err := l.cluster.recover(ctx)
		rests = err == nil
	}
	if l.load != nil {
		l.judge(ctx, rests)
	}
	state := int64(0)
	if rests {
		l.compare(ctx)
		if err := l.cluster.snapshotEverywhere(ctx); err != nil {
			l.journal.violate("the nodes take no snapshots: %v", err)
		}
		l.checked = append(l.checked, l.cluster.countGoroutines(ctx)...)
	} else {
		l.cluster.halt(ctx)
	}
	l.readFiles(&state)
	l.checked = append(l.checked, l.monitor.check(state)...)
}

// judge asks about every token once more, if the cluster rests, and judges all answers.
func (l *laboratory) judge(ctx context.Context, rests bool) {
	if rests {
		l.load.Settle(ctx)
	}
	l.load.Check()
	for _, f := range l.load.Findings() {
		l.journal.violateAt(f.At, f.What)
	}
}

// compare compares the states of the nodes of a cluster that rests.
func (l *laboratory) compare(ctx context.Context) {
	index, err := l.cluster.sameDigests(ctx)
	if err != nil {
		l.journal.violate("the nodes' states cannot be compared: %v", err)
	}
	l.checked = append(l.checked, fmt.Sprintf("the state of every node compared at entry %d", index))
}

// readFiles checks what is on the disks and in the logs of nodes that have ended.
func (l *laboratory) readFiles(state *int64) {
	files, err := l.cluster.openLogs()
	if err != nil {
		l.journal.violate("the nodes' logs cannot be read: %v", err)
	} else {
		compared, err := l.cluster.compareStates(files)
		if err != nil {
			l.journal.violate("the nodes' states cannot be read: %v", err)
		}
		l.checked = append(l.checked, fmt.Sprintf("%d entries of the log compared, %d states", len(files.digests), compared))
	}
	if found, err := l.cluster.snapshots(); err == nil && len(found) > 0 {
		*state = int64(len(found[len(found)-1].state))
	}
	secrets := []string{l.cluster.password}
	if l.load != nil {
		secrets = append(secrets, l.load.Canaries()...)
	}
	searched, err := l.cluster.searchSecrets(secrets)
	if err != nil {
		l.journal.violate("not everything could be searched for secrets: %v", err)
	}
	l.checked = append(l.checked,
		fmt.Sprintf("%d secrets looked for in %d files", len(secrets)+1, searched),
		fmt.Sprintf("%d elections, each of a term of its own", l.cluster.record.elections()))
}

// conclude prints what the run came to and writes the report. The error is errViolation if there was a violation.
func (l *laboratory) conclude(m *nemesis, skipped []string) error {
	l.journal.tellEnds()
	run := l.picture(m, skipped)
	if err := report.Summary(l.progress, run); err != nil {
		return err
	}
	if err := report.Write(l.options.out, run); err != nil {
		return err
	}
	if l.options.json {
		written, err := os.ReadFile(filepath.Join(l.options.out, "report.json"))
		if err != nil {
			return err //nolint:wrapcheck // names the file
		}
		fmt.Fprintf(l.stdout, "%s\n", written)
	}
	fmt.Fprintf(l.progress, "logs, files and report: %s\n", l.options.out)
	if len(run.Violations) > 0 {
		return errViolation
	}
	return nil
}
