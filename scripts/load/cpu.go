package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of the kernel's processor times: 100 a second on every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuMeter measures the processor time that processes used since it was made. A
// process that cannot be read counts as nothing: the figure informs, it decides nothing.
type cpuMeter struct {
	servers []int
	before  time.Duration
	self    time.Duration
}

func newCPUMeter(servers []int) cpuMeter {
	return cpuMeter{servers: servers, before: cpuOfAll(servers), self: cpuOf(os.Getpid())}
}

// read returns what the servers and what this process used.
func (m cpuMeter) read() (servers, self time.Duration) {
	return cpuOfAll(m.servers) - m.before, cpuOf(os.Getpid()) - m.self
}

func cpuOfAll(pids []int) time.Duration {
	sum := time.Duration(0)
	for _, pid := range pids {
		sum += cpuOf(pid)
	}
	return sum
}

// cpuOf adds user and system time of a process: proc(5), fields 14 and 15 of stat.
// The second field is a name in parentheses that may hold spaces.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(string(field))
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}
