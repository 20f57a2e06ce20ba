package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// usage is what a process takes at one moment.
type usage struct {
	memory  int64 // bytes that are no file's
	threads int64
}

// monitor looks again and again at what the nodes take. Its methods may be called concurrently.
type monitor struct {
	cluster *cluster

	mu      sync.Mutex
	samples map[string][]usage // by node
}

const monitorInterval = time.Second

func (m *monitor) run(ctx context.Context) {
	for pause(ctx, monitorInterval) {
		for _, n := range m.cluster.nodes {
			p := n.running()
			if p == nil {
				continue
			}
			if u, ok := usageOf(p.cmd.Process.Pid); ok {
				m.mu.Lock()
				m.samples[n.name] = append(m.samples[n.name], u)
				m.mu.Unlock()
			}
		}
	}
}

var usageFields = regexp.MustCompile(`(?m)^(RssAnon|Threads):\s+(\d+)`)

// usageOf reads it from the kernel. Memory that is a file's, as a mapped log is, comes and goes as the kernel likes.
func usageOf(pid int) (u usage, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, false
	}
	for _, field := range usageFields.FindAllSubmatch(status, -1) {
		value, _ := strconv.ParseInt(string(field[2]), 10, 64) // the pattern is digits
		if string(field[1]) == "Threads" {
			u.threads = value
		} else {
			u.memory = value << 10
		}
	}
	return u, u.memory > 0
}

const (
	// memoryGrowth is how much more a node may take in the last third of a run than in the first, beside what there is to
	// remember: the state grows with the tokens. A node lets its heap grow to twice 64 MiB before it collects garbage.
	memoryGrowth = 160 << 20
	// mostThreads is more than a node needs in any fault.
	mostThreads = 200
	// mostGoroutines: a node at rest has some fifty.
	mostGoroutines = 300
)

// check says what grew.
func (m *monitor) check(state int64) (summary []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.cluster.nodes {
		samples := m.samples[n.name]
		if len(samples) < 6 {
			continue
		}
		third := len(samples) / 3
		early, late := median(samples[:third]), median(samples[len(samples)-third:])
		most := slices.MaxFunc(samples, func(a, b usage) int { return int(a.memory - b.memory) })
		threads := slices.MaxFunc(samples, func(a, b usage) int { return int(a.threads - b.threads) }).threads
		summary = append(summary, fmt.Sprintf("%s: memory %d MiB at first, %d MiB at last, %d MiB at most; at most %d threads",
			n.name, early>>20, late>>20, most.memory>>20, threads))
		if late > early+memoryGrowth+3*state {
			m.cluster.journal.violate("the memory of %s grew from %d to %d MiB", n.name, early>>20, late>>20)
		}
		if threads > mostThreads {
			m.cluster.journal.violate("%s had %d threads", n.name, threads)
		}
	}
	return summary
}

func median(samples []usage) int64 {
	memory := make([]int64, len(samples))
	for i, u := range samples {
		memory[i] = u.memory
	}
	slices.Sort(memory)
	return memory[len(memory)/2]
}

// goroutines ends a node that is at rest with the signal at which a Go program writes the stacks of all its goroutines,
// and counts them.
func (n *node) goroutines(ctx context.Context) (count int, err error) {
	before, err := os.ReadFile(n.logFile())
	if err != nil {
		return 0, err //nolint:wrapcheck // names the file
	}
	if !n.end(ctx, syscall.SIGQUIT, killPatience) {
		return 0, fmt.Errorf("%s did not end", n.name)
	}
	after, err := os.ReadFile(n.logFile())
	if err != nil {
		return 0, err //nolint:wrapcheck // names the file
	}
	return bytes.Count(after[len(before):], []byte("\ngoroutine ")), nil
}

// countGoroutines ends all nodes for good, in that way.
func (c *cluster) countGoroutines(ctx context.Context) (summary []string) {
	for _, n := range c.nodes {
		_ = n.hold()
	}
	for _, n := range c.nodes {
		count, err := n.goroutines(ctx)
		c.trouble(err)
		summary = append(summary, fmt.Sprintf("%s: %d goroutines at rest", n.name, count))
		if err == nil && (count == 0 || count > mostGoroutines) {
			c.journal.violate("%s has %d goroutines when it is at rest", n.name, count)
		}
	}
	return summary
}
