package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Where control groups are usually mounted: one hierarchy for each controller (version 1), or one for all
// (version 2), which beside the first kind is called unified.
const (
	cgroupRoot    = "/sys/fs/cgroup"
	cgroupUnified = "/sys/fs/cgroup/unified"
	cgroupPrefix  = "jeton-lab-"
)

// groups are the control groups of one node: one that can be frozen, and one whose processor time can be
// limited. They may be the same.
type groups struct {
	freezer, cpu string // folders; empty: there is none
	v2           bool   // the freezer is of version 2
	cpuV2        bool
}

// newGroups makes the groups of a node, as far as the machine and our rights allow.
func newGroups(lab, name string) *groups {
	leaf := cgroupPrefix + lab + "-" + name
	g := &groups{}
	try := func(parents ...string) string {
		for _, parent := range parents {
			if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
				continue
			}
			path := filepath.Join(parent, leaf)
			if os.Mkdir(path, 0o755) == nil || exists(path) { //nolint:gosec // no secret: the kernel's own files are in it
				return path
			}
		}
		return ""
	}
	g.freezer = try(filepath.Join(cgroupRoot, "freezer"), cgroupUnified, cgroupRoot)
	g.v2 = g.freezer != "" && !exists(filepath.Join(g.freezer, "freezer.state"))
	if g.v2 && !exists(filepath.Join(g.freezer, "cgroup.freeze")) {
		g.freezer = ""
	}
	g.cpu = try(filepath.Join(cgroupRoot, "cpu"), filepath.Join(cgroupRoot, "cpu,cpuacct"), cgroupRoot)
	g.cpuV2 = g.cpu != "" && exists(filepath.Join(g.cpu, "cpu.max"))
	if !g.cpuV2 && !exists(filepath.Join(g.cpu, "cpu.cfs_quota_us")) {
		g.cpu = ""
	}
	return g
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// adopt puts a process into the groups.
func (g *groups) adopt(pid int) error {
	var problems []error
	for _, folder := range []string{g.freezer, g.cpu} {
		if folder != "" {
			problems = append(problems, write(filepath.Join(folder, "cgroup.procs"), strconv.Itoa(pid)))
		}
	}
	return errors.Join(problems...)
}

// freeze stops every thread where it is, in the kernel too; thaw lets them go on.
func (g *groups) freeze() error { return g.setFrozen("FROZEN", "1") }
func (g *groups) thaw() error   { return g.setFrozen("THAWED", "0") }

func (g *groups) setFrozen(v1, v2 string) error {
	if g.v2 {
		return write(filepath.Join(g.freezer, "cgroup.freeze"), v2)
	}
	return write(filepath.Join(g.freezer, "freezer.state"), v1)
}

// starve limits the processor time to a share of one core; zero: no limit.
func (g *groups) starve(share float64) error {
	const period = 100_000
	quota, most := strconv.Itoa(int(share*period)), fmt.Sprintf("%d %d", int(share*period), period)
	if share == 0 {
		quota, most = "-1", fmt.Sprintf("max %d", period)
	}
	if g.cpuV2 {
		return write(filepath.Join(g.cpu, "cpu.max"), most)
	}
	return write(filepath.Join(g.cpu, "cpu.cfs_quota_us"), quota)
}

// remove removes the groups once the processes in them have ended.
func (g *groups) remove() {
	for _, folder := range []string{g.freezer, g.cpu} {
		for range 20 {
			if folder == "" || os.Remove(folder) == nil {
				break
			}
			time.Sleep(10 * time.Millisecond) // the kernel lets go of a process a moment after it was waited for
		}
	}
}

// removeAbandoned removes the groups that laboratories left which were killed long ago.
func removeAbandoned() {
	const abandoned = 6 * time.Hour
	for _, parent := range []string{cgroupRoot, cgroupUnified, filepath.Join(cgroupRoot, "*")} {
		found, _ := filepath.Glob(filepath.Join(parent, cgroupPrefix+"*"))
		for _, folder := range found {
			if info, err := os.Stat(folder); err == nil && time.Since(info.ModTime()) > abandoned {
				_ = os.Remove(folder) // refused if it is in use
			}
		}
	}
}

func write(path, content string) error {
	return os.WriteFile(path, []byte(content), 0o600) //nolint:wrapcheck // names the file
}
