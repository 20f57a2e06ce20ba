package httpapi

import (
	"errors"
	"io"
	"net/http"
)

// errBodies means that the bodies of all requests together take as much memory as
// they may.
var errBodies = errors.New("too many request bodies are held")

// checkBody refuses what the headers already tell of a body.
func (s *Server) checkBody(r *http.Request) error {
	switch {
	case !sendsBody(r), r.ContentLength < 0: // only reading tells whether there is one
		return nil
	case r.ContentLength > s.bodyBytes:
		return &http.MaxBytesError{Limit: s.bodyBytes}
	}
	return checkContentType(r.Header)
}

func sendsBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// readBody receives a body of this API's own media types.
func (s *Server) readBody(w http.ResponseWriter, x *exchange, op *operation) error {
	if err := s.receive(w, x, op); err != nil || len(x.body) == 0 {
		return err
	}
	return checkContentType(x.request.Header)
}

// receive reads the body, whole, so that the handler can be repeated. Its caller is
// authenticated: a stranger has nothing held here. What the body may take is reserved
// before it is read and until the exchange ends, without waiting, for those who wait
// would be held as well. An operation that has no body reads one byte, to see that
// nothing comes.
func (s *Server) receive(w http.ResponseWriter, x *exchange, op *operation) error {
	r := x.request
	if !sendsBody(r) {
		return nil
	}
	limit := s.bodyBytes
	if r.ContentLength > 0 {
		limit = r.ContentLength
	}
	if !op.body {
		limit = 1
	}
	if !s.held.TryAcquire(limit) {
		return errBodies
	}
	x.reserved = limit
	source := http.MaxBytesReader(w, r.Body, s.bodyBytes)
	if !op.body {
		source = io.NopCloser(io.LimitReader(r.Body, limit))
	}
	return x.fill(source)
}

// fill reads source to its end.
func (x *exchange) fill(source io.Reader) error {
	body := x.body[:0]
	if cap(body) == 0 {
		body = make([]byte, 0, usualBodyBytes)
	}
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		x.body = body
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &bodyError{err: err}
		}
	}
}
