package httpapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A client that authenticates with client_secret_post has its credentials in the
// body, so somebody unknown must be read. What he can make this node hold is little:
//
//   - a body of 16 KiB, which is a hundred times the usual one;
//   - only what has arrived is reserved, not what was announced, so that slow bodies
//     cost little more than their connections;
//   - all strangers together have a quarter of [Limits].HeldBytes: those who are
//     authenticated before they are read always find room;
//   - a body must have arrived within five seconds.
const (
	maxStrangersBytes    = 16 << 10
	strangersStep        = 512 // what is reserved at a time
	strangersShare       = 4   // the part of HeldBytes is one over this
	strangersBodyTimeout = 5 * time.Second
)

// readStrangersBody reads the body of a client that is not known yet.
func (s *Server) readStrangersBody(w http.ResponseWriter, x *exchange) error {
	r := x.request
	if !sendsBody(r) {
		return nil
	}
	if r.ContentLength > maxStrangersBytes {
		return &http.MaxBytesError{Limit: maxStrangersBytes}
	}
	// Where there is no deadline, as in tests without a connection, nobody is slow.
	_ = http.NewResponseController(w).SetReadDeadline(s.now().Add(strangersBodyTimeout))
	source := &reservingReader{
		source:  http.MaxBytesReader(w, r.Body, maxStrangersBytes),
		reserve: func() bool { return s.reserveForStranger(x) },
	}
	// The deadline ends with the body: net/http takes it back when it has read the end.
	if err := x.fill(source); errors.Is(err, errBodies) {
		return errBodies
	} else if err != nil {
		return err
	}
	return nil
}

// reserveForStranger makes room for one more step, or says that there is none.
func (s *Server) reserveForStranger(x *exchange) bool {
	if !s.strangers.TryAcquire(strangersStep) {
		return false
	}
	x.strange += strangersStep
	if !s.held.TryAcquire(strangersStep) {
		return false
	}
	x.reserved += strangersStep
	return true
}

// reservingReader reserves room before it reads.
type reservingReader struct {
	source  io.Reader
	reserve func() bool
	room    int
}

func (r *reservingReader) Read(p []byte) (int, error) {
	if r.room == 0 {
		if !r.reserve() {
			return 0, errBodies
		}
		r.room = strangersStep
	}
	n, err := r.source.Read(p[:min(len(p), r.room)])
	r.room -= n
	return n, err //nolint:wrapcheck // fill wraps it
}
