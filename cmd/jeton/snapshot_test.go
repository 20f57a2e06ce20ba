package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/cluster"
	"jeton/fsm"
	"jeton/node/backup"
)

// oneState is a cluster of which all nodes have one state: a at a:1 leads, b is at b:1.
type oneState struct {
	t       *testing.T
	state   *fsm.FSM
	key     backup.Key
	server  *backup.Server
	index   uint64
	trouble []error // of the next proposals; after one that is not [cluster.ErrNotProposed] the command was applied
	silent  bool    // nobody leads
	asked   []string
	parts   int // asked for so far
	failAt  int // the question that is not answered; 0: all are
}

func newOneState(t *testing.T, id byte) *oneState {
	t.Helper()
	key, err := backup.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	c := &oneState{t: t, state: fsm.New(nil), key: key}
	c.server = backup.NewServer(c.state, func(context.Context) error { return nil }, backup.Header{ClusterName: "prod", NodeName: "a", Version: "1"})
	t.Cleanup(func() { _ = c.server.Close() })
	c.apply(fsm.Initialize{ClusterID: [16]byte{id}, KeyCheck: key.Check})
	c.apply(fsm.PutUser{Username: "ada", Verifier: "v", Enabled: true})
	for n := range byte(200) {
		metadata := fmt.Appendf(nil, `{"%0500d":1}`, n) // several parts and chunks
		owner := fsm.Identity{Principal: fsm.Principal{Username: "ada"}, Metadata: bytes.Repeat(metadata, 10)}
		c.apply(fsm.Issue{Access: fsm.Digest{n, 1}, Identity: owner, AccessLifetime: 60_000})
	}
	return c
}

func (c *oneState) apply(command fsm.Command) {
	c.t.Helper()
	encoded := fsm.AppendCommand(nil, command)
	var operation fsm.OperationID
	_, _ = rand.Read(operation[:])
	operation.Name(encoded)
	if o := c.applyEncoded(encoded); o.Reason != fsm.Done {
		c.t.Fatalf("%T: %s", command, o.Reason)
	}
}

func (c *oneState) applyEncoded(command []byte) fsm.Outcome {
	c.index++
	entry := fsm.AppendEntry(nil, 1_700_000_000_000, [][]byte{command})
	return c.state.Apply(&raft.Log{Index: c.index, Type: raft.LogCommand, Data: entry}).([]fsm.Outcome)[0]
}

func (c *oneState) client() *peerClient {
	members := []cluster.Member{{ID: "1", Address: "a:1", Voter: true}, {ID: "2", Address: "b:1", Voter: true}}
	summary := func() fsm.Summary { return c.state.Summary() }
	return &peerClient{
		first: []string{"b:1"},
		status: func(_ context.Context, address string) (cluster.Status, error) {
			sum := summary()
			status := cluster.Status{
				ServerID: "2", Name: "b", ClusterName: "prod", TransportAddress: "b:1", State: "Follower", Term: 1, Members: members,
				ClusterID: sum.ClusterID, KeyCheck: sum.KeyCheck, Epoch: sum.Epoch,
			}
			if !c.silent {
				status.LeaderID = "1"
			}
			if address == "a:1" && !c.silent {
				status.ServerID, status.Name, status.TransportAddress, status.State = "1", "a", "a:1", "Leader"
			}
			return status, nil
		},
		exchange: func(ctx context.Context, address string, question []byte) ([]byte, error) {
			c.asked = append(c.asked, address)
			if c.parts++; c.parts == c.failAt {
				return nil, errors.New("connection lost")
			}
			return c.server.Answer(ctx, ctx, question)
		},
		propose: func(_ context.Context, address string, command []byte) ([]byte, error) {
			c.asked = append(c.asked, address)
			var trouble error
			if len(c.trouble) > 0 {
				trouble, c.trouble = c.trouble[0], c.trouble[1:]
			}
			if errors.Is(trouble, cluster.ErrNotProposed) {
				return nil, trouble
			}
			outcome := c.applyEncoded(command)
			return outcome.Append(nil), trouble
		},
	}
}

func (c *oneState) save(path string, s saving) (*snapshotView, error) {
	s.key, s.progress = c.key, newProgress(io.Discard, "")
	return s.save(c.t.Context(), c.client(), path)
}

func (c *oneState) restore(path string, r restoring) (string, error) {
	var out strings.Builder
	r.key, r.errOut = c.key, io.Discard
	if r.confirm == nil {
		r.confirm = func(string) error { return nil }
	}
	err := r.restore(c.t.Context(), c.client(), path, &out)
	return out.String(), err
}

func TestSnapshotIsSavedInspectedAndRestored(t *testing.T) {
	t.Parallel()
	c := newOneState(t, 1)
	path := filepath.Join(t.TempDir(), "b.jeton")
	saved, err := c.save(path, saving{})
	must(t, err)
	seen, err := inspect(path, nil, c.key, newProgress(io.Discard, ""))
	must(t, err)
	if *saved != *seen || seen.Counts.Pairs != 200 || !seen.Verified || c.asked[0] != "a:1" {
		t.Errorf("saved %+v, inspected %+v, asked %s", saved, seen, c.asked[0])
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode() != 0o600 || info.Size() != seen.FileBytes {
		t.Errorf("%v, %d bytes", info.Mode(), info.Size())
	}
	var printed bytes.Buffer
	must(t, seen.print(&printed, formatText))
	if !strings.Contains(printed.String(), "Token pairs     200\n") || !strings.Contains(printed.String(), seen.Digest) {
		t.Error(printed.String())
	}
	printed.Reset()
	must(t, seen.print(&printed, formatJSON))
	var object map[string]any
	must(t, json.Unmarshal(printed.Bytes(), &object))
	if object["index"] != float64(202) || object["digest"] != seen.Digest || object["cluster_id"] != "01000000000000000000000000000000" {
		t.Errorf("%v", object)
	}

	c.apply(fsm.Invalidate{Access: fsm.Digest{3, 1}})
	c.apply(fsm.DeleteUser{Username: "ada"})
	out, err := c.restore(path, restoring{keepSessions: true})
	must(t, err)
	if !strings.Contains(out, "WARNING: its sessions live on, but for the tokens that the cluster knows") || !strings.HasSuffix(out, "Restored. The recovery epoch is 1 now.\n") {
		t.Error(out)
	}
	if _, back := c.state.User(fsm.RealmNative, "ada"); !back || c.state.Summary().Pairs != 200 {
		t.Errorf("%+v", c.state.Summary())
	}
	passwordFile := filepath.Join(t.TempDir(), "elastic.password")
	must(t, os.WriteFile(passwordFile, []byte("x\n"), 0o600))
	out, err = c.restore(path, restoring{passwordFile: passwordFile})
	must(t, err)
	if !strings.HasSuffix(out, "\nThe password in "+passwordFile+" may no longer be that of elastic.\n") {
		t.Error(out)
	}
	if !strings.Contains(out, "Every session ends") || c.state.Summary().Pairs != 0 || c.state.Summary().Epoch != 2 {
		t.Errorf("%s%+v", out, c.state.Summary())
	}
}

// TestSnapshotSaveLeavesNothingBehind whatever goes wrong.
func TestSnapshotSaveLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := newOneState(t, 1)
	for what, test := range map[string]struct {
		how    saving
		change func()
		want   string
	}{
		"it exists":           {saving{}, func() {}, "exists; add --force"},
		"nobody leads":        {saving{force: true}, func() { c.silent = true }, "no leader is known"},
		"no such node":        {saving{force: true, node: "z"}, func() {}, "no node that answers has the name or the ID \"z\"; there are:\n  a (ID 1, a:1, leader)\n  b (ID 2, b:1, follower)"},
		"the node is lost":    {saving{force: true}, func() { c.failAt = 3 }, "nothing of it was left behind: take a snapshot: connection lost"},
		"it never answers":    {saving{force: true}, func() { c.failAt = 1 }, "connection lost"},
		"another cluster key": {saving{force: true}, func() { c.key.Check[0]++ }, "another cluster key"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "b.jeton")
			must(t, os.WriteFile(path, []byte("before"), 0o600))
			silent, failAt, key := c.silent, c.failAt, c.key
			c.parts = 0
			test.change()
			_, err := c.save(path, test.how)
			checkProblem(t, err, test.want)
			c.silent, c.failAt, c.key = silent, failAt, key
			checkFolder(t, dir, "b.jeton")
			if content, _ := os.ReadFile(path); string(content) != "before" {
				t.Errorf("%q", content)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "b.jeton")
	must(t, os.WriteFile(path, []byte("before"), 0o600))
	for _, node := range []string{"b", "2", "b:1", "x:9"} {
		c.asked = nil
		_, err := c.save(path, saving{force: true, node: node, stale: true})
		must(t, err)
		if want := map[string]string{"x:9": "x:9"}[node]; want == "" && c.asked[0] != "b:1" || want != "" && c.asked[0] != want {
			t.Errorf("--node %s asked %s", node, c.asked[0])
		}
	}
	if _, err := inspect(path, nil, c.key, newProgress(io.Discard, "")); err != nil {
		t.Error(err)
	}
}

// TestSnapshotSaveRefusesWhereNoFileCanBe before it asks anybody.
func TestSnapshotSaveRefusesWhereNoFileCanBe(t *testing.T) {
	t.Parallel()
	c := newOneState(t, 1)
	c.silent = true
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for path, want := range map[string]string{
		dir:                              "is a folder: name a file in it, such as " + filepath.Join(dir, "backup.jeton"),
		filepath.Join(dir, "no", "x"):    "there is no folder " + filepath.Join(dir, "no") + " for x: make it first (mkdir -p ",
		filepath.Join(dir, "file", "x"):  "is no folder",
		filepath.Join("/proc", "x"):      "cannot be written by this user",
		filepath.Join(dir, "x"):          "no leader is known",
		filepath.Join(dir, "no") + "/":   "there is no folder",
		filepath.Join(dir, "file") + "/": "is no folder",
	} {
		if path == "/proc/x" && os.Geteuid() == 0 {
			continue // who is root may write anywhere, for all that the permissions say
		}
		_, err := c.save(path, saving{force: true})
		checkProblem(t, err, want)
	}
	_, err := c.save(filepath.Join(dir, "file"), saving{})
	checkProblem(t, err, "exists; add --force")
	checkFolder(t, dir, "file")
}

// TestSnapshotByStandardOutput is the file that would have been saved, and is read from
// standard input again.
func TestSnapshotByStandardOutput(t *testing.T) {
	t.Parallel()
	c := newOneState(t, 1)
	var stream bytes.Buffer
	saved, err := c.save(standardStream, saving{stdout: &stream})
	must(t, err)
	if saved.File != "standard output" || saved.FileBytes != int64(stream.Len()) {
		t.Errorf("%+v of %d bytes", saved, stream.Len())
	}
	seen, err := inspect(standardStream, bytes.NewReader(stream.Bytes()), c.key, newProgress(io.Discard, ""))
	must(t, err)
	saved.File = "standard input"
	if *saved != *seen {
		t.Errorf("saved %+v, inspected %+v", saved, seen)
	}
	_, err = c.restore(standardStream, restoring{stdin: bytes.NewReader(stream.Bytes())})
	must(t, err)
	_, err = c.restore(standardStream, restoring{stdin: bytes.NewReader(stream.Bytes()[:100])})
	checkProblem(t, err, "standard input: the file is cut off")
	c.parts, c.failAt = 0, 3
	_, err = c.save(standardStream, saving{stdout: &stream})
	checkProblem(t, err, "what went to standard output is no whole snapshot, throw it away")
	if _, err := os.Lstat(standardStream); err == nil {
		t.Error("there is a file of that name")
	}
}

func checkFolder(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("%s holds %v, not %v", dir, names, want)
	}
}

// TestSnapshotOfAFullDisk is not saved.
func TestSnapshotOfAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := createWhole(filepath.Join(dir, "b.jeton"))
	must(t, err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	partial := f.file.Name()
	must(t, f.file.Close())
	f.file = full
	f.Reset(full)
	_, _ = f.WriteString("content")
	if _, err := f.commit(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	must(t, os.Remove(partial))
	checkFolder(t, dir)
}

// TestRestoreOutlivesItsLeader: every command is proposed again, and applied once.
func TestRestoreOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	c := newOneState(t, 1)
	path := filepath.Join(t.TempDir(), "b.jeton")
	_, err := c.save(path, saving{})
	must(t, err)
	c.asked = nil
	lost := errors.New("connection lost, the outcome is unknown")
	c.trouble = []error{&cluster.NotLeaderError{Leader: "b:1"}, lost, nil, cluster.ErrOverloaded, lost, lost}
	_, err = c.restore(path, restoring{keepSessions: true})
	must(t, err)
	if got := fmt.Sprint(c.asked[:3]); got != "[a:1 b:1 a:1]" || c.state.Summary().Epoch != 1 || c.state.Summary().Pairs != 200 {
		t.Errorf("asked %s, %+v", got, c.state.Summary())
	}
}

func TestRestoreRefusesBeforeItAsks(t *testing.T) {
	t.Parallel()
	c, other := newOneState(t, 1), newOneState(t, 2)
	dir := t.TempDir()
	path, foreign := filepath.Join(dir, "b.jeton"), filepath.Join(dir, "foreign.jeton")
	for file, of := range map[string]*oneState{path: c, foreign: other} {
		_, err := of.save(file, saving{})
		must(t, err)
	}
	const otherID = "02000000000000000000000000000000"
	whole, err := os.ReadFile(path)
	must(t, err)
	tampered, cut := filepath.Join(dir, "tampered"), filepath.Join(dir, "cut")
	must(t, os.WriteFile(cut, whole[:len(whole)-1], 0o600))
	whole[len(whole)/2] ^= 1
	must(t, os.WriteFile(tampered, whole, 0o600))
	said := errors.New("nothing was changed")
	no := func(string) error { return said }
	for want, test := range map[string]struct {
		path string
		how  restoring
	}{
		"the file is damaged, or was tampered with":             {tampered, restoring{confirm: no}},
		"the file is cut off":                                   {cut, restoring{confirm: no}},
		"no such file":                                          {path + "x", restoring{confirm: no}},
		"add --from-cluster " + otherID:                         {foreign, restoring{confirm: no}},
		"the snapshot is of the cluster with the ID " + otherID: {foreign, restoring{confirm: no, from: "01"}},
		`(named "prod"); it is the ID that this flag wants`:     {foreign, restoring{confirm: no, from: "prod"}},
		"nothing was changed":                                   {foreign, restoring{confirm: no, from: otherID}},
	} {
		_, err := c.restore(test.path, test.how)
		checkProblem(t, err, want)
		if _, asked := strings.CutPrefix(want, "nothing"); !asked && errors.Is(err, said) {
			t.Errorf("%s: it was asked before", want)
		}
	}
	if got := c.state.Summary(); got.Epoch != 0 || got.Pairs != 200 {
		t.Errorf("%+v", got)
	}
	out, err := c.restore(foreign, restoring{from: otherID, keepSessions: true})
	if got := c.state.Summary(); err != nil || !strings.Contains(out, "ARE VALID AGAIN") || got.Epoch != 1 || got.ClusterID != [16]byte{1} {
		t.Errorf("%s%v %+v", out, err, got)
	}
	_, err = c.restore(foreign, restoring{from: otherID, keepSessions: true})
	checkProblem(t, err, "no longer knows")
}

func TestProgressIsForPeople(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, "read")
	p.set(1, 2)
	p.done()
	if out.Len() > 0 {
		t.Errorf("%q was told to nobody at a terminal", out.String())
	}
	p.out = &out
	p.told = time.Time{}
	p.set(5<<20, 20<<20)
	p.done()
	if got := out.String(); got != "\rread 5 of 20 (25 %) MiB \r\x1b[K" {
		t.Errorf("%q", got)
	}
}
