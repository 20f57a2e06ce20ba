package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
)

// A copy of a member that publishes the same address went unnoticed: two processes voted and
// stored as one member.
func TestACopyAtTheSameAddressIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name     string
		leads    string // to whom the address leads
		apart    bool   // and the other one does not reach it
		survives string
	}{
		{"the address leads to the original", "original", false, "original"},
		{"it leads to the copy", "copy", false, "copy"},
		{"only others reach the original", "original", true, "original"},
		{"only others reach the copy", "copy", true, "copy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, simOptions{seed: simSeed(t, 13), formation: true}, func(t *testing.T, s *sim) {
				s.startAll()
				original := s.followers()[0]
				twin := s.add()
				twin.id, twin.address, twin.disk = original.id, original.address, original.disk.copied(t)
				if c.apart {
					s.net.isolate(names(original), names(twin), false)
				}
				twin.start()
				leadTo := func(m *member) { s.net.change(func() { s.net.at[m.address] = m.running() }) }
				lives, ends := original, twin
				if c.leads == "copy" {
					lives, ends = twin, original
				}
				leadTo(lives)
				select {
				case err := <-ends.running().node.failed:
					if want := "another process runs as the member " + string(original.id) + ", at " + string(original.address); !strings.Contains(err.Error(), want) {
						t.Errorf("it ends because %v", err)
					}
				case <-time.After(recovery):
					t.Error("both run")
				}
				if len(lives.running().node.failed) > 0 {
					t.Errorf("both end: %v", <-lives.running().node.failed)
				}
				twin.kill()
				leadTo(original)
				s.members = slices.DeleteFunc(s.members, func(m *member) bool { return m == twin })
			})
		})
	}
}

// Restarts of every kind, with every member and at once, look like no copy to anybody.
func TestARestartIsNoCopy(t *testing.T) {
	simulate(t, simOptions{seed: simSeed(t, 14), formation: true}, func(t *testing.T, s *sim) {
		s.startAll()
		var begun []*incarnation
		for round := range 12 {
			for i, m := range s.members {
				if round%4 != 3 && i != round%3 {
					continue
				}
				if round%2 == 0 {
					m.kill()
				} else {
					m.terminate()
				}
				time.Sleep(time.Duration(s.random.IntN(3)) * 700 * time.Millisecond)
				m.start()
				begun = append(begun, m.running())
			}
			time.Sleep(time.Duration(s.random.IntN(5)) * time.Second)
		}
		s.awaitReady()
		for _, p := range begun {
			if len(p.node.failed) > 0 {
				t.Errorf("%s ended: %v", p.member.name, <-p.node.failed)
			}
		}
	})
}

// A leader may tell of a former process for as long as it has not looked again.
func TestAFormerProcessIsNoRival(t *testing.T) {
	s := newSite(t)
	n := s.mustOpen()
	own := n.status()
	said := func(leader raft.ServerID, term uint64, process string, answers uint64) cluster.Status {
		return cluster.Status{ServerID: leader, Term: term, Judged: true, Members: []cluster.Member{{ID: own.ServerID, Process: process, Answers: answers}}}
	}
	unjudged := said("l", 2, "other", 9)
	unjudged.Judged = false
	for name, c := range map[string]struct {
		said []cluster.Status
		want bool
	}{
		"nothing":                     {nil, false},
		"itself":                      {[]cluster.Status{own}, false},
		"another at some address":     {[]cluster.Status{{ServerID: own.ServerID, Process: "other"}}, true},
		"it is heard":                 {[]cluster.Status{said("l", 2, own.Process, 1), said("l", 2, own.Process, 5)}, false},
		"the former one was heard":    {[]cluster.Status{said("l", 2, "other", 7), said("l", 2, "other", 7)}, false},
		"its last answer comes":       {[]cluster.Status{said("l", 2, "other", 7), said("l", 2, "other", 8)}, false},
		"it goes on":                  {[]cluster.Status{said("l", 2, "other", 7), said("l", 2, "other", 8), said("l", 2, "other", 9)}, true},
		"to another leader":           {[]cluster.Status{said("l", 2, "other", 1), said("m", 2, "other", 9)}, false},
		"in another term":             {[]cluster.Status{said("l", 2, "other", 1), said("l", 3, "other", 9)}, false},
		"another one":                 {[]cluster.Status{said("l", 2, "other", 1), said("l", 2, "third", 9)}, false},
		"by who does not look itself": {[]cluster.Status{unjudged, said("l", 2, "other", 11)}, false},
		"counted anew":                {[]cluster.Status{said("l", 2, "other", 7), said("l", 2, "other", 1), said("l", 2, "other", 3)}, true},
		"no name":                     {[]cluster.Status{said("l", 2, "", 1), said("l", 2, "", 9)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			asking := &Node{process: n.process, replica: n.replica}
			got := false
			for _, peer := range c.said {
				_, got = asking.outrun([]cluster.Status{peer})
			}
			if got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

// Over a real network: the copy publishes the address at which the original answers.
func TestACopyOfAFolderEnds(t *testing.T) {
	s := newSite(t)
	s.mustClose(s.mustOpen())
	folder := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(folder, os.DirFS(s.config.DataPath)); err != nil {
		t.Fatal(err)
	}
	n := s.mustOpen()
	copied := *s.config
	copied.DataPath = folder
	copied.Transport.PublishPort, copied.Transport.Port, copied.HTTP.Port = s.config.Transport.Port, freePort(t), freePort(t)
	s.config = &copied
	twin, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.mustClose(twin)
	select {
	case err := <-twin.failed:
		if !strings.Contains(err.Error(), "another process runs as the member "+string(n.replica.id)) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it runs")
	}
	if status, err := n.mirror(context.WithoutCancel(t.Context())); err != nil || status.Process != n.process {
		t.Errorf("the original finds %+v, %v", status, err)
	}
	if len(n.failed) > 0 {
		t.Errorf("the original ends with %v", <-n.failed)
	}
}
