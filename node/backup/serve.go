package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"jeton/fsm"
)

const (
	// answerBytes is how much of a snapshot one answer brings.
	answerBytes = 512 << 10
	// maxSaves bounds what one node saves at once. Each keeps the pages that change
	// meanwhile twice in memory.
	maxSaves = 2
	// confirmPatience is how long a node may take to prove that its state is up to date:
	// a few elections.
	confirmPatience = 10 * time.Second
	// savePatience is how long a save waits for its next question.
	savePatience = time.Minute
	// gonePatience is the same once the connection has ended on which the save was begun:
	// who is still there, and only connected anew, asks at once.
	gonePatience = 5 * time.Second
)

// question is what a node is asked, in JSON. Begin: the answer is an opening. Save and
// Part: the next bytes of the snapshot, none at its end. Save and End: nothing, it is
// given up.
type question struct {
	Begin bool `json:"begin,omitempty"`
	// Stale asks for the state as it is; else it holds all that was acknowledged before.
	Stale bool   `json:"stale,omitempty"`
	Save  string `json:"save,omitempty"`
	Part  int    `json:"part,omitempty"` // counted from 0
	End   bool   `json:"end,omitempty"`
}

type opening struct {
	Save   string `json:"save"`
	Header Header `json:"header"`
}

// saver is a *fsm.FSM.
type saver interface {
	Save(begin func(fsm.Summary) (io.Writer, error)) error
}

// Server answers the questions of [Fetch] with the state of one node. Its methods may be
// called concurrently. The caller closes it.
type Server struct {
	state   saver
	confirm func(context.Context) error
	about   Header

	mu     sync.Mutex
	saves  map[string]*save
	opened int // saves, and those that are about to be
	closed bool
}

// NewServer returns a server of that state. Confirm returns once the state holds all that
// was acknowledged before it was called. About has the names and the version.
func NewServer(state saver, confirm func(context.Context) error, about Header) *Server {
	return &Server{state: state, confirm: confirm, about: about, saves: map[string]*save{}}
}

// Answer answers one question. Conn ends with the connection that it came by, and what is
// saved for that connection soon after. Its errors say why not, in words for the operator.
func (s *Server) Answer(ctx, conn context.Context, asked []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(asked, &q); err != nil {
		return nil, fmt.Errorf("a question that this release does not know: %w", err)
	}
	if q.Begin {
		return s.begin(ctx, conn, q.Stale)
	}
	s.mu.Lock()
	v := s.saves[q.Save]
	s.mu.Unlock()
	if v == nil {
		return nil, errors.New("the snapshot is not being saved any more: it was given up, or the node was restarted")
	}
	if q.End {
		v.end()
		return nil, nil
	}
	b, err := v.part(q.Part)
	if err != nil || len(b) == 0 {
		v.end()
	}
	return b, err
}

// Close gives up what is being saved.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var all []*save
	for _, v := range s.saves {
		all = append(all, v)
	}
	s.mu.Unlock()
	for _, v := range all {
		v.end()
	}
	return nil
}

func (s *Server) begin(ctx, conn context.Context, stale bool) ([]byte, error) {
	if !stale {
		ctx, cancel := context.WithTimeout(ctx, confirmPatience)
		defer cancel()
		if err := s.confirm(ctx); err != nil {
			return nil, fmt.Errorf("this node cannot confirm now that its state is up to date (--node and --stale take it as it is): %w", err)
		}
	}
	if err := s.takePlace(); err != nil {
		return nil, err
	}
	v, summary, err := s.start()
	if err != nil {
		return nil, err
	}
	v.watch(conn)
	answer, err := json.Marshal(opening{Save: v.id, Header: s.about.describe(summary)})
	if err != nil {
		v.end()
		return nil, fmt.Errorf("describe a snapshot: %w", err)
	}
	return answer, nil
}

func (s *Server) takePlace() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errors.New("this node is shutting down: save from another one")
	case s.opened == maxSaves:
		return fmt.Errorf("%d snapshots are being saved at this node already: try again when one of them is complete, or save from another node; "+
			"one that was broken off makes room within a minute", maxSaves)
	}
	s.opened++
	return nil
}

// start takes a snapshot, for one of the places that are opened.
func (s *Server) start() (*save, fsm.Summary, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	v := &save{server: s, id: hex.EncodeToString(id[:])}
	var summary fsm.Summary
	v.next, v.stop = iter.Pull(func(yield func([]byte) bool) {
		w := &yielder{yield: yield}
		err := s.state.Save(func(sum fsm.Summary) (io.Writer, error) {
			summary = sum
			return w, w.flush() // an empty part: the summary is there
		})
		if v.err = err; err == nil {
			v.err = w.flush()
		}
	})
	_, _ = v.next()
	v.patience = time.AfterFunc(savePatience, v.end)
	s.mu.Lock()
	s.saves[v.id] = v
	closed := s.closed
	s.mu.Unlock()
	if closed {
		v.end()
		return nil, summary, errGivenUp
	}
	return v, summary, nil
}

// save is one snapshot on its way to who asked for it.
type save struct {
	server   *Server
	id       string
	patience *time.Timer

	mu    sync.Mutex
	blind func() bool // ends watch; nil: it has not begun
	next  func() ([]byte, bool)
	stop  func()
	err   error // why the snapshot could not be written
	parts int   // given so far
	over  bool
}

// watch makes the save end soon after the connection on which it was begun.
func (v *save) watch(conn context.Context) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return
	}
	v.blind = context.AfterFunc(conn, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if !v.over {
			v.patience.Reset(gonePatience)
		}
	})
}

// part returns the next bytes, or none at the end.
func (v *save) part(number int) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over || number != v.parts {
		return nil, fmt.Errorf("part %d of the snapshot is not the next one: save it again", number)
	}
	v.patience.Reset(savePatience)
	v.parts++
	b, _ := v.next()
	return b, v.err
}

// end gives the snapshot's pages back.
func (v *save) end() {
	v.mu.Lock()
	if v.over {
		v.mu.Unlock()
		return
	}
	v.over = true
	if v.blind != nil {
		v.blind()
	}
	v.patience.Stop()
	v.stop()
	v.mu.Unlock()
	v.server.mu.Lock()
	delete(v.server.saves, v.id)
	v.server.opened--
	v.server.mu.Unlock()
}

var errGivenUp = errors.New("the snapshot was given up")

// yielder hands over what is written to it in large parts.
type yielder struct {
	yield func([]byte) bool
	buf   []byte
}

// Write implements io.Writer.
func (w *yielder) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	if len(w.buf) < answerBytes {
		return len(p), nil
	}
	return len(p), w.flush()
}

func (w *yielder) flush() error {
	part := w.buf
	w.buf = nil // the answer is on its way while the next one is made
	if !w.yield(part) {
		return errGivenUp
	}
	return nil
}
