package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"jeton/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	clusterID = ID{1}
	owner     = fsm.Principal{Username: "ada", Realm: fsm.Realm{Name: fsm.RealmNative, Type: "native"}}
)

// log is a log of one member.
type log struct {
	t     *testing.T
	state *fsm.FSM
	index uint64
	fail  error // of the next proposal, which is applied all the same
}

// newLog is of an initialized cluster with a user.
func newLog(t *testing.T, id ID, key Key) *log {
	t.Helper()
	l := &log{t: t, state: fsm.New(nil)}
	l.apply(fsm.Initialize{ClusterID: id, KeyCheck: key.Check})
	l.apply(fsm.PutUser{Username: "ada", Verifier: "v", Enabled: true})
	return l
}

func (l *log) propose(_ context.Context, command []byte) (fsm.Outcome, error) {
	l.index++
	entry := fsm.AppendEntry(nil, fsm.UnixMilli(1_700_000_000_000+l.index), [][]byte{command})
	outcome := l.state.Apply(&raft.Log{Index: l.index, Type: raft.LogCommand, Data: entry}).([]fsm.Outcome)[0]
	err := l.fail
	l.fail = nil
	return outcome, err
}

func (l *log) apply(c fsm.Command) {
	l.t.Helper()
	command := fsm.AppendCommand(nil, c)
	var operation fsm.OperationID
	_, _ = rand.Read(operation[:])
	operation.Name(command)
	if o, _ := l.propose(l.t.Context(), command); o.Reason != fsm.Done {
		l.t.Fatalf("%T: %s", c, o.Reason)
	}
}

func (l *log) issue(n int) {
	l.t.Helper()
	l.apply(fsm.Issue{
		Access: fsm.Digest{byte(n), byte(n >> 8), 'a'}, Refresh: fsm.Digest{byte(n), byte(n >> 8), 'r'},
		Identity: fsm.Identity{Principal: owner}, Client: fsm.Client{Principal: owner}, AccessLifetime: 60_000, RefreshLifetime: 60_000,
	})
}

func (l *log) live(n int) bool {
	token, found := l.state.AccessToken(fsm.Digest{byte(n), byte(n >> 8), 'a'})
	return found && !token.AccessInvalidated
}

// saved asks a server of the log's state for a file.
func (l *log) saved(key Key) []byte {
	l.t.Helper()
	server := NewServer(l.state, func(context.Context) error { return nil }, Header{ClusterName: "prod", NodeName: "a", Version: "1"})
	defer server.Close()
	b, err := saveFrom(l.t.Context(), server, key, false)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// asking puts questions by one connection.
func asking(conn context.Context, server *Server) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, question []byte) ([]byte, error) { return server.Answer(ctx, conn, question) }
}

func saveFrom(ctx context.Context, server *Server, key Key, stale bool) ([]byte, error) {
	var to bytes.Buffer
	var w *Writer
	err := Fetch(ctx, asking(ctx, server), stale, func(h Header) (io.Writer, error) {
		var err error
		w, err = NewWriter(&to, key, h)
		return w, err
	})
	if err != nil {
		return nil, err
	}
	err = w.Close()
	return to.Bytes(), err
}

// TestThereAndBack: a state is saved, read, and restored into the cluster it is of.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	for _, keep := range []bool{false, true} {
		l := newLog(t, clusterID, key)
		for n := range 3000 { // several chunks
			l.issue(n)
		}
		file := l.saved(key)
		l.apply(fsm.Invalidate{Access: fsm.Digest{2, 0, 'a'}})
		l.apply(fsm.DeleteUser{Username: "ada"})
		l.apply(fsm.PutUser{Username: "bob", Verifier: "w", Enabled: true})
		state, header, err := Load(bytes.NewReader(file), key)
		if err != nil || header.Counts != (Counts{Users: 1, Pairs: 3000, Identities: 1, Operations: 3002}) || header.ClusterID != clusterID || header.Index != 3002 {
			t.Fatalf("%+v, %v", header, err)
		}
		var told []int64
		how := Restoring{Propose: l.propose, From: clusterID, KeepSessions: keep, Progress: func(done, total int64) { told = append(told, done, total) }}
		if err := Restore(t.Context(), state, how); err != nil {
			t.Fatal(err)
		}
		if _, bob := l.state.User(fsm.RealmNative, "bob"); bob || len(l.state.Users()) != 1 || l.live(2) || l.live(1) {
			t.Errorf("keep %v: bob %v, users %d, live %v %v", keep, bob, len(l.state.Users()), l.live(1), l.live(2))
		}
		if n := len(told); n < 2 || told[n-1] != told[n-2] || keep && n < 8 {
			t.Errorf("progress %v", told)
		}
		if got := l.state.Summary(); got.Epoch != 1 || keep != (got.Pairs == 3000) {
			t.Errorf("%+v", got)
		}
	}
}

// TestRestoreTellsWhyNot in words that name what to do.
func TestRestoreTellsWhyNot(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	l := newLog(t, clusterID, key)
	state, _, err := Load(bytes.NewReader(l.saved(key)), key)
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("no leader")
	for want, how := range map[string]Restoring{
		"another cluster":                {From: ID{2}},
		"restored":                       {From: clusterID, Epoch: 5},
		"no longer knows":                {From: clusterID, Epoch: 5, KeepSessions: true},
		"nothing has changed: no leader": {From: clusterID, Propose: func(context.Context, []byte) (fsm.Outcome, error) { return fsm.Outcome{}, gone }},
		"another restore has":            {From: clusterID, Propose: refusing(fsm.RestoreLost)},
		"all of them run":                {From: clusterID, Propose: refusing(fsm.RestoreUnreadable)},
		"Set the clocks right":           {From: clusterID, Propose: refusing(fsm.RestoreAhead)},
		"user":                           {From: clusterID, Propose: refusing(fsm.UnknownUser)},
	} {
		if how.Propose == nil {
			how.Propose = l.propose
		}
		if err := Restore(t.Context(), state, how); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if got := l.state.Summary(); got.Epoch != 0 {
		t.Errorf("%+v", got)
	}
}

func refusing(r fsm.Reason) func(context.Context, []byte) (fsm.Outcome, error) {
	return func(context.Context, []byte) (fsm.Outcome, error) { return fsm.Outcome{Reason: r}, nil }
}

// TestLoadRefuses what is sealed right and says two things.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	file := newLog(t, clusterID, key).saved(key)
	header, content, err := readFile(file, key)
	if err != nil {
		t.Fatal(err)
	}
	rewritten := func(h Header, content []byte) []byte {
		var to bytes.Buffer
		w, err := NewWriter(&to, key, h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(content)
		_ = w.Close()
		return to.Bytes()
	}
	other := header
	other.Epoch++
	for what, c := range map[string]struct {
		file []byte
		want error
	}{
		"another header": {rewritten(other, content), ErrTampered},
		"half a state":   {rewritten(header, content[:len(content)/2]), fsm.ErrUnreadable},
		"cut off":        {file[:len(file)-1], ErrCutOff},
		"tampered":       {append(bytes.Clone(file), 1), ErrTampered},
		"nothing":        {nil, ErrCutOff},
		"its beginning":  {[]byte("jet"), ErrCutOff},
		"a note":         {[]byte("jot"), ErrNoBackup},
	} {
		if _, _, err := Load(bytes.NewReader(c.file), key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := Load(bytes.NewReader(rewritten(header, content)), key); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// TestEqualStatesHaveEqualContents, whoever is asked and however often.
func TestEqualStatesHaveEqualContents(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	l := newLog(t, clusterID, key)
	l.issue(1)
	if a, b := l.saved(key), l.saved(key); !bytes.Equal(a, b) {
		t.Error("two files of one state differ")
	}
}

// TestServerConfirms unless it is told not to.
func TestServerConfirms(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	l := newLog(t, clusterID, key)
	noQuorum := errors.New("no quorum")
	server := NewServer(l.state, func(context.Context) error { return noQuorum }, Header{})
	defer server.Close()
	if _, err := saveFrom(t.Context(), server, key, false); !errors.Is(err, noQuorum) {
		t.Error(err)
	}
	if b, err := saveFrom(t.Context(), server, key, true); err != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestFetchGivesTheSnapshotBack when it cannot go on.
func TestFetchGivesTheSnapshotBack(t *testing.T) {
	t.Parallel()
	key := testKey(t, 7)
	l := newLog(t, clusterID, key)
	server := NewServer(l.state, func(context.Context) error { return nil }, Header{})
	defer server.Close()
	full := errors.New("disk full")
	for range maxSaves + 1 {
		ctx, cancel := context.WithCancel(t.Context())
		err := Fetch(ctx, asking(ctx, server), false, func(Header) (io.Writer, error) {
			cancel()
			return &limited{err: full}, nil
		})
		if !errors.Is(err, full) {
			t.Error(err)
		}
	}
}

// TestServerGivesUp what nobody asks for any more, and refuses what it does not know.
func TestServerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, clusterID, testKey(t, 7))
		server := NewServer(l.state, func(context.Context) error { return nil }, Header{})
		begin := func() (string, error) {
			answer, err := server.Answer(t.Context(), t.Context(), []byte(`{"begin":true}`))
			id, _, _ := strings.Cut(strings.TrimPrefix(string(answer), `{"save":"`), `"`)
			return id, err
		}
		ask := func(id, part string) error {
			_, err := server.Answer(t.Context(), t.Context(), []byte(`{"save":"`+id+`","part":`+part+`}`))
			return err
		}
		first, _ := begin()
		second, err := begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := begin(); err == nil || !strings.Contains(err.Error(), "being saved at this node already") {
			t.Errorf("a third one: %v", err)
		}
		if err := ask(first, "1"); err == nil {
			t.Error("a part out of turn was given")
		}
		if err := ask(first, "0"); err == nil || !strings.Contains(err.Error(), "not being saved any more") {
			t.Errorf("after a part out of turn: %v", err)
		}
		if err := ask("x", "0"); err == nil {
			t.Error("an unknown save was answered")
		}
		if _, err := server.Answer(t.Context(), t.Context(), []byte("nonsense")); err == nil {
			t.Error("nonsense was answered")
		}
		time.Sleep(savePatience / 2)
		if err := ask(second, "0"); err != nil {
			t.Error(err)
		}
		time.Sleep(savePatience + 1)
		if err := ask(second, "1"); err == nil {
			t.Error("a save was not given up")
		}
		third, err := begin()
		if err != nil {
			t.Errorf("no place was given back: %v", err)
		}
		_ = server.Close()
		if err := ask(third, "0"); err == nil {
			t.Error("answered after Close")
		}
		if _, err := begin(); err == nil {
			t.Error("began after Close")
		}
	})
}

// Two saves that were broken off kept a node from saving for a minute.
func TestWhoIsGoneMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, clusterID, testKey(t, 7))
		server := NewServer(l.state, func(context.Context) error { return nil }, Header{})
		defer server.Close()
		begin := func(conn context.Context) (string, error) {
			answer, err := server.Answer(t.Context(), conn, []byte(`{"begin":true}`))
			id, _, _ := strings.Cut(strings.TrimPrefix(string(answer), `{"save":"`), `"`)
			return id, err
		}
		conn, cut := context.WithCancel(t.Context())
		_, first := begin(conn)
		renewed, second := begin(conn)
		if err := errors.Join(first, second); err != nil {
			t.Fatal(err)
		}
		cut()
		if _, err := begin(t.Context()); err == nil || !strings.Contains(err.Error(), "makes room within a minute") {
			t.Errorf("a third save: %v", err)
		}
		time.Sleep(gonePatience / 2)
		part := func() error {
			_, err := server.Answer(t.Context(), t.Context(), []byte(`{"save":"`+renewed+`","part":0}`))
			return err
		}
		if err := part(); err != nil {
			t.Errorf("by another connection: %v", err)
		}
		time.Sleep(gonePatience)
		if _, err := begin(t.Context()); err != nil {
			t.Errorf("after one is gone: %v", err)
		}
		if _, err := begin(t.Context()); err == nil {
			t.Error("who only connected anew lost its place")
		}
	})
}
